"""A real OpenTelemetry collector (Rotel), and the back end that it hands everything on to."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.services import free_port

_TIMEOUT_S = 30


class Collected(TraceServiceServicer, MetricsServiceServicer):
    """What the collector has handed on: all of it once it has ended.

    endpoint: the collector's, for OTEL_EXPORTER_OTLP_ENDPOINT. spans: with the name of their
    service.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[tuple[str, Span]] = []
        self.metrics: set[str] = set()
        self.received: list[bytes] = []  # all of it, as it came

    async def Export(self, request: Any, context: Any) -> Any:
        self.received.append(request.SerializeToString())
        if isinstance(request, metrics_service_pb2.ExportMetricsServiceRequest):
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    self.metrics |= {metric.name for metric in scope.metrics}
            return metrics_service_pb2.ExportMetricsServiceResponse()
        for resource in request.resource_spans:
            attributes = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(attributes["service.name"], span) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def environment(self) -> dict[str, str]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "OTEL_EXPORTER_OTLP_INSECURE": "true"}


@asynccontextmanager
async def collector(folder: Path) -> AsyncIterator[Collected]:
    """It ends with the context, and sends what it still has; its log stays in the folder."""
    found = Collected()
    server = grpc.aio.server()
    add_TraceServiceServicer_to_server(found, server)  # type: ignore[no-untyped-call]
    add_MetricsServiceServicer_to_server(found, server)  # type: ignore[no-untyped-call]
    backend = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with _rotel(folder, backend) as found.endpoint:
            yield found
    finally:
        await server.stop(0)


@asynccontextmanager
async def _rotel(folder: Path, backend: int) -> AsyncIterator[str]:
    grpc_port, http_port = free_port(), free_port()
    with (folder / "collector.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(_program(), "start", f"--pid-file={folder / 'collector.pid'}"),
            f"--otlp-grpc-endpoint=127.0.0.1:{grpc_port}",
            f"--otlp-http-endpoint=127.0.0.1:{http_port}",
            f"--otlp-exporter-endpoint=http://127.0.0.1:{backend}",
            stdout=log,
            stderr=log,
        )
    try:
        address = f"127.0.0.1:{grpc_port}"
        async with grpc.aio.insecure_channel(address) as channel:
            await asyncio.wait_for(channel.channel_ready(), _TIMEOUT_S)
        yield f"http://{address}"
        process.terminate()
        await asyncio.wait_for(process.wait(), _TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _program() -> Path:
    package = importlib.util.find_spec("rotel")
    if package is None or package.origin is None:
        pytest.skip("no collector for this platform on PyPI")
    return Path(package.origin).with_name("rotel-agent")
