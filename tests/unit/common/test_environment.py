"""What an operator is told of settings that are wrong: the variable's name, and no value."""

from __future__ import annotations

import pytest

from apigpu_common import environment
from gpu_worker.settings import WorkerSettings
from orchestrator.settings import Settings


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("APIGPU_LISTEN", "nonsense", "APIGPU_LISTEN: not an address like"),
        ("APIGPU_LISTEN", "127.0.0.1:99999", "APIGPU_LISTEN: not an address like"),
        ("APIGPU_HTTP_LISTEN", "::1:80", "APIGPU_HTTP_LISTEN: an IPv6 address stands in brackets"),
        ("APIGPU_METRICS_LISTEN", "9464", "APIGPU_METRICS_LISTEN: not an address like"),
        ("X_API_KEY", "hunter2", "X_API_KEY: a key of less than 16 characters"),
        ("APIGPU_LEASE_S", "hunter2", "APIGPU_LEASE_S: Input should be a valid number"),
        ("APIGPU_TLS_CERT", "hunter2", "APIGPU_TLS_CERT and APIGPU_TLS_KEY go together"),
    ],
)
def test_a_wrong_setting_is_told_by_its_name_and_never_by_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(environment.SettingsError) as wrong:
        environment.read(Settings)
    assert str(wrong.value).startswith(told)
    assert "hunter2" not in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_all_that_is_wrong_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APIGPU_WORKER_CAGE", "perhaps")
    monkeypatch.setenv("BATCH_SIZE", "0")
    with pytest.raises(environment.SettingsError) as wrong:
        environment.read(WorkerSettings)
    lines = str(wrong.value).splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == ["APIGPU_WORKER_CAGE", "BATCH_SIZE"]


def test_a_name_that_is_no_setting_is_told_with_the_one_that_was_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = {"APIGPU_SERVER", "APIGPU_WORKER_", "APIGPU_TEST_"}
    assert environment.unknown(Settings, others) == []
    for name in ("APIGPU_SERVER", "APIGPU_WORKER_CAGE", "APIGPU_LEASE_S", "PORT", "NOT_OURS"):
        monkeypatch.setenv(name, "hunter2")
    assert environment.unknown(Settings, others) == []
    monkeypatch.setenv("APIGPU_TLS_CERTS", "hunter2")
    (told,) = environment.unknown(Settings, others)
    assert told == "there is no setting APIGPU_TLS_CERTS; did you mean APIGPU_TLS_CERT?"
