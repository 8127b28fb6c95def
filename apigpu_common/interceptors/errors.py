"""Outermost interceptor: a ServiceError reaches the caller with its details; any other
exception is logged here and reaches the caller without its text."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
from grpc_status import rpc_status

from apigpu_common.errors import InternalError, ServiceError, Unavailable
from apigpu_common.interceptors.handlers import Behaviour, Handler, WrappingInterceptor, responses

Context = grpc.aio.ServicerContext[Any, Any]

log = logging.getLogger(__name__)


class ErrorInterceptor(WrappingInterceptor):
    """Maps exceptions to statuses for every method of the server."""

    def __init__(self) -> None:
        super().__init__(_unary, _stream)


def _unary(serve: Behaviour, handler: Handler, method: str) -> Behaviour:
    async def answer(request: Any, context: Context) -> Any:
        try:
            return await serve(request, context)
        except BaseException as error:
            await _abort(context, error, method)

    return answer


def _stream(serve: Behaviour, handler: Handler, method: str) -> Behaviour:
    async def answer(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            async for response in responses(serve(request, context)):
                yield response
        except GeneratorExit:
            raise
        except BaseException as error:
            await _abort(context, error, method)

    return answer


async def _abort(context: Context, error: BaseException, method: str) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):  # the method has told the caller itself
        raise error
    if isinstance(error, asyncio.CancelledError):
        if context.cancelled():
            raise error
        # Cancelled by us, not by the caller: without a status the caller would hang.
        error = Unavailable("SHUTTING_DOWN", "The server is shutting down; try again.")
    if not isinstance(error, ServiceError):
        log.error("unexpected error in %s", method, exc_info=error)
        error = InternalError("INTERNAL", "Something went wrong on our side; it has been logged.")
    try:
        await context.abort_with_status(rpc_status.to_status(error.to_status()))
    except grpc.aio.InternalError:
        # The call is over already (gRPC itself has refused a message, or the caller left):
        # there is nobody to tell, and nothing to log.
        raise asyncio.CancelledError from None
    raise AssertionError("abort returned")
