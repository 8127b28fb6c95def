"""What a release gives: the sdist makes the wheel, the wheel alone makes a video, and with it
docs/deploy.md leads from a bare host to a service."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
import yarl
from apigpu.video.v1 import video_service_pb2
from apigpu.video.v1.video_service_pb2_grpc import VideoServiceStub

from apigpu_client import channel
from apigpu_client.channel import Tls
from tests import object_store
from tests.documents import ROOT, blocks
from tests.e2e.conftest import Backend
from tests.media_samples import watch
from tests.object_store import ObjectStore
from tests.runpod_emulator import KEY, running
from tests.services import free_port

if TYPE_CHECKING:  # the type stub has a name that the module has not
    from apigpu.video.v1.video_service_pb2_grpc import VideoServiceAsyncStub

UV = str(Path(sys.executable).with_name("uv"))
TIMEOUT_S = 100


def run(*command: str, cwd: Path) -> str:
    # Nothing of this checkout may help: not its folders, not its virtual environment.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment with the wheel, made from the sdist, and its lock."""
    folder = tmp_path_factory.mktemp("release")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder), cwd=ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    run("tar", "xf", str(sdist), cwd=folder)
    source = folder / sdist.name.removesuffix(".tar.gz")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=source)
    (wheel,) = folder.glob("*.whl")
    run(UV, "venv", "-q", "--python", sys.executable, "env", cwd=folder)
    install = (UV, "pip", "install", "-q", "--python", "env/bin/python")
    run(*install, "--require-hashes", "-r", str(source / "requirements.txt"), cwd=folder)
    run(*install, "--no-deps", str(wheel), cwd=folder)
    return folder / "env" / "bin"


async def test_the_wheel_alone_serves_and_makes_a_video(
    installed: Path, tmp_path: Path, backend: Backend
) -> None:
    apigpu = str(installed / "apigpu")
    service = await asyncio.create_subprocess_exec(
        *(apigpu, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data")),
        cwd=tmp_path,
        env={**os.environ, "APIGPU_HTTP_LISTEN": "127.0.0.1:0", **backend.environment},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert service.stdout is not None
        line = await asyncio.wait_for(service.stdout.readline(), TIMEOUT_S)
        address = line.decode().split()[1]
        picture = next((ROOT / "demo" / "media").glob("01*.jpg"))
        animate = (apigpu, "--server", address, "animate", str(picture), "--duration", "1")
        await asyncio.to_thread(run, *animate, "-o", "clip.mp4", cwd=tmp_path)
        assert (tmp_path / "clip.mp4").stat().st_size > 0
    finally:
        service.terminate()
        assert await asyncio.wait_for(service.wait(), TIMEOUT_S) == 0


@pytest.mark.one_backend("no service is in it")
def test_the_wheel_knows_its_version(installed: Path, tmp_path: Path) -> None:
    (wheel,) = installed.parents[1].glob("*.whl")
    version = wheel.name.split("-")[1]
    assert version in run(str(installed / "apigpu"), "--version", cwd=tmp_path)


@pytest.mark.one_backend("no service is in it")
def test_everything_that_the_wheel_needs_is_in_the_lock(installed: Path, tmp_path: Path) -> None:
    run(UV, "pip", "check", "--python", str(installed / "python"), cwd=tmp_path)


SECTION = "From a bare host"


class Host:
    """The host of the document, in a folder: its paths and its name are replaced, its commands
    are run one after the other in one shell's environment."""

    def __init__(self, folder: Path, environment: Path) -> None:
        self.folder = folder
        self.grpc, self.http = free_port(), free_port()
        self.said = {
            "/opt/apigpu": str(environment),
            "/etc/apigpu": str(folder / "etc"),
            "/var/lib/apigpu": str(folder / "data"),
            "api.example.com": "localhost",
            "0.0.0.0:50051": f"0.0.0.0:{self.grpc}",
            "0.0.0.0:3000": f"0.0.0.0:{self.http}",
            ":50051": f":{self.grpc}",
        }
        # Nothing of this checkout may help.
        hidden = ("PYTHONPATH", "VIRTUAL_ENV")
        self.environment = {k: v for k, v in os.environ.items() if k not in hidden}
        # Where the emulated clouds are: what no real host is told.
        self.clouds: dict[str, str] = {}

    async def shell(self, script: str) -> str:
        """Run a block; what it exports holds for the next one. Returns what it printed."""
        for there, here in self.said.items():
            script = script.replace(there, here)
        exported = self.folder / "exported"
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euc", f"{script}\nenv -0 > {exported}"),
            cwd=self.folder,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, told = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        assert process.returncode == 0, f"{script}\n{out.decode()}{told.decode()}"
        pairs = (line.partition("=") for line in exported.read_text().split("\0") if line)
        self.environment = {name: value for name, _, value in pairs}
        return out.decode()

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[None]:
        """What systemd would do: the unit's program with the settings of its file alone."""
        (unit,) = blocks("docs/deploy.md", SECTION, "ini")
        (start,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
        (settings,) = re.findall(r"^EnvironmentFile=(.*)$", unit, re.MULTILINE)
        for there, here in self.said.items():
            start, settings = start.replace(there, here), settings.replace(there, here)
        lines = Path(settings).read_text().splitlines()
        given = dict(line.split("=", 1) for line in lines)
        assert "\nType=notify\n" in unit
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.setblocking(False)
            notified.bind(str(self.folder / "notify"))
            given["NOTIFY_SOCKET"] = str(self.folder / "notify")
            process = await asyncio.create_subprocess_exec(
                *start.split(),
                cwd="/",
                env={"PATH": os.environ["PATH"], **self.clouds, **given},
            )
            try:
                word = asyncio.get_running_loop().sock_recv(notified, 100)
                assert await asyncio.wait_for(word, TIMEOUT_S) == b"READY=1"
                yield
            finally:
                process.terminate()
                assert await asyncio.wait_for(process.wait(), TIMEOUT_S) == 0


@pytest.mark.one_backend("the document sets up RunPod")
@pytest.mark.timeout(300)  # it installs, sets up and starts all that there is
async def test_the_documents_lead_from_a_bare_host_to_a_service(
    installed: Path, tmp_path: Path, postgres_url: str
) -> None:
    _, _, certificate, settings, runpod, _, key, use = blocks("docs/deploy.md", SECTION, "sh")
    host = Host(tmp_path, installed.parent)
    (tmp_path / "objects").mkdir()
    picture = next((ROOT / "demo" / "media").glob("01*.jpg"))
    shutil.copyfile(picture, tmp_path / "photo.jpg")
    with object_store.serve(tmp_path / "objects") as s3:
        async with running(tmp_path / "cloud") as cloud:
            keys = s3.environment("")
            host.clouds = {
                "AWS_ALLOW_HTTP": "true",
                "APIGPU_RUNPOD_URL": cloud.url,
                "APIGPU_RUNPOD_REST_URL": cloud.rest_url,
            }
            # What the second block tells to have.
            host.environment |= host.clouds | {
                "DATABASE_URL": postgres_url,
                "S3_ENDPOINT": s3.endpoint,
                "S3_BUCKET": object_store.BUCKET,
                "S3_KEY_ID": keys["AWS_ACCESS_KEY_ID"],
                "S3_SECRET": keys["AWS_SECRET_ACCESS_KEY"],
                "RUNPOD_API_KEY": KEY,
            }
            for block in (certificate, settings, runpod):
                await host.shell(block)
            async with host.unit():
                await host.shell(key)
                told = await host.shell(use)
                await rotate_a_key(host)
                await check_clip(host, s3, tmp_path / "clip.mp4")
            assert "runpod" in told
            assert [job.status for job in cloud.jobs.values()] == ["COMPLETED"]


async def rotate_a_key(host: Host) -> None:
    """As docs/security.md tells: a key for a caller, another in its place, none."""
    _, commands = blocks("docs/security.md", "Putting it on the internet", "sh")
    first, create, *rest = commands.splitlines()
    environment = dict(host.environment)
    settings = (host.folder / "etc" / "env").read_text()
    (host.environment["X_API_KEY"],) = re.findall(r"^X_API_KEY=(.*)$", settings, re.MULTILINE)
    await host.shell(first)
    host.said["5f0c..."] = (await host.shell(create)).split("_")[1]
    await host.shell("\n".join(rest))
    listed = (await host.shell("apigpu keys list")).splitlines()
    (line,) = (line for line in listed if host.said["5f0c..."] in line)
    assert "revoked" in line, listed
    host.environment = environment


async def check_clip(host: Host, s3: ObjectStore, clip: Path) -> None:
    """It is a video, and the same bytes come from S3 by the link that a caller gets."""
    assert len(watch(clip).frames) == 48
    tls = Tls(ca=Path(host.environment["APIGPU_CA"]))
    key = host.environment["APIGPU_API_KEY"]
    async with channel.open_async(f"localhost:{host.grpc}", key, tls) as connection:
        stub: VideoServiceAsyncStub = VideoServiceStub(connection)
        (job,) = (await stub.ListJobs(video_service_pb2.ListJobsRequest())).jobs
        request = video_service_pb2.CreateFileLinkRequest(name=job.items[0].output.file)
        link = (await stub.CreateFileLink(request)).uri
    assert link.startswith(s3.endpoint)
    async with (
        aiohttp.ClientSession() as session,
        session.get(yarl.URL(link, encoded=True)) as answer,
    ):
        assert answer.status == 200
        assert await answer.read() == clip.read_bytes()
