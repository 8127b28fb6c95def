"""Lets callers in by their key, and only to what the key is for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from google.rpc import code_pb2

from apigpu_common.errors import ServiceError
from apigpu_common.interceptors.handlers import Behaviour, Handler, WrappingInterceptor, responses
from orchestrator.access import identity
from orchestrator.access.identity import Caller
from orchestrator.access.keys import Authenticator, token_of
from orchestrator.interceptors import scopes


class AuthInterceptor(WrappingInterceptor):
    """keyless: of "health" and "reflection", those that need no key."""

    def __init__(self, authenticator: Authenticator, keyless: frozenset[str]) -> None:
        super().__init__(self._wrap_unary, self._wrap_stream)
        self._authenticator = authenticator
        self._keyless = keyless

    async def _let_in(self, context: Any, method: str) -> None:
        """Say whom this task serves. Raises ServiceError where it may not."""
        if scopes.is_keyless(method, self._keyless):
            identity.enter(Caller(owner="", scopes=frozenset()))
            return
        caller = await self._authenticator.authenticate(
            token_of(context.invocation_metadata()), context.auth_context
        )
        scope = scopes.required(method)
        if scope is not None and scope not in caller.scopes:
            raise ServiceError(
                code_pb2.PERMISSION_DENIED,
                "SCOPE_MISSING",
                f"This needs a key with the scope {scope}.",
                metadata={"scope": scope},
            )
        identity.enter(caller)

    def _wrap_unary(self, serve: Behaviour, handler: Handler, method: str) -> Behaviour:
        async def answer(request: Any, context: Any) -> Any:
            await self._let_in(context, method)
            return await serve(request, context)

        return answer

    def _wrap_stream(self, serve: Behaviour, handler: Handler, method: str) -> Behaviour:
        async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
            await self._let_in(context, method)
            async for response in responses(serve(request, context)):
                yield response

        return answer
