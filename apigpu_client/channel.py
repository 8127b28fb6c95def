"""How this client opens its channel: with the service config that comes with the contract,
its API key, and TLS."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import grpc

from apigpu_client.api_key import async_interceptors, blocking_interceptor

DEFAULT_TARGET = "localhost:50051"


@dataclass(frozen=True)
class Tls:
    """How to connect over TLS; all are PEM files.

    ca: who must have signed the service's certificate. Default: whom this system trusts.
    cert, key: our own certificate, where the service wants one.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises OSError where a file cannot be read, ValueError where one is missing."""
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client certificate and its key go together")
        return grpc.ssl_channel_credentials(*map(_read, (self.ca, self.key, self.cert)))


def open_async(target: str, api_key: str = "", tls: Tls | None = None) -> grpc.aio.Channel:
    interceptors = async_interceptors(api_key)
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options(), interceptors=interceptors)
    return grpc.aio.secure_channel(
        target, tls.credentials(), options=options(), interceptors=interceptors
    )


def open_blocking(target: str, api_key: str = "", tls: Tls | None = None) -> grpc.Channel:
    if tls is None:
        channel = grpc.insecure_channel(target, options=options())
    else:
        channel = grpc.secure_channel(target, tls.credentials(), options=options())
    return grpc.intercept_channel(channel, blocking_interceptor(api_key)) if api_key else channel


def _read(path: Path | None) -> bytes | None:
    return path.read_bytes() if path else None


def options() -> list[tuple[str, str | int]]:
    """Channel options: retries and timeouts by method, keep-alive, message limits."""
    config = resources.files("apigpu.video.v1").joinpath("video_grpc_service_config.json")
    return [
        ("grpc.service_config", config.read_text()),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", 16 * 1024 * 1024),
        # An idle stream through a proxy or a sleeping laptop: notice within a minute.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
