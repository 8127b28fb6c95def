"""Addresses to listen at: whether they make sense, and whether they are free. Asked before
anything that takes long, and told by the name of the setting."""

from __future__ import annotations

import os
import socket
from typing import Annotated

from google.rpc import code_pb2
from pydantic import AfterValidator

from apigpu_common.errors import ServiceError

_MAX_PORT = 65535


def _check(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > _MAX_PORT:
        raise ValueError("not an address like 127.0.0.1:50051 or [::1]:50051")
    if ":" in host and not host.startswith("["):
        raise ValueError("an IPv6 address stands in brackets, like [::1]:50051")
    return address


def _check_grpc(address: str) -> str:
    return address if address.startswith(("unix:", "unix-abstract:")) else _check(address)


def _check_if_any(address: str) -> str:
    return _check(address) if address else ""


Address = Annotated[str, AfterValidator(_check)]
GrpcAddress = Annotated[str, AfterValidator(_check_grpc)]
AddressIfAny = Annotated[str, AfterValidator(_check_if_any)]


def bind(setting: str, address: str, backlog: int = 128) -> socket.socket:
    """Listen at `address`. Raises ServiceError where that is not possible.

    setting: the variable that names it.
    """
    host, _, port = address.rpartition(":")
    try:
        family, _, _, _, place = socket.getaddrinfo(
            host.strip("[]") or None,
            int(port),
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        return socket.create_server(place[:2], family=family, backlog=backlog)
    except OSError as error:
        raise ServiceError(
            code_pb2.FAILED_PRECONDITION,
            "ADDRESS_NOT_USABLE",
            f"{setting}={address}: {_why(error).lower()}",
        ) from error


def _why(error: OSError) -> str:
    if error.errno is None or isinstance(error, socket.gaierror):
        return str(error.strerror)
    return os.strerror(error.errno)  # without what Python adds


def try_grpc(setting: str, address: str) -> None:
    """Raise ServiceError where gRPC could not listen at `address`, which it is to do later."""
    if not address.startswith("unix"):
        bind(setting, address).close()
