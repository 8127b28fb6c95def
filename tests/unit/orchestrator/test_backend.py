"""A RunPod backend that cannot work is refused at the start, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from apigpu_common.errors import ServiceError
from orchestrator import backend
from tests.services import settings

GOOD = {
    "runpod_api_key": "a-key",
    "runpod_endpoint_id": "ep",
    "public_url": "https://api.example.com",
}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"runpod_api_key": ""}, "RUNPOD_API_KEY is not"),
        ({"public_url": ""}, "APIGPU_PUBLIC_URL"),
        ({"public_url": "http://127.0.0.1:8080"}, r"cannot reach http://127\.0\.0\.1:8080"),
        ({"public_url": "http://localhost"}, "APIGPU_PUBLIC_URL"),
        ({"public_url": "http://[::1]:80"}, "APIGPU_PUBLIC_URL"),
    ],
)
def test_what_runpod_cannot_work_with_is_refused(
    tmp_path: Path, wrong: dict[str, str], told: str
) -> None:
    with pytest.raises(ServiceError, match=told) as refused:
        backend.make(settings(tmp_path, (), **{**GOOD, **wrong}))
    assert "a-key" not in str(refused.value)


def test_what_it_can_work_with_is_not(tmp_path: Path) -> None:
    assert backend.make(settings(tmp_path, (), **GOOD)).name == "runpod"
    emulated = {**GOOD, "public_url": "", "runpod_url": "http://127.0.0.1:1/v2"}
    assert backend.make(settings(tmp_path, (), **emulated)).name == "runpod"
