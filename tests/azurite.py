"""Azure's object store on loopback, by Azurite: Microsoft's own emulator, installed by
`make test-azure`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

from tests.object_store import ObjectStore
from tests.services import free_port

PROGRAM = Path(__file__).parent.parent / "build/azurite/node_modules/.bin/azurite-blob"
_CONTAINER, _ACCOUNT = "videos", "tests"
_KEY = base64.b64encode(b"tests-only-secret-of-azure").decode()


@contextmanager
def serve() -> Iterator[ObjectStore]:
    port = free_port()
    command = [
        *(str(PROGRAM), "--blobPort", str(port), "--inMemoryPersistence"),
        *("--disableTelemetry", "--skipApiVersionCheck"),
    ]
    process = subprocess.Popen(
        command,
        env={**os.environ, "AZURITE_ACCOUNTS": f"{_ACCOUNT}:{_KEY}"},
        stdout=subprocess.PIPE,
    )
    endpoint = f"http://127.0.0.1:{port}/{_ACCOUNT}"
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if b"successfully listens" in line:
                break
        _make_container(endpoint)
        variables = {
            "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": _KEY,
            "AZURE_STORAGE_ENDPOINT": endpoint,
            "AZURE_ALLOW_HTTP": "true",
        }
        wrong = base64.b64encode(b"not-the-secret").decode()
        url = f"az://{_CONTAINER}"
        yield ObjectStore(endpoint, url, variables, "AZURE_STORAGE_ACCOUNT_KEY", wrong)
    finally:
        process.kill()
        process.wait()


def _make_container(endpoint: str) -> None:
    """Our own library has no call for it. Signed as the documentation of Shared Key says."""
    date, version = formatdate(usegmt=True), "2020-04-08"
    text = (
        "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{version}\n"
        f"/{_ACCOUNT}/{_ACCOUNT}/{_CONTAINER}\nrestype:container"
    )
    signed = hmac.new(base64.b64decode(_KEY), text.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": date,
        "x-ms-version": version,
        "Authorization": f"SharedKey {_ACCOUNT}:{base64.b64encode(signed).decode()}",
    }
    url = f"{endpoint}/{_CONTAINER}?restype=container"
    urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers)).close()
