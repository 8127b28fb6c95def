"""A receiver of OpenTelemetry's protocol (OTLP over gRPC): collects what programs send."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
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


class Collector(TraceServiceServicer, MetricsServiceServicer):
    """endpoint: for OTEL_EXPORTER_OTLP_ENDPOINT. spans: with the name of their service."""

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
async def collector() -> AsyncIterator[Collector]:
    found = Collector()
    server = grpc.aio.server()
    add_TraceServiceServicer_to_server(found, server)  # type: ignore[no-untyped-call]
    add_MetricsServiceServicer_to_server(found, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    found.endpoint = f"http://127.0.0.1:{port}"
    await server.start()
    try:
        yield found
    finally:
        await server.stop(0)
