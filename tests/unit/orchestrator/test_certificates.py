"""Whom a client's certificate names."""

from __future__ import annotations

import pytest

from apigpu_common.errors import ServiceError
from orchestrator.access import certificates

URI = ("URI", "spiffe://example.org/team/acme")


def test_of_a_uri_the_last_part_is_the_owner() -> None:
    peer = {"subjectAltName": (URI, ("DNS", "other.example")), "subject": ()}
    assert certificates.caller("san", certificates.of_peer(peer)).owner == "acme"


def test_a_certificate_without_the_name_that_counts_names_nobody() -> None:
    peer = {"subjectAltName": (URI,), "subject": ((("organizationName", "acme"),),)}
    with pytest.raises(ServiceError) as refused:
        certificates.caller("common-name", certificates.of_peer(peer))
    assert refused.value.reason == "CERTIFICATE_NAMES_NO_OWNER"
