"""Whether the service may listen where it was told to: what others can reach needs keys and
TLS, unless the operator says by name that it does not."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from google.rpc import code_pb2

from apigpu_common.errors import ServiceError
from orchestrator.access.settings import SecuritySettings


def is_local(address: str) -> bool:
    """Whether only this machine can connect to a listener at `address`."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may lead anywhere, and no name at all means everywhere


def check(addresses: Sequence[str], settings: SecuritySettings, *, has_keys: bool) -> str:
    """What to tell of the listeners, in a line. Raises ServiceError where one is too open."""
    public = [address for address in addresses if not is_local(address)]
    if not public:
        return "only this machine can connect"
    missing = []
    if not has_keys and "no-key" not in settings.insecure:
        missing.append(
            "it has no API key (set X_API_KEY, or start it on 127.0.0.1 first and run"
            " `apigpu keys create`; APIGPU_INSECURE=no-key lets everybody in)"
        )
    if settings.tls_cert is None and "no-tls" not in settings.insecure:
        missing.append(
            "it has no TLS (set APIGPU_TLS_CERT and APIGPU_TLS_KEY; APIGPU_INSECURE=no-tls is"
            " right only behind a proxy that does TLS)"
        )
    if missing:
        raise ServiceError(
            code_pb2.FAILED_PRECONDITION,
            "UNSAFE_LISTENER",
            f"others can connect to {', '.join(public)}, but {', and '.join(missing)}",
        )
    weak = ", ".join(sorted(settings.insecure))
    return f"others can connect{f', with {weak} as APIGPU_INSECURE allows' if weak else ''}"
