"""A span and a duration for each call, by the semantic conventions for RPC. Outermost, so that
it sees how the call really ended."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry import context as context_api
from opentelemetry import metrics, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from apigpu_common.interceptors.handlers import Behaviour, Handler, WrappingInterceptor, responses
from apigpu_common.telemetry import context_of

_TRACER = trace.get_tracer("apigpu")
_DURATION = metrics.get_meter("apigpu").create_histogram(
    "rpc.server.call.duration",
    unit="s",
    description="Duration of calls.",
    explicit_bucket_boundaries_advisory=[
        *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    ],
)
# Ours to answer for: what the conventions count as errors of a server.
_SERVER_ERRORS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
_STATUSES = {status.value[0]: status for status in grpc.StatusCode}


class TelemetryInterceptor(WrappingInterceptor):
    """Traces and measures every method of the server."""

    def __init__(self) -> None:
        super().__init__(_unary, _stream)


def _unary(serve: Behaviour, handler: Handler, method: str) -> Behaviour:
    async def answer(request: Any, context: Any) -> Any:
        with _call(context, method):
            return await serve(request, context)

    return answer


def _stream(serve: Behaviour, handler: Handler, method: str) -> Behaviour:
    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        with _call(context, method):
            async for response in responses(serve(request, context)):
                yield response

    return answer


@contextmanager
def _call(context: Any, method: str) -> Iterator[None]:
    name = method.lstrip("/")
    attributes = {"rpc.system.name": "grpc", "rpc.method": name}
    began = time.perf_counter()
    metadata = dict(context.invocation_metadata() or ())
    span = _TRACER.start_span(
        name, context_of(str(metadata.get("traceparent", ""))), SpanKind.SERVER, attributes
    )
    # gRPC serves each call in a task of its own: what is attached here ends with it.
    context_api.attach(trace.set_span_in_context(span))
    code = "UNKNOWN"
    try:
        yield
        code = _code(context, grpc.StatusCode.OK)
    except BaseException:
        code = _code(context, grpc.StatusCode.CANCELLED)
        raise
    finally:
        _ended(span, code)
        seconds = time.perf_counter() - began
        _DURATION.record(seconds, {**attributes, "rpc.response.status_code": code})


def _code(context: Any, otherwise: grpc.StatusCode) -> str:
    """The status that was set by abort, or `otherwise`."""
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code.name
    return (_STATUSES.get(code, otherwise) if code else otherwise).name


def _ended(span: Span, code: str) -> None:
    span.set_attribute("rpc.response.status_code", code)
    if code in _SERVER_ERRORS:
        span.set_attribute("error.type", code)
        span.set_status(Status(StatusCode.ERROR))
    span.end()
