"""How this client opens its channel: with the service config that comes with the contract."""

from __future__ import annotations

from importlib import resources

DEFAULT_TARGET = "localhost:50051"


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
