"""Child processes with an owner: each in a session of its own, limited, its stderr bounded, and
killed with everything it started when its owner lets go."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from opentelemetry import trace
from opentelemetry.trace import StatusCode

from gpu_worker.cage.rules import rules

_TRACER = trace.get_tracer("apigpu")
_LAUNCHER = Path(__file__).with_name("launch.py")
_STDERR_LINES = 40
_STDERR_LINE_BYTES = 2000
_GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """What a child may use; 0 means no limit.

    CUDA reserves address space far beyond what it uses, so hardware encodes must not have a
    memory limit of this kind. files: how many may be open. devices: the GPU may be used.
    """

    cpu_s: int = 0
    memory_bytes: int = 0
    file_bytes: int = 0
    files: int = 256
    devices: bool = False


# How libraries behave in our children.
QUIET = {
    "OPENBLAS_NUM_THREADS": "1",  # numpy's idle threads spin, and take CPU from the encoder
    "SVT_LOG": "1",  # errors only: its chatter would be taken for what went wrong
}

# Reading what is in a file: little of everything.
READING = Limits(cpu_s=300, memory_bytes=8 * _GIB, file_bytes=_GIB)
# Drawing one picture again and again: as long as it takes.
DRAWING = Limits(memory_bytes=8 * _GIB, file_bytes=_GIB)
# FFmpeg without CUDA.
CODING = Limits(memory_bytes=16 * _GIB)


class ChildFailed(Exception):
    """A child ended with another code than 0. stderr: its last lines, for the log."""

    def __init__(self, program: str, code: int, stderr: str) -> None:
        super().__init__(f"{program} ended with {code}: {stderr}")
        self.program = program
        self.code = code
        self.stderr = stderr


class SourceFailed(ChildFailed):
    """The child that was to feed another one failed first."""


class Child:
    """A running child process. `stderr` collects its last lines."""

    def __init__(self, process: Process, program: str) -> None:
        self.process = process
        self._program = program
        self._tail: deque[str] = deque(maxlen=_STDERR_LINES)
        self._drain = asyncio.create_task(self._read_stderr())

    @property
    def stderr(self) -> str:
        return "\n".join(self._tail)

    async def lines(self) -> AsyncIterator[str]:
        """The child's standard output, a line at a time."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            yield line.decode(errors="replace").rstrip("\n")

    async def tell(self, line: str) -> None:
        """Write a line, the last one, to the child's standard input."""
        writer = self.process.stdin
        assert writer is not None
        with contextlib.suppress(ConnectionError):  # it has failed, as `wait` will tell
            writer.write(f"{line}\n".encode())
            await writer.drain()
        writer.close()

    async def wait(self) -> None:
        """Wait for its end. Raises ChildFailed where the code is not 0."""
        code = await self.process.wait()
        await self._drain
        if code != 0:
            raise ChildFailed(self._program, code, self.stderr)

    async def end(self) -> None:
        """Kill it and all it started, and reap it. Harmless where it has ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        self._drain.cancel()

    async def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        while True:
            try:
                line = await self.process.stderr.readline()
            except ValueError:  # a line longer than the reader's buffer: it was dropped
                continue
            if not line:
                return
            self._tail.append(line[:_STDERR_LINE_BYTES].decode(errors="replace").rstrip())


# Whether children are shut in; for operators whose machine needs more than the cage lets through.
_caged = True


def open_the_cage() -> None:
    """From now on, children are only limited, not shut in."""
    global _caged
    _caged = False


@asynccontextmanager
async def child(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    limits: Limits,
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int = asyncio.subprocess.PIPE,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Child]:
    """Start `command`; whatever happens, it has ended when the block is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(_LAUNCHER),
        str(os.getpid()),
        str(limits.cpu_s),
        str(limits.memory_bytes),
        str(limits.file_bytes),
        str(limits.files),
        *(rules(command, cwd, devices=limits.devices) if _caged else ()),
        "--",
        *(str(part) for part in command),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        env={**_environment(), **(environment or {})},
        start_new_session=True,
    )
    program = _name(command)
    running = Child(process, program)
    # Not the parent of what happens meanwhile: other children are no work of this one's.
    span = _TRACER.start_span(
        program, attributes={"process.executable.name": program, "process.pid": process.pid}
    )
    try:
        yield running
    except Exception as error:
        span.record_exception(error)
        span.set_status(StatusCode.ERROR)
        raise
    finally:
        await _despite_cancel(running.end())
        if process.returncode is not None:
            span.set_attribute("process.exit.code", process.returncode)
        span.end()


def _name(command: Sequence[str | Path]) -> str:
    """The program, or what Python runs of ours: for people who read errors and traces."""
    for part in command:
        if str(part).startswith("gpu_worker."):
            return str(part)
        if isinstance(part, Path) and part.suffix == ".py":
            return part.stem
    return Path(str(command[0])).name


async def _despite_cancel(ending: Coroutine[None, None, None]) -> None:
    """Finish `ending` even if we are cancelled again meanwhile: no child is left behind."""
    task = asyncio.ensure_future(ending)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _environment() -> dict[str, str]:
    """What a child sees of our environment: no secrets, just enough to run."""
    kept = (
        "PATH",
        "HOME",
        "LANG",
        "LD_LIBRARY_PATH",
        "NVIDIA_VISIBLE_DEVICES",
        "CUDA_VISIBLE_DEVICES",
    )
    return QUIET | {name: os.environ[name] for name in kept if name in os.environ}
