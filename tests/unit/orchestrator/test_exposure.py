"""What may listen where."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from apigpu_common.errors import ServiceError
from orchestrator.access import exposure
from orchestrator.settings import Settings

TLS = {"tls_cert": "/c.pem", "tls_key": "/k.pem"}


def settings(**values: Any) -> Settings:
    return Settings.model_validate(values)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:50051", True),
        ("127.8.9.1:1", True),
        ("localhost:50051", True),
        ("[::1]:50051", True),
        ("unix:/run/apigpu.sock", True),
        ("0.0.0.0:50051", False),
        ("[::]:50051", False),
        (":50051", False),
        ("10.0.0.5:50051", False),
        ("video.example:50051", False),
        ("localhost.example:1", False),
    ],
)
def test_an_address_is_local_only_if_no_other_machine_can_reach_it(
    address: str, local: bool
) -> None:
    assert exposure.is_local(address) is local


@pytest.mark.parametrize(
    ("values", "has_keys", "missing"),
    [
        ({}, False, ["API key", "TLS"]),
        ({}, True, ["TLS"]),
        (TLS, False, ["API key"]),
        ({"insecure": "no-tls"}, False, ["API key"]),
        ({"insecure": "no-key"}, False, ["TLS"]),
    ],
)
def test_a_public_listener_without_key_or_tls_is_refused_with_what_is_missing(
    values: dict[str, Any], has_keys: bool, missing: list[str]
) -> None:
    with pytest.raises(ServiceError) as refused:
        exposure.check(["127.0.0.1:1", "0.0.0.0:2"], settings(**values), has_keys=has_keys)
    message = refused.value.message
    assert "0.0.0.0:2" in message and "127.0.0.1:1" not in message
    for name in ("API key", "TLS"):
        assert (f"it has no {name}" in message) == (name in missing)


@pytest.mark.parametrize(
    ("values", "has_keys"),
    [(TLS, True), ({"insecure": "no-tls"}, True), ({"insecure": "no-key, no-tls"}, False)],
)
def test_a_public_listener_with_all_or_with_leave_may_serve(
    values: dict[str, Any], has_keys: bool
) -> None:
    told = exposure.check(["0.0.0.0:2"], settings(**values), has_keys=has_keys)
    for name in str(values.get("insecure", "")).split(", "):
        assert name in told, "what was allowed must be told"


def test_the_default_listens_on_this_machine_only_and_says_so() -> None:
    default = settings()
    told = exposure.check([default.listen, default.http_listen], default, has_keys=False)
    assert told == "only this machine can connect"


@pytest.mark.parametrize(
    "values",
    [
        {"x_api_key": "short"},
        {"insecure": "everything"},
        {"keyless": "health, files"},
        {"tls_cert": "/c.pem"},
        {"tls_client_ca": "/ca.pem"},
    ],
)
def test_settings_that_would_protect_nothing_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**values)
