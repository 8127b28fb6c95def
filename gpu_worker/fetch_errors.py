"""What a download that went wrong is told as. Of a URL only the host is ever told: the rest of
a signed link is a secret. For the same reason no error of aiohttp is chained or logged."""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp
from google.rpc import code_pb2

from apigpu_common.errors import InvalidInput, ServiceError
from apigpu_common.guard import AddressRefused

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
    if status in (404, 410):
        return InvalidInput("SOURCE_NOT_FOUND", f"{host} has nothing at this URL ({status}).")
    if status in (401, 403):
        return refused(host, f"refuses this URL ({status}): is the link signed, or expired?")
    return refused(host, f"answers this URL with {status}")


def refused(host: str, what: str) -> InvalidInput:
    return InvalidInput("SOURCE_REFUSED", f"{host} {what}.")


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
    if isinstance(error, aiohttp.TooManyRedirects):
        return refused(host, "redirects too many times")
    if isinstance(error, aiohttp.NonHttpUrlRedirectClientError):
        return refused(host, "redirects to something else than http or https")
    if isinstance(error, ValueError):  # aiohttp.InvalidURL, of a redirect too, is one
        return refused(host, "leads to something that is not a usable URL")
    return None
