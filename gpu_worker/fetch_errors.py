"""What a download that went wrong is told as. Of a URL only the host is ever told: the rest of
a signed link is a secret. For the same reason no error of aiohttp is chained or logged."""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp
from google.rpc import code_pb2

from apigpu_common.errors import InvalidInput, ServiceError
from apigpu_common.guard import AddressRefused

_REFUSALS = {
    401: ("SOURCE_UNAUTHORIZED", "wants to know who asks for this URL"),
    403: ("SOURCE_FORBIDDEN", "refuses this URL"),
    404: ("SOURCE_NOT_FOUND", "has nothing at this URL"),
    410: ("SOURCE_GONE", "has nothing at this URL any more"),
}
# What another try may cure, beside the errors of the server (5xx).
_RETRIED = frozenset({408, 425, 429})


def host_of(url: str) -> str:
    """What may be told of a URL."""
    try:
        return urlsplit(url).hostname or "the address"
    except ValueError:
        return "the address"


def is_passing(status: int) -> bool:
    """Whether an HTTP status tells of trouble that may pass."""
    return status >= 500 or status in _RETRIED


def refused_status(status: int, host: str) -> InvalidInput:
    """An answer that will be the same next time."""
    reason, what = _REFUSALS.get(status, ("SOURCE_REFUSED", "answers this URL"))
    hint = ": is the link signed, and not expired?" if status in (401, 403) else ""
    return InvalidInput(
        reason, f"{host} {what} ({status}){hint}.", metadata={"http_status": str(status)}
    )


def failing(status: int, host: str) -> ServiceError:
    """An answer that may be another one later, and was not within our tries."""
    return ServiceError(
        code_pb2.UNAVAILABLE,
        "SOURCE_FAILING",
        f"{host} answered this URL with {status}, again and again.",
        retryable=True,
        metadata={"http_status": str(status)},
    )


def too_slow(host: str, bytes_per_s: int) -> ServiceError:
    return ServiceError(
        code_pb2.UNAVAILABLE,
        "SOURCE_TOO_SLOW",
        f"{host} delivers less than {bytes_per_s} bytes a second.",
        retryable=True,
    )


def refused(host: str, what: str) -> InvalidInput:
    return InvalidInput("SOURCE_REFUSED", f"{host} {what}.")


def host_refused(host: str) -> InvalidInput:
    return InvalidInput(
        "SOURCE_HOST_REFUSED", f"{host} is not one of the hosts that inputs may come from here."
    )


def port_refused(host: str, port: int | None) -> InvalidInput:
    return InvalidInput(
        "SOURCE_PORT_REFUSED", f"{host}: inputs may not come from port {port} here."
    )


def too_large(host: str, max_bytes: int) -> InvalidInput:
    return InvalidInput("SOURCE_TOO_LARGE", f"The file at {host} is longer than {max_bytes} bytes.")


def unreachable(host: str, what: str) -> ServiceError:
    return ServiceError(
        code_pb2.UNAVAILABLE, "SOURCE_UNREACHABLE", f"{host} {what}.", retryable=True
    )


def lasting(error: Exception, host: str) -> InvalidInput | None:
    """The refusal that `error` stands for; None where another try may succeed."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(
        error.os_error, AddressRefused
    ):
        return InvalidInput("SOURCE_ADDRESS_REFUSED", f"{host} is not a public address.")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return refused(host, "has no valid certificate")
    if isinstance(error, ValueError):  # aiohttp.InvalidURL is one, too
        return refused(host, "leads to something that is not a usable URL")
    return None
