"""Build hook: compiles the resampler for the kinds of CPU that this platform has.

The compiler comes as a Python package, so that a machine needs none of its own, and every
machine gets the same code.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("gpu_worker", "media", "native")
# The oldest glibc that Python's own wheels run on.
SYSTEMS = {"Linux": "linux-gnu.2.17", "Darwin": "macos"}
# Machine as Python calls it, as the compiler does, and its variants: name and CPU.
MACHINES = {
    "x86_64": ("x86_64", {"v2": "x86_64_v2", "v3": "x86_64_v3"}),
    "aarch64": ("aarch64", {"neon": "baseline"}),
    "arm64": ("aarch64", {"neon": "baseline"}),
}


def compile_resampler(root: Path) -> list[Path]:
    """Compile every variant beside its source; returns the libraries."""
    machine, variants = MACHINES[platform.machine()]
    target = f"{machine}-{SYSTEMS[platform.system()]}"
    libraries = []
    for name, cpu in variants.items():
        library = root / FOLDER / f"resample-{name}.so"
        subprocess.run(
            [
                *(sys.executable, "-m", "ziglang", "cc", "-target", target, f"-mcpu={cpu}"),
                *("-O3", "-s", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"),
                *("-o", library, root / FOLDER / "resample.c", "-lm"),
            ],
            check=True,
        )
        libraries.append(library)
    return libraries


class Hook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        libraries = compile_resampler(Path(self.root))
        build_data["artifacts"] += [path.relative_to(self.root).as_posix() for path in libraries]
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
