"""Interceptors as one: asked once for each method."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import grpc

from apigpu_common.interceptors.handlers import (
    Behaviour,
    ChainedInterceptor,
    Handler,
    WrappingInterceptor,
    behaviour_of,
)


class Marking(WrappingInterceptor):
    """Puts its mark before what the method answers."""

    def __init__(self, mark: str) -> None:
        super().__init__(self._wrap, self._wrap)
        self._mark = mark
        self.wrapped: list[str] = []

    def _wrap(self, serve: Behaviour, handler: Handler, method: str) -> Behaviour:
        self.wrapped.append(method)

        async def answer(request: Any, context: Any) -> Any:
            return self._mark + await serve(request, context)

        return answer


def call(method: str) -> Any:
    return SimpleNamespace(method=method)


async def test_a_method_is_wrapped_once_outermost_first_and_an_unknown_one_not_at_all() -> None:
    async def echo(request: Any, context: Any) -> Any:
        return request

    async def find(details: grpc.HandlerCallDetails) -> Handler | None:
        known = details.method == "/known"
        return grpc.unary_unary_rpc_method_handler(echo) if known else None

    marks = [Marking("1"), Marking("2")]
    chained = ChainedInterceptor(marks)
    for request in ("a", "b"):
        handler = await chained.intercept_service(find, call("/known"))
        assert handler is not None
        assert await behaviour_of(handler)(request, None) == f"12{request}"
        assert await chained.intercept_service(find, call("/unknown")) is None
    assert [mark.wrapped for mark in marks] == [["/known"], ["/known"]]
