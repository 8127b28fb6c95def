"""Traces and metrics by OpenTelemetry. Where the standard variable OTEL_EXPORTER_OTLP_ENDPOINT
is set they are sent there; metrics can also be shown at /metrics. Otherwise all of it is the
API's own no-op, which costs nothing.

A trace is carried on as a W3C trace parent: in a job that is stored, in a task's payload.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from apigpu_common import __version__, listening

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROPAGATOR = TraceContextTextMapPropagator()


@contextmanager
def telemetry(service: str, instance: str, metrics_listen: str = "") -> Iterator[None]:
    """Send and show what is measured, until the block is left; then what is left is sent.

    service: name of this program. instance: which one of several.
    metrics_listen: host:port of /metrics for Prometheus; empty: none.
    """
    with ExitStack() as stack:
        if is_measured(metrics_listen):
            _start(service, instance, metrics_listen, stack)
        yield


def is_measured(metrics_listen: str) -> bool:
    """Whether anybody reads what is measured."""
    return bool(metrics_listen or os.environ.get(_ENDPOINT))


def _start(service: str, instance: str, metrics_listen: str, stack: ExitStack) -> None:
    # Imported where they are needed: a worker's cold start must not wait for them.
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create(
        {
            "service.name": service,
            "service.version": __version__,
            "service.instance.id": instance,
        }
    )
    readers: list[MetricReader] = []
    if os.environ.get(_ENDPOINT):
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        stack.callback(tracers.shutdown)
        trace.set_tracer_provider(tracers)
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    if metrics_listen:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from prometheus_client import start_http_server

        readers.append(PrometheusMetricReader())
        listening.bind("APIGPU_METRICS_LISTEN", metrics_listen).close()
        host, _, port = metrics_listen.rpartition(":")
        server, _thread = start_http_server(int(port), host)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
    meters = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    stack.callback(meters.shutdown)
    metrics.set_meter_provider(meters)


def trace_parent() -> str:
    """The present span, to be carried on elsewhere; empty where nothing is traced."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent", "")


def context_of(parent: str) -> Context:
    """The context of a span that was carried here by `trace_parent`; new where it is empty."""
    return _PROPAGATOR.extract({"traceparent": parent}, context=Context())
