"""Separable antialiased Lanczos resampling of 8-bit planes with fractional boxes.

A hand-made kernel (native/resample.c): no library that can be installed everywhere does it in less
than twice the time, and each frame of each clip goes through it.
"""

from __future__ import annotations

import ctypes
import functools
import os
from dataclasses import dataclass
from pathlib import Path

from gpu_worker.media.motion import Box

_FOLDER = Path(__file__).with_name("native")
_CPU = Path("/proc/cpuinfo")
_V3_FLAGS = {"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}  # AVX2, and what came with it
_PADDING = bytes(128)  # the kernel reads, and ignores, as much behind the last row

Size = tuple[int, int]


@dataclass(frozen=True)
class Plane:
    """Rows of bytes, without gaps. Made by `plane`."""

    padded: bytes
    size: Size

    @property
    def rows(self) -> bytes:
        return self.padded[: self.size[0] * self.size[1]]


def plane(rows: bytes, size: Size) -> Plane:
    if len(rows) != size[0] * size[1] or not rows:
        raise ValueError(f"{len(rows)} bytes are not a plane of {size[0]}x{size[1]}")
    return Plane(rows + _PADDING, size)


class Target:
    """Memory for results, to be used again and again."""

    def __init__(self, size_bytes: int) -> None:
        self._memory = (ctypes.c_char * size_bytes)()
        self.address = ctypes.addressof(self._memory)
        self.view = memoryview(self._memory).cast("B")


def sample(source: Plane, box: Box, size: Size, target: Target, offset: int = 0) -> None:
    """Write what is in the box to `target`, behind its first `offset` bytes, at that size."""
    if offset < 0 or min(size) < 1 or offset + size[0] * size[1] > len(target.view):
        raise ValueError("the result does not fit")
    address = target.address + offset
    area = (box.left, box.top, box.width, box.height)
    if _kernel()(source.padded, *source.size, *area, address, *size) != 0:
        raise MemoryError


def resized(source: Plane, size: Size) -> Plane:
    """All of the plane at another size."""
    if size == source.size:
        return source
    target = Target(size[0] * size[1])
    sample(source, Box(0, 0, *source.size), size, target)
    return plane(target.view.tobytes(), size)


@functools.cache
def _kernel() -> ctypes._NamedFuncPointer:
    """The kernel's best variant for this CPU. It runs without Python's lock."""
    library = _FOLDER / f"resample-{_variant()}.so"
    if not library.exists():
        raise RuntimeError(f"{library.name} is missing: install the project (make, or pip install)")
    function = ctypes.CDLL(str(library)).apigpu_resample
    whole, real = ctypes.c_int, ctypes.c_double
    function.argtypes = (
        *(ctypes.c_char_p, whole, whole),
        *(real, real, real, real),
        *(ctypes.c_void_p, whole, whole),
    )
    function.restype = whole
    return function


def _variant() -> str:
    if os.uname().machine != "x86_64":
        return "neon"
    told = _CPU.read_text() if _CPU.exists() else ""
    flags = next((line for line in told.splitlines() if line.startswith("flags")), "").split()
    return "v3" if set(flags) >= _V3_FLAGS else "v2"
