"""A real S3 server on loopback (SeaweedFS), one for the whole test run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

BUCKET = "videos"
_KEY, _SECRET = "tests", "tests-only-secret"
_START_TIMEOUT_S = 30.0
# Each of its listeners has a second port, this much above.
_GRPC_OFFSET = 10_000
_PORTS = ("master", "filer", "volume", "admin", "s3", "s3.iceberg", "s3.lance")


@dataclass(frozen=True)
class ObjectStore:
    """Where it is, and what a service needs to use it.

    url: its bucket, for APIGPU_STORAGE_URL. variables: with its credentials. secret: the name of
    the variable whose value must not be told. wrong: a value that it does not take.
    """

    endpoint: str
    url: str
    variables: Mapping[str, str]
    secret: str
    wrong: str = "not-the-secret"

    def environment(self, prefix: str) -> dict[str, str]:
        """For a process of its own, which keeps its files below `prefix`."""
        return {"APIGPU_STORAGE_URL": f"{self.url}/{prefix}", **self.variables}


@contextmanager
def serve(folder: Path) -> Iterator[ObjectStore]:
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    command = [
        str(Path(sys.executable).with_name("weed")),
        *("mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={BUCKET}"),
        *("-admin.ui=false", "-webdav=false", "-master.telemetry=false"),
        *(
            f"-{'s3.port' + name[2:] if name[:3] == 's3.' else name + '.port'}={port}"
            for name, port in ports.items()
        ),
    ]
    endpoint = f"http://127.0.0.1:{ports['s3']}"
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": _KEY, "AWS_SECRET_ACCESS_KEY": _SECRET}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        try:
            _wait_for(f"{endpoint}/{BUCKET}", process)
            variables = {
                "AWS_ENDPOINT": endpoint,
                "AWS_ALLOW_HTTP": "true",
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": _KEY,
                "AWS_SECRET_ACCESS_KEY": _SECRET,
            }
            yield ObjectStore(endpoint, f"s3://{BUCKET}", variables, "AWS_SECRET_ACCESS_KEY")
        finally:
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    """Ports that are free, and those of their second listeners too."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1] % 30_000 + 15_000
            with suppress(OSError):
                if port not in found:
                    first_try = socket.socket()
                    with first_try:
                        first_try.bind(("127.0.0.1", port))
                        second.bind(("127.0.0.1", port + _GRPC_OFFSET))
                        found.append(port)
    return found


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until it answers anything: that it refuses a stranger is an answer."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1)
            return
        except urllib.error.HTTPError as error:
            if error.code == 403:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError("the object store did not start")
