"""Rewrap a gRPC method handler with a new behaviour, keeping its kind and its serialisers."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import grpc

Behaviour = Callable[[Any, Any], Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic for type checkers only
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]]
# Puts a behaviour of one kind around another: (inner, handler, method name) -> outer
Wrap = Callable[[Behaviour, Handler, str], Behaviour]


class WrappingInterceptor(grpc.aio.ServerInterceptor):
    """An interceptor that puts one function around unary answers and one around streams."""

    def __init__(self, unary: Wrap, stream: Wrap) -> None:
        self._unary = unary
        self._stream = stream

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:  # unknown method: gRPC answers UNIMPLEMENTED
            return None
        wrap = self._stream if handler.response_streaming else self._unary
        return rewrap(handler, wrap(behaviour_of(handler), handler, handler_call_details.method))


class ChainedInterceptor(grpc.aio.ServerInterceptor):
    """Several interceptors as one, which asks them once for each method, not for each call: what
    they put around a method must depend on nothing but its name."""

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        """interceptors: the outermost first."""
        self._interceptors = tuple(interceptors)
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None:
            for interceptor in reversed(self._interceptors):
                continuation = partial(interceptor.intercept_service, continuation)
            handler = await continuation(handler_call_details)
            if handler is not None:  # strangers may ask for any number of unknown methods
                self._handlers[method] = handler
        return handler


def behaviour_of(handler: Handler) -> Behaviour:
    """The function that serves the method."""
    found = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    assert found is not None
    return found


def rewrap(handler: Handler, behaviour: Behaviour) -> Handler:
    """`handler` with `behaviour` in place of its own."""
    make: Callable[..., Handler]
    if handler.request_streaming:
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
    else:
        make = (
            grpc.unary_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.unary_unary_rpc_method_handler
        )
    return make(behaviour, handler.request_deserializer, handler.response_serializer)


async def responses(answer: Any) -> AsyncIterator[Any]:
    """What a streaming behaviour answers. One that is a coroutine writes to its context by
    itself (grpc_health does) and has no responses to pass on."""
    if inspect.isawaitable(answer):
        await answer
        return
    async for response in answer:
        yield response
