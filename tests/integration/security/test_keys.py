"""Keys: made, used, rotated, revoked, on the wire and in the database; and what one owner sees of
another: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from apigpu.admin.v1 import key_service_pb2 as admin
from apigpu.admin.v1.key_service_pb2_grpc import KeyServiceStub
from apigpu.video.v1 import video_service_pb2 as rpc
from apigpu.video.v1.job_pb2 import Job
from apigpu.video.v1.operations_pb2 import MediaSource
from apigpu.video.v1.video_service_pb2_grpc import VideoServiceStub
from click.testing import CliRunner
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.duration_pb2 import Duration

from apigpu_client import VideoClient
from apigpu_client.cli import main
from apigpu_client.errors import ApiGpuError, InvalidRequest, NotAllowed
from orchestrator.access.key_service import NUMBERS
from orchestrator.interceptors.scopes import SCOPES
from orchestrator.server import SERVICES, Orchestrator
from tests import requests
from tests.requests import refusal_of, refusal_of_raw
from tests.scripted_worker import ScriptedWorker, serve
from tests.services import settings

ADMIN = "an-admin-key-for-the-tests"


class Service:
    def __init__(self, address: str, data_dir: Path) -> None:
        self.address = address
        self.data_dir = data_dir

    @contextlib.asynccontextmanager
    async def keys(self, token: str = ADMIN) -> AsyncIterator[Any]:
        async with VideoClient(self.address, api_key=token) as client:
            yield KeyServiceStub(client.channel)

    async def key(self, **request: Any) -> admin.CreateKeyResponse:
        async with self.keys() as keys:
            made: admin.CreateKeyResponse = await keys.CreateKey(admin.CreateKeyRequest(**request))
            return made


@contextlib.asynccontextmanager
async def serving(tmp_path: Path, **more: object) -> AsyncIterator[Service]:
    async with (
        serve(ScriptedWorker()) as address,
        Orchestrator(settings(tmp_path, (address,), **more)) as orchestrator,
    ):
        yield Service(orchestrator.address, tmp_path)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(tmp_path, x_api_key=ADMIN) as running:
        yield running


async def can_ask(service: Service, token: str) -> bool:
    async with VideoClient(service.address, api_key=token) as client:
        try:
            await client.server_info()
        except NotAllowed:
            return False
        return True


async def test_a_key_works_until_it_is_revoked(service: Service) -> None:
    made = await service.key(owner="acme", title="studio")
    assert await can_ask(service, made.token)
    other_secret = made.token[:-1] + ("a" if made.token[-1] != "a" else "b")
    assert not await can_ask(service, other_secret)
    async with service.keys() as keys:
        assert (await keys.RevokeKey(admin.RevokeKeyRequest(name=made.key.name))).revoke_time
    assert not await can_ask(service, made.token)


async def test_an_expired_key_is_refused(service: Service) -> None:
    made = await service.key(lifetime=Duration(nanos=1_000_000))
    while await can_ask(service, made.token):  # up to the test's time limit
        pass


async def test_a_rotated_key_stays_good_for_the_overlap(service: Service) -> None:
    old = await service.key(owner="acme", scopes=[admin.SCOPE_FILES], title="studio")
    new = await service.key(replaces=old.key.name, overlap=Duration(seconds=3600))
    assert (new.key.owner, new.key.title) == ("acme", "studio")
    assert list(new.key.scopes) == [admin.SCOPE_FILES]
    assert await can_ask(service, old.token) and await can_ask(service, new.token)
    await service.key(replaces=old.key.name, overlap=Duration())
    assert not await can_ask(service, old.token)
    assert await can_ask(service, new.token)


async def test_the_database_holds_no_key(service: Service) -> None:
    made = await service.key()
    secret = made.token.split("_", 2)[2]
    kept = b"".join(path.read_bytes() for path in service.data_dir.glob("jobs.sqlite3*"))
    assert made.key.name.removeprefix("keys/").encode() in kept
    assert secret.encode() not in kept and ADMIN.encode() not in kept


async def test_the_first_key_closes_an_open_service_for_good(tmp_path: Path) -> None:
    async with serving(tmp_path) as service:
        assert await can_ask(service, "")
        async with service.keys("") as keys:
            made = await keys.CreateKey(admin.CreateKeyRequest(scopes=[admin.SCOPE_ADMIN]))
        assert not await can_ask(service, "")
        async with service.keys(made.token) as keys:
            await keys.RevokeKey(admin.RevokeKeyRequest(name=made.key.name))
        assert not await can_ask(service, ""), "a revoked key must not open the service again"
    async with serving(tmp_path) as service:
        assert not await can_ask(service, "")


async def test_when_a_key_was_used_is_noted(tmp_path: Path) -> None:
    async with serving(tmp_path, x_api_key=ADMIN) as service:
        made = await service.key()
        assert not made.key.HasField("last_use_time")
        assert await can_ask(service, made.token)
    async with serving(tmp_path, x_api_key=ADMIN) as service, service.keys() as keys:
        (listed,) = (await keys.ListKeys(admin.ListKeysRequest())).keys
    assert listed.last_use_time.seconds >= made.key.create_time.seconds


@pytest.mark.parametrize("method", sorted(SCOPES))
async def test_a_key_opens_only_what_its_scopes_name(service: Service, method: str) -> None:
    """Each RPC, with a key that has every scope but the one it needs."""
    needed = SCOPES[method]
    if needed is None:
        pytest.skip("any key is enough")
    made = await service.key(scopes=[n for n, scope in NUMBERS.items() if scope is not needed])
    async with grpc.aio.insecure_channel(service.address) as channel:
        refused = await refusal_of_raw(channel, method, b"", ("x-api-key", made.token))
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")


def naming() -> list[MethodDescriptor]:
    """Every RPC of ours whose request names a job or a file."""
    pool = descriptor_pool.Default()
    methods = [m for name in SERVICES for m in pool.FindServiceByName(name).methods]
    return [m for m in methods if {"name", "job"} & _texts(m.input_type) and "Key" not in m.name]


def _texts(message: Any) -> set[str]:
    return {field.name for field in message.fields if field.type == field.TYPE_STRING}


@pytest.mark.parametrize("method", naming(), ids=lambda method: method.name)
async def test_a_stranger_s_job_or_file_is_not_there(
    service: Service, method: MethodDescriptor
) -> None:
    """And the refusal is the same as for one that never was."""
    mine, other = [await service.key(owner=owner) for owner in ("mine", "other")]
    async with VideoClient(service.address, api_key=mine.token) as client:
        job = await client.result(requests.pictures("a"))
    name = job.items[0].output.file if "File" in method.name else job.name
    make = message_factory.GetMessageClass(method.input_type)
    field = "name" if "name" in _texts(method.input_type) else "job"
    known = {"sequence": 1} if "sequence" in make.DESCRIPTOR.fields_by_name else {}
    refusals = []
    for asked in (name, name[:-4] + "0000"):
        async with grpc.aio.insecure_channel(service.address) as channel:
            body = make(**{field: asked, **known}).SerializeToString()
            refused = await refusal_of_raw(
                channel,
                f"/{method.containing_service.full_name}/{method.name}",
                body,
                ("x-api-key", other.token),
            )
            refusals.append((refused.code, refused.reason, refused.message, refused.fields))
    assert refusals[0] == refusals[1]
    assert refusals[0][0] is grpc.StatusCode.NOT_FOUND
    async with VideoClient(service.address, api_key=mine.token) as client:
        assert (await client.get_job(job.name)).state == Job.SUCCEEDED


async def test_lists_and_request_ids_and_inputs_are_one_s_own(
    service: Service, tmp_path: Path
) -> None:
    mine, other = [await service.key(owner=owner) for owner in ("mine", "other")]
    media = tmp_path / "picture.jpg"
    media.write_bytes(b"a picture")
    async with (
        VideoClient(service.address, api_key=mine.token) as client,
        VideoClient(service.address, api_key=other.token) as stranger,
    ):
        file = await client.upload(media)
        job = await client.create_job(requests.pictures("a"), request_id="same")
        theirs = await stranger.create_job(requests.pictures("a"), request_id="same")
        assert theirs.name != job.name
        assert [found.name async for found in client.list_jobs()] == [job.name]
        assert [found.name async for found in stranger.list_jobs()] == [theirs.name]
        spec = requests.pictures("a")
        messages = []
        for name in (file.name, file.name[:-4] + "0000"):
            spec.images_to_videos.images[0].image.CopyFrom(MediaSource(file=name))
            with pytest.raises(InvalidRequest) as refused:
                await stranger.create_job(spec)
            assert refused.value.details.reason == "FILE_NOT_FOUND"
            messages.append(refused.value.message.replace(name, "it"))
        assert messages[0] == messages[1]


async def test_an_upload_s_id_is_one_s_own(service: Service) -> None:
    """Two owners who chose the same one, by call and by link, have a file each."""
    body, header = b"a picture", rpc.UploadFileHeader(filename="a.jpg", upload_id="a" * 16)
    header.size_bytes, header.sha256 = len(body), hashlib.sha256(body).hexdigest()
    complete = rpc.CompleteUploadRequest(header=header)
    mine, other = [await service.key(owner=owner) for owner in ("mine", "other")]
    async with (
        VideoClient(service.address, api_key=mine.token) as client,
        VideoClient(service.address, api_key=other.token) as stranger,
    ):
        stub, theirs = VideoServiceStub(client.channel), VideoServiceStub(stranger.channel)
        file = await stub.UploadFile(
            iter([rpc.UploadFileRequest(header=header), rpc.UploadFileRequest(chunk=body)])
        )
        assert await stub.CompleteUpload(complete) == file
        assert (await refusal_of(theirs.CompleteUpload(complete))).reason == "UPLOAD_MISSING"


async def test_a_key_of_an_owner_that_cannot_be_a_path_is_refused(service: Service) -> None:
    async with service.keys() as keys:
        for owner in ("../etc", "A", "a/b", ".x", "x" * 64):
            refusal = await refusal_of(keys.CreateKey(admin.CreateKeyRequest(owner=owner)))
            assert refusal.fields == ["owner"]


async def apigpu(service: Service, key: str, *arguments: str) -> tuple[int, str, str]:
    variables = {"APIGPU_SERVER": service.address, "APIGPU_API_KEY": key}
    result = await asyncio.to_thread(CliRunner().invoke, main, arguments, env=variables)
    return result.exit_code, result.stdout, result.stderr


async def test_the_command_makes_lists_and_revokes(service: Service) -> None:
    code, token, _ = await apigpu(
        service, ADMIN, "keys", "create", "--owner", "acme", "--scope", "jobs.read", "--days", "1"
    )
    assert code == 0 and await can_ask(service, token.strip())
    code, listed, _ = await apigpu(service, ADMIN, "keys", "list", "--json")
    (key,) = map(json.loads, listed.splitlines())
    assert key["owner"] == "acme" and key["scopes"] == ["SCOPE_JOBS_READ"]
    assert token.strip().split("_", 2)[2] not in listed
    code, table, _ = await apigpu(service, ADMIN, "keys", "list")
    assert code == 0 and "acme" in table
    assert (await apigpu(service, ADMIN, "keys", "revoke", token.strip()))[0] == 0
    assert not await can_ask(service, token.strip())
    code, _, told = await apigpu(service, "", "keys", "list")
    assert code == 2 and "APIGPU_API_KEY" in told


async def test_a_key_s_own_limits_are_made_kept_and_shown_by_the_command(service: Service) -> None:
    limits: dict[str, Any] = {"requests": "100/minute", "streams": 2, "jobs": 3, "stored_bytes": 4}
    given = [f"--max-{name.replace('_', '-')}={value}" for name, value in limits.items()]
    code, _, told = await apigpu(service, ADMIN, "keys", "create", *given)
    assert code == 0, told
    async with service.keys() as keys:
        (key,) = (await keys.ListKeys(admin.ListKeysRequest())).keys
        assert key.limits == admin.KeyLimits(**limits)
        replaced = await keys.CreateKey(admin.CreateKeyRequest(replaces=key.name))
        assert replaced.key.limits == key.limits
        bad = admin.CreateKeyRequest(limits=admin.KeyLimits(requests="many"))
        assert (await refusal_of(keys.CreateKey(bad))).fields == ["limits.requests"]
    _, table, _ = await apigpu(service, ADMIN, "keys", "list")
    assert "jobs=3" in "".join(table.split())


async def test_a_wrong_key_is_no_reason_to_come_back(service: Service) -> None:
    async with VideoClient(service.address, api_key="apigpu_0_0") as client:
        with pytest.raises(ApiGpuError) as refused:
            await client.get_job("jobs/1")
    assert refused.value.details.retry_delay_s is None
