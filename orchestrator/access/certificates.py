"""Who a caller is by its TLS certificate, where the operator has said that these name owners. Only
certificates that the listener has verified come here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any

from google.rpc import code_pb2

from apigpu_common.errors import ServiceError
from orchestrator.access.identity import Caller, Scope

# As gRPC calls what it knows of a connection.
AuthContext = Mapping[str, Iterable[bytes]]
_NAMES = {"common-name": "x509_common_name", "san": "x509_subject_alternative_name"}
# What the contract allows for an owner.
_OWNER = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
SCOPES = frozenset(Scope) - {Scope.ADMIN}

# Of the HTTP request that this task answers.
over_http: ContextVar[AuthContext] = ContextVar("certificate")


def of_peer(certificate: Mapping[str, Any]) -> AuthContext:
    """What ssl.SSLSocket.getpeercert() tells, as gRPC would."""
    subject = (pair for part in certificate.get("subject", ()) for pair in part)
    return {
        "x509_common_name": [value.encode() for kind, value in subject if kind == "commonName"],
        "x509_subject_alternative_name": [
            value.encode() for _, value in certificate.get("subjectAltName", ())
        ],
    }


def caller(names: str, certificate: AuthContext) -> Caller:
    """The owner whom a certificate names: its common name, or the first of its alternative
    names; of a URI (spiffe://example.org/acme) the last part. Raises UNAUTHENTICATED."""
    found = next(iter(certificate.get(_NAMES[names], ())), b"").decode(errors="replace")
    owner = found.rpartition("/")[2] if "://" in found else found
    if not _OWNER.fullmatch(owner):
        raise ServiceError(
            code_pb2.UNAUTHENTICATED,
            "CERTIFICATE_NAMES_NO_OWNER",
            "The client certificate names no owner: 1 to 63 lower-case letters, digits and ._- as"
            f" its {names}. Or send an API key.",
        )
    return Caller(owner, f"certificate {owner}", SCOPES)
