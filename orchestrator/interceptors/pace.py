"""Every request message has to come in time, and whole. Without this, a caller that sends a
message byte by byte, or never, holds its call for as long as it likes.

Makes every method one that reads its requests itself, so that what stands further out (keys,
limits) decides before a message is read. What stands further in sees the method as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
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

# Reads what a behaviour is called with: a message, or all of them.
Read = Callable[[Any], Awaitable[Any]]
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
        read = self._paced if handler.request_streaming else self._first
        make, wrap = (
            (grpc.stream_stream_rpc_method_handler, _stream)
            if handler.response_streaming
            else (grpc.stream_unary_rpc_method_handler, _unary)
        )
        return make(wrap(serve, read), handler.request_deserializer, handler.response_serializer)

    async def _first(self, context: Any) -> Any:
        """The one message of a call."""
        message = await self._next(context)
        if message is grpc.aio.EOF:
            raise InvalidInput("REQUEST_MISSING", "The call came without its request.")
        return message

    async def _paced(self, context: Any) -> AsyncIterator[Any]:
        """The messages of a call that has many."""

        async def messages() -> AsyncIterator[Any]:
            while (message := await self._next(context)) is not grpc.aio.EOF:
                yield message

        return messages()

    async def _next(self, context: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await context.read()
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


def _unary(serve: Behaviour, read: Read) -> Behaviour:
    async def answer(unread: Any, context: Any) -> Any:
        return await serve(await read(context), context)

    return answer


def _stream(serve: Behaviour, read: Read) -> Behaviour:
    async def answer(unread: Any, context: Any) -> AsyncIterator[Any]:
        async for response in responses(serve(await read(context), context)):
            yield response

    return answer
