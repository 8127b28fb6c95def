"""How gRPC's server is set up: every resource that a connection can take has a bound."""

from __future__ import annotations

from orchestrator.limit_settings import LimitSettings

MAX_REQUEST_BYTES = 4 * 1024 * 1024
_HANDSHAKE_MS = 10_000
# A header list up to the first is normal; one above the second is refused without being read.
_HEADERS_BYTES, _MAX_HEADERS_BYTES = 8 * 1024, 16 * 1024


def options(settings: LimitSettings) -> list[tuple[str, int]]:
    """Channel options of the server."""
    return [
        # A second server on the same port must fail, not share it silently.
        ("grpc.so_reuseport", 0),
        # Of a request, after decompression.
        ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
        ("grpc.max_send_message_length", 16 * 1024 * 1024),
        ("grpc.max_metadata_size", _HEADERS_BYTES),
        ("grpc.absolute_max_metadata_size", _MAX_HEADERS_BYTES),
        # Who connects has to say hello (TLS included) soon, and to do something now and then.
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        ("grpc.http2.settings_timeout", _HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", round(settings.connection_idle_s * 1000)),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_concurrent_streams", settings.max_streams_per_connection),
        # Clients may ping idle streams every 10 s; a dead client is noticed within 40 s.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]
