"""Every request message has to come in time, and whole. Without this, a caller that sends a
message byte by byte, or never, holds its call for as long as it likes.

Makes every method one that reads its requests itself, so that what stands further out (keys,
limits) decides before a message is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2

from apigpu_common.errors import InvalidInput, ServiceError
from apigpu_common.interceptors.handlers import (
    Behaviour,
    Continuation,
    Handler,
    behaviour_of,
    responses,
)

# Streams of these wait for the caller as long as it likes; they read nothing long.
_PATIENT = ("/grpc.reflection.",)


class PaceInterceptor(grpc.aio.ServerInterceptor):
    """message_timeout_s: how long the server waits for the next message of a request."""

    def __init__(self, message_timeout_s: float) -> None:
        self._timeout_s = message_timeout_s

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_PATIENT):
            return handler
        serve = behaviour_of(handler)
        if not handler.request_streaming:
            serve = _with_first(serve, handler.response_streaming)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._stream(serve), handler.request_deserializer, handler.response_serializer
            )
        return grpc.stream_unary_rpc_method_handler(
            self._unary(serve), handler.request_deserializer, handler.response_serializer
        )

    def _unary(self, serve: Behaviour) -> Behaviour:
        async def answer(requests: Any, context: Any) -> Any:
            return await serve(self._paced(requests), context)

        return answer

    def _stream(self, serve: Behaviour) -> Behaviour:
        async def answer(requests: Any, context: Any) -> AsyncIterator[Any]:
            async for response in responses(serve(self._paced(requests), context)):
                yield response

        return answer

    async def _paced(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        messages = aiter(requests)
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    message = await anext(messages)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise ServiceError(
                    code_pb2.DEADLINE_EXCEEDED,
                    "REQUEST_TOO_SLOW",
                    f"The next message of the request did not come within {self._timeout_s:g} s.",
                ) from None
            except DecodeError:
                raise InvalidInput(
                    "REQUEST_MALFORMED", "The request is not a message of this contract."
                ) from None
            yield message


def _with_first(serve: Behaviour, streams: bool) -> Behaviour:
    """A behaviour for one message, as one for a stream of exactly one."""

    async def first(requests: AsyncIterator[Any]) -> Any:
        async for request in requests:
            return request
        raise InvalidInput("REQUEST_MISSING", "The call came without its request.")

    async def stream(requests: Any, context: Any) -> AsyncIterator[Any]:
        async for response in responses(serve(await first(requests), context)):
            yield response

    async def unary(requests: Any, context: Any) -> Any:
        return await serve(await first(requests), context)

    return stream if streams else unary
