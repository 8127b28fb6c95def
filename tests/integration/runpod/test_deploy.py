"""`apigpu deploy runpod`, against an account on loopback that takes what RunPod documents."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.runpod_emulator import ENDPOINT, KEY, Cloud, running

TIMEOUT_S = 60.0


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    async with running(tmp_path / "cloud") as cloud:
        yield cloud


async def deploy(cloud: Cloud, *options: str, key: str = KEY) -> tuple[int, str, str]:
    """Returns exit code, standard output, and standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "apigpu_client.cli", "deploy", "runpod", *options),
        env={**os.environ, "RUNPOD_API_KEY": key, "APIGPU_RUNPOD_REST_URL": cloud.rest_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, told = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    return process.returncode or 0, out.decode(), told.decode()


async def test_template_and_endpoint_are_made_once_and_then_left_alone(cloud: Cloud) -> None:
    options = ("--name", "videos", "--image", "you/worker:1", "--env", "HF_TOKEN=hf_secret")
    code, out, told = await deploy(cloud, *options, "--dry-run")
    assert (code, out) == (0, "")
    assert "endpoint: would be made" in told
    assert "imageName: you/worker:1" in told
    assert "hf_secret" not in told
    assert not cloud.account.calls, "a dry run has changed something"

    code, out, told = await deploy(cloud, *options)
    assert code == 0, told
    (template,) = cloud.account.templates.values()
    assert template["isServerless"]
    assert template["env"] == {"BATCH_SIZE": "3", "HF_TOKEN": "hf_secret"}
    (made,) = set(cloud.account.endpoints) - {ENDPOINT}
    assert out == f"RUNPOD_ENDPOINT_ID={made}\n"
    assert cloud.account.endpoints[made]["templateId"] == template["id"]
    assert [call for call, _ in cloud.account.calls] == ["POST templates", "POST endpoints"]

    again = await deploy(cloud, *options)
    assert again[:2] == (0, out)
    assert again[2].count("is as it should be") == 2
    assert len(cloud.account.calls) == 2


async def test_only_what_differs_is_changed_and_foreign_variables_stay(cloud: Cloud) -> None:
    first = ("--name", "videos", "--image", "you/worker:1")
    await deploy(cloud, *first)
    (template,) = cloud.account.templates.values()
    template["env"]["SENTRY_DSN"] = "by hand"
    second = ("--name", "videos", "--image", "you/worker:2", "--max-workers", "5")
    code, out, told = await deploy(cloud, *second, "--dry-run")
    assert (code, out) == (0, "")
    assert "would be changed" in told
    assert len(cloud.account.calls) == 2, "a dry run has changed something"
    code, _, told = await deploy(cloud, *second, "--env", "BATCH_SIZE=2")
    assert code == 0, told
    assert "imageName: you/worker:1 -> you/worker:2" in told
    assert "workersMax: 3 -> 5" in told
    env = {"BATCH_SIZE": "2", "SENTRY_DSN": "by hand"}
    assert cloud.account.calls[2:] == [
        ("PATCH templates", {"imageName": "you/worker:2", "env": env}),
        ("PATCH endpoints", {"workersMax": 5}),
    ]


async def test_a_run_that_broke_off_is_gone_on_with(cloud: Cloud) -> None:
    options = ("--name", "videos", "--image", "you/worker:1")
    cloud.account.fault["POST endpoints"] = 500
    code, out, told = await deploy(cloud, *options)
    assert (code, out) == (1, "")
    assert "RunPod answers 500 to POST /endpoints" in told
    cloud.account.fault.clear()
    assert (await deploy(cloud, *options))[0] == 0
    calls = [call for call, _ in cloud.account.calls]
    assert calls == ["POST templates", "POST endpoints"], "the template was made twice"


async def test_the_endpoint_that_is_there_takes_the_changes(cloud: Cloud) -> None:
    options = ("--image", "you/worker:1", "--max-workers", "4", "--idle-timeout", "9")
    code, out, told = await deploy(cloud, *options)
    assert (code, out) == (0, f"RUNPOD_ENDPOINT_ID={ENDPOINT}\n"), told
    assert (cloud.policy.workers_max, cloud.policy.idle_timeout_s) == (4, 9)


@pytest.mark.parametrize(
    ("options", "key", "told"),
    [
        (("--gpu", "NVIDIA A100-SXM4-80GB"), KEY, "no video encoder"),
        (("--gpu", "NVIDIA L5"), KEY, "gpuTypeIds"),
        (("--env", "BATCH_SIZE"), KEY, "NAME=VALUE"),
        ((), "another-key", "RUNPOD_API_KEY needs write access"),
        ((), "", "RUNPOD_API_KEY is not set"),
    ],
)
async def test_what_cannot_be_is_told(
    cloud: Cloud, options: tuple[str, ...], key: str, told: str
) -> None:
    code, out, err = await deploy(cloud, "--name", "v", "--image", "i", *options, key=key)
    assert code != 0
    assert not out
    assert told in err
    assert "Traceback" not in err


async def test_two_endpoints_of_one_name_are_not_chosen_between(cloud: Cloud) -> None:
    for id_ in ("a", "b"):
        cloud.account.endpoints[id_] = {"id": id_, "name": "videos -fb"}
    code, _, told = await deploy(cloud, "--name", "videos", "--image", "i")
    assert code == 1
    assert "RunPod has 2 of the name videos (a, b)" in told
