"""What takes over a decoder finds itself in a cage: tried from inside, by real children."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from apigpu.worker.v1 import worker_service_pb2 as worker
from apigpu.worker.v1.worker_service_pb2_grpc import WorkerServiceStub

from apigpu_common.errors import InternalError
from gpu_worker.cage.rules import only_inputs
from gpu_worker.media import cage_check
from gpu_worker.media.cage_check import HOLDS, CageReport
from gpu_worker.media.encoders import Toolbox
from gpu_worker.media.process import READING, ChildFailed, Limits, child
from gpu_worker.server import _tell_cage
from tests.http_server import serving
from tests.services import worker_process

# Landlock is missing on kernels before 5.13 and where it is not switched on.
HAS_LANDLOCK = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) > 0


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


@pytest.fixture
def inputs() -> Iterator[list[Path]]:
    with only_inputs() as readable:
        yield readable


async def does(code: str, cwd: Path, limits: Limits = READING) -> str:
    """What a child with this program prints; the error's name where it ends with one."""
    program: list[str | Path] = [sys.executable, "-I", "-S", "-c", code]
    try:
        async with child(program, cwd=cwd, limits=limits) as running:
            told = "".join([line async for line in running.lines()])
            await running.wait()
    except ChildFailed as error:
        return error.stderr.splitlines()[-1] if error.stderr else f"killed {error.code}"
    return told


async def test_the_worker_knows_what_its_cage_holds() -> None:
    report = await cage_check.check()
    expected = set(HOLDS) if HAS_LANDLOCK else set(HOLDS) - {"files"}
    assert report.held >= expected


async def test_a_worker_tells_what_its_cage_holds(tmp_path: Path) -> None:
    async with (
        worker_process(tmp_path / "work") as (_, address),
        grpc.aio.insecure_channel(address) as channel,
    ):
        asked = worker.GetCapabilitiesRequest()
        told = await WorkerServiceStub(channel).GetCapabilities(asked)
    assert set(told.cage) >= {"network", "processes", "signals"}


def test_a_worker_that_must_have_a_cage_does_not_start_without_one() -> None:
    with pytest.raises(InternalError) as refused:
        _tell_cage(CageReport(frozenset({"network"})), "required")
    assert "files" in refused.value.message
    _tell_cage(CageReport(frozenset(HOLDS)), "required")
    _tell_cage(CageReport(), "auto")


@pytest.mark.parametrize(
    "code",
    [
        "import socket; socket.socket(socket.AF_INET)",
        "import socket; socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "import os; os.fork()",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import os, signal; os.kill(os.getppid(), signal.SIGTERM)",
        "import os, signal; os.kill(1, 0)",
        "import resource as r; r.setrlimit(r.RLIMIT_CPU, (9, 9))",
        "import resource as r; r.prlimit(0, r.RLIMIT_AS, (1 << 32, 1 << 32))",
        "import os; os.chroot('/')",
        "import os; open(f'/proc/{os.getppid()}/mem', 'rb+')",
    ],
)
async def test_a_child_is_kept_from(code: str, own: Path, inputs: list[Path]) -> None:
    told = await does(code, own)
    assert "PermissionError" in told or "not allowed to raise" in told, told


# By number, as nothing but code that has taken over a child would call them (x86-64).
CALLS = {
    **{"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427},
    **{"fork": 57, "vfork": 58, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311},
    **{"tkill": 200, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "tgkill": 234},
    **{"pidfd_open": 434, "pidfd_send_signal": 424, "pidfd_getfd": 438, "unshare": 272},
    **{"setns": 308, "mount": 165, "umount2": 166, "pivot_root": 155, "open_by_handle_at": 304},
    **{"bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "add_key": 248},
    **{"request_key": 249, "keyctl": 250, "init_module": 175, "finit_module": 313},
    **{"delete_module": 176, "kexec_load": 246, "socket by x32": 41 | 1 << 30},
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are of x86-64")
@pytest.mark.parametrize("name", CALLS)
async def test_a_child_is_kept_from_the_call(name: str, own: Path, inputs: list[Path]) -> None:
    """Its arguments are of no use: where it was let through, another error is told, or none."""
    code = (
        "import ctypes, errno, sys; libc = ctypes.CDLL(None, use_errno=True)\n"
        f"failed = libc.syscall({CALLS[name]}, 1 << 40, 1 << 40, 1 << 40, 1 << 40, 1 << 40)\n"
        "print(errno.errorcode.get(ctypes.get_errno(), 'none') if failed == -1 else failed)"
    )
    assert await does(code, own) == "EPERM"


async def test_a_child_cannot_let_go_of_our_life(own: Path, inputs: list[Path]) -> None:
    code = "import ctypes; print(ctypes.CDLL(None).prctl(1, 0, 0, 0, 0))"
    assert await does(code, own) == "-1"


async def test_a_child_still_has_threads_and_pipes(own: Path, inputs: list[Path]) -> None:
    code = (
        "import threading, socket, os\n"
        "t = threading.Thread(target=print, args=('fine',)); t.start(); t.join()\n"
        "socket.socketpair(); os.pipe(); os.kill(os.getpid(), 0)"
    )
    assert await does(code, own) == "fine"


@pytest.mark.skipif(not HAS_LANDLOCK, reason="this kernel has no Landlock")
async def test_a_child_reads_its_inputs_and_writes_its_own_folder_and_no_more(
    tmp_path: Path, own: Path, inputs: list[Path]
) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other job"
    for path in (mine, other):
        path.write_text(path.name)
    inputs.append(mine)
    (own / "link").symlink_to(other)

    def reading(path: Path | str) -> str:
        return f"print(open({str(path)!r}).read(100))"

    assert await does(reading(mine), own) == "mine"
    for hidden in (other, own / "link", "/etc/passwd", "/etc/hostname", Path.home()):
        assert "PermissionError" in await does(reading(hidden), own), hidden
    assert "PermissionError" in await does("import os; print(os.listdir('/tmp'))", own)
    assert await does("open('new', 'w').write('x'); print(open('new').read())", own) == "x"
    for target in (mine, other, tmp_path / "new", Path(__file__)):
        assert "PermissionError" in await does(f"open({str(target)!r}, 'a')", own), target
    assert other.read_text() == "other job"


@pytest.mark.skipif(not HAS_LANDLOCK, reason="this kernel has no Landlock")
async def test_a_child_does_not_see_the_secrets_of_the_worker(
    own: Path, inputs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", "a secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    assert "a secret" not in await does("import os; print(dict(os.environ))", own)
    theirs = "import os; print(open(f'/proc/{os.getppid()}/environ').read())"
    assert "PermissionError" in await does(theirs, own)


async def test_a_child_ends_at_its_limits(own: Path, inputs: list[Path]) -> None:
    spin = await does("while True: pass", own, Limits(cpu_s=1))
    assert spin.startswith("killed -"), spin
    memory = "x = bytearray(1 << 30)"
    assert "MemoryError" in await does(memory, own, Limits(memory_bytes=1 << 28))
    # Python ignores the signal that FFmpeg would die of.
    file = (
        "open('long', 'wb', buffering=0).write(bytes(1 << 20))\n"
        "open('long', 'ab', buffering=0).write(b'x')"
    )
    assert "File too large" in await does(file, own, Limits(file_bytes=1 << 20))
    assert (own / "long").stat().st_size <= 1 << 20
    many = "import os\nwhile True: os.dup(1)"
    assert "Too many open files" in await does(many, own, Limits(files=32))


@pytest.mark.skipif(not HAS_LANDLOCK, reason="this kernel has no Landlock")
async def test_ffmpeg_itself_reaches_neither_the_network_nor_other_files(
    tmp_path: Path, own: Path, inputs: list[Path], tools: Toolbox
) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(body=b"x")

    async def opens(source: str) -> str:
        command: list[str | Path] = [
            *(tools.ffmpeg, "-nostdin", "-loglevel", "error", "-f", "rawvideo"),
            *("-video_size", "16x16", "-i", source, "-f", "null", "-"),
        ]
        try:
            async with child(command, cwd=own, limits=READING) as running:
                await running.wait()
        except ChildFailed as error:
            return error.stderr
        return ""

    frame = tmp_path / "frame"
    frame.write_bytes(bytes(16 * 16 * 3 // 2))
    assert "Permission denied" in await opens(str(frame))
    async with serving(handler) as base:
        # By its number: looking a name up would fail even earlier.
        assert "Operation not permitted" in await opens(f"{base}/x")
    assert not asked
    inputs.append(frame)
    assert await opens(str(frame)) == ""
