"""The worker's settings as an operator gives them: in the environment."""

from __future__ import annotations

import ipaddress

import pytest
from pydantic import ValidationError

from gpu_worker.settings import WorkerSettings


def test_the_names_of_the_old_product_still_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_SIZE", "7")
    monkeypatch.setenv("WORK_DIR", "/old")
    settings = WorkerSettings()
    assert (settings.max_parallel_items, str(settings.work_dir)) == (7, "/old")
    monkeypatch.setenv("APIGPU_WORKER_MAX_PARALLEL_ITEMS", "2")
    assert WorkerSettings().max_parallel_items == 2, "the new name wins"


def test_networks_are_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APIGPU_WORKER_FETCH_ALLOW", "10.0.0.0/8, fd00::/8,")
    assert WorkerSettings().fetch_allow == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("fd00::/8"),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APIGPU_WORKER_FETCH_ALLOW", "minio:9000"),
        ("APIGPU_WORKER_MAX_PARALLEL_ITEMS", "0"),
        ("APIGPU_WORKER_MAX_INPUT_BYTES", "-1"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        WorkerSettings()
