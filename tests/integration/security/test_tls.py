"""TLS and mTLS on the wire, and certificates that change under open streams."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import trustme
from apigpu.admin.v1 import key_service_pb2 as admin
from apigpu.admin.v1.key_service_pb2_grpc import KeyServiceStub
from apigpu.video.v1.job_pb2 import Job

from apigpu_client import VideoClient
from apigpu_client.channel import Tls
from apigpu_client.errors import NotAllowed, Unavailable
from apigpu_common.errors import ServiceError
from orchestrator.access.tls import Certificates, TlsFiles
from orchestrator.server import Orchestrator
from tests import requests
from tests.scripted_worker import ScriptedWorker, Sender, serve
from tests.services import settings

TIMEOUT_S = 40.0

ADMIN = "an-admin-key-for-the-tests"


class Authority:
    """A certificate authority whose certificates lie in files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        folder.mkdir()
        self._authority.cert_pem.write_to_path(str(folder / "ca.pem"))

    @property
    def ca(self) -> Path:
        return self._folder / "ca.pem"

    def issue(self, name: str, cert: Path, key: Path, common_name: str | None = None) -> None:
        issued = self._authority.issue_cert(name, common_name=common_name)
        issued.private_key_pem.write_to_path(str(key))
        cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@asynccontextmanager
async def serving(
    tmp_path: Path, worker: ScriptedWorker, **more: object
) -> AsyncIterator[Orchestrator]:
    async with (
        serve(worker) as address,
        Orchestrator(
            settings(
                tmp_path / "data",
                (address,),
                tls_cert=tmp_path / "cert.pem",
                tls_key=tmp_path / "key.pem",
                **more,
            )
        ) as orchestrator,
    ):
        yield orchestrator


async def shown_certificate(address: str, ca: Path) -> bytes:
    """The certificate that a new connection is shown."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    assert isinstance(certificate, bytes)
    return certificate


async def refusal(*options: str) -> str:
    """All that `apigpu info` writes to standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "apigpu_client.cli", *options, "info"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert process.returncode == 4
    return told.decode()


async def test_changed_certificates_serve_new_connections_and_drop_no_stream(
    tmp_path: Path, authority: Authority
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.issue("127.0.0.1", cert, key)
    go_on = asyncio.Event()

    async def wait(task: object, sender: Sender) -> None:
        sender.start()
        await go_on.wait()
        believed = ssl.create_default_context(cafile=str(authority.ca))
        items = sender.task.items
        sender.finish([await sender.succeed(item.id, tls=believed) for item in items])

    async with (
        serving(tmp_path, ScriptedWorker(wait)) as orchestrator,
        VideoClient(orchestrator.address, tls=Tls(ca=authority.ca)) as client,
    ):
        job = await client.create_job(requests.pictures("a"))
        events = client.watch(job.name)
        await anext(events)
        first = await shown_certificate(orchestrator.address, authority.ca)

        cert.write_text("in the middle of a write")
        for door in (orchestrator.address, orchestrator.http_address):
            assert await shown_certificate(door, authority.ca) == first

        authority.issue("127.0.0.1", cert, key)
        second = await shown_certificate(orchestrator.address, authority.ca)
        assert second != first
        assert await shown_certificate(orchestrator.http_address, authority.ca) == second
        go_on.set()
        rest = [event async for event in events]
    assert rest[-1].finished.state == Job.SUCCEEDED
    assert [event.sequence for event in rest] == list(range(2, 2 + len(rest)))


async def test_without_tls_nothing_is_answered(tmp_path: Path, authority: Authority) -> None:
    authority.issue("127.0.0.1", tmp_path / "cert.pem", tmp_path / "key.pem")
    async with (
        serving(tmp_path, ScriptedWorker()) as orchestrator,
        VideoClient(orchestrator.address) as client,
    ):
        with pytest.raises(Unavailable):
            await client.server_info()


async def test_a_stranger_s_certificate_is_not_believed(
    tmp_path: Path, authority: Authority
) -> None:
    authority.issue("127.0.0.1", tmp_path / "cert.pem", tmp_path / "key.pem")
    other = Authority(tmp_path / "other")
    async with serving(tmp_path, ScriptedWorker()) as orchestrator:
        async with VideoClient(orchestrator.address, tls=Tls(ca=other.ca)) as client:
            with pytest.raises(Unavailable):
                await client.server_info()
        told = await refusal("--tls", "--server", orchestrator.address)
    assert told == (
        f"the certificate of {orchestrator.address} was not signed by whom this system trusts:"
        " name who did with --ca\n"
    )


async def test_tls_to_a_service_without_it_is_told_in_a_line(tmp_path: Path) -> None:
    async with (
        serve(ScriptedWorker()) as worker,
        Orchestrator(settings(tmp_path / "data", (worker,))) as orchestrator,
    ):
        told = await refusal("--tls", "--server", orchestrator.address)
    assert told == (
        f"{orchestrator.address} does not speak TLS: leave --tls away, or name another with"
        " --server\n"
    )


async def test_mtls_lets_in_only_who_has_a_certificate_of_ours(
    tmp_path: Path, authority: Authority
) -> None:
    authority.issue("127.0.0.1", tmp_path / "cert.pem", tmp_path / "key.pem")
    ours, strangers = Authority(tmp_path / "clients"), Authority(tmp_path / "strangers")
    for each in (ours, strangers):
        each.issue("client", each.ca.with_name("cert.pem"), each.ca.with_name("key.pem"))

    def tls(each: Authority) -> Tls:
        return Tls(authority.ca, each.ca.with_name("cert.pem"), each.ca.with_name("key.pem"))

    async with serving(tmp_path, ScriptedWorker(), tls_client_ca=ours.ca) as orchestrator:
        async with VideoClient(orchestrator.address, tls=tls(ours)) as client:
            assert (await client.server_info()).version
        for wrong in (tls(strangers), Tls(authority.ca)):
            async with VideoClient(orchestrator.address, tls=wrong) as client:
                with pytest.raises(Unavailable):
                    await client.server_info()
        for _ in range(2):  # with the certificates of the start, and with changed ones
            assert await over_http(orchestrator, tls(ours)) == 200
            for wrong in (tls(strangers), Tls(authority.ca)):
                with pytest.raises((aiohttp.ClientError, OSError)):
                    await over_http(orchestrator, wrong)
            authority.issue("127.0.0.1", tmp_path / "cert.pem", tmp_path / "key.pem")


async def over_http(orchestrator: Orchestrator, tls: Tls) -> int:
    """The status that a caller with these certificates gets from the HTTP door."""
    trusted = ssl.create_default_context(cafile=str(tls.ca))
    if tls.cert and tls.key:
        trusted.load_cert_chain(tls.cert, tls.key)
    url = f"https://{orchestrator.http_address}/openapi.json"
    async with aiohttp.ClientSession() as http, http.get(url, ssl=trusted) as answer:
        return answer.status


async def test_plain_http_gets_fresh_certificates_too(tmp_path: Path, authority: Authority) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.issue("127.0.0.1", cert, key)
    context = Certificates(TlsFiles(cert, key)).http_context()
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        host, port = server.sockets[0].getsockname()
        first = await shown_certificate(f"{host}:{port}", authority.ca)
        authority.issue("127.0.0.1", cert, key)
        assert await shown_certificate(f"{host}:{port}", authority.ca) != first


async def test_a_key_of_another_certificate_is_told_at_the_start(
    tmp_path: Path, authority: Authority
) -> None:
    authority.issue("127.0.0.1", tmp_path / "cert.pem", tmp_path / "old.pem")
    authority.issue("127.0.0.1", tmp_path / "other.pem", tmp_path / "key.pem")
    with pytest.raises(OSError, match=r"(?i)key.values.mismatch"):
        async with serving(tmp_path, ScriptedWorker()):
            pass


async def test_a_public_listener_without_protection_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="it has no API key"):
        async with Orchestrator(settings(tmp_path, (), listen="0.0.0.0:0")):
            pass


@pytest.mark.parametrize(
    ("names", "san", "common_name", "owner"),
    [
        ("common-name", "x.example", "acme", "acme"),
        ("san", "acme.example", "other", "acme.example"),
        ("common-name", "acme.example", "No Owner", None),
        ("common-name", "acme.example", "../acme", None),
    ],
)
async def test_a_certificate_names_its_owner_at_every_door(
    tmp_path: Path, authority: Authority, names: str, san: str, common_name: str, owner: str | None
) -> None:
    authority.issue("127.0.0.1", tmp_path / "cert.pem", tmp_path / "key.pem")
    cert, key = tmp_path / "client.pem", tmp_path / "client.key"
    authority.issue(san, cert, key, common_name)
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.load_cert_chain(cert, key)
    tls = Tls(authority.ca, cert, key)
    more = {"tls_client_ca": authority.ca, "tls_client_owner": names, "x_api_key": ADMIN}
    async with (
        serving(tmp_path, ScriptedWorker(), **more) as running,
        VideoClient(running.address, tls=tls) as client,
        VideoClient(running.address, tls=tls, api_key=ADMIN) as admin_client,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as http,
    ):
        base = f"https://{running.http_address}"
        if owner is None:
            with pytest.raises(NotAllowed) as refused:
                await client.create_job(requests.pictures("a"))
            assert refused.value.details.reason == "CERTIFICATE_NAMES_NO_OWNER"
            async with http.get(f"{base}/job/1") as answer:
                assert answer.status == 401
            return
        job = await client.create_job(requests.pictures("a"))
        job_id = job.name.removeprefix("jobs/")
        async with http.get(f"{base}/job/{job_id}") as answer:
            assert answer.status == 200
        body = {"name": job.name}
        method = f"{base}/apigpu.video.v1.VideoService/GetJob"
        async with http.post(method, json=body) as answer:
            assert (answer.status, (await answer.json())["name"]) == (200, job.name)
        # A key says otherwise: this one is of the owner "default".
        async with http.post(method, json=body, headers={"x-api-key": ADMIN}) as answer:
            assert answer.status == 404
        keys = KeyServiceStub(admin_client.channel)
        made = await keys.CreateKey(admin.CreateKeyRequest(owner=owner))
        async with VideoClient(running.address, tls=tls, api_key=made.token) as same:
            assert (await same.get_job(job.name)).name == job.name
        refusal = await requests.refusal_of(
            KeyServiceStub(client.channel).ListKeys(admin.ListKeysRequest())
        )
        assert refusal.reason == "SCOPE_MISSING", "a certificate makes no admin"
