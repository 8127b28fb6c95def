"""Callers see only what is theirs: a job or file of another owner is not there for them.

Stands in front of every RPC whose request names one, so that none can forget to ask.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import Message

from apigpu_common.errors import NotFound
from apigpu_common.interceptors.handlers import Behaviour, Handler, WrappingInterceptor, responses
from orchestrator import ids
from orchestrator.access.identity import current
from orchestrator.store.store import Store

# Fields of requests that name a resource. What a job names as its inputs is checked with the job.
_FIELDS = ("name", "job")


class OwnershipInterceptor(WrappingInterceptor):
    def __init__(self, store: Store) -> None:
        super().__init__(self._wrap_unary, self._wrap_stream)
        self._store = store

    async def _check(self, request: Message) -> None:
        for field in _FIELDS:
            name = getattr(request, field, "")
            if not isinstance(name, str):
                continue
            if name.startswith("jobs/"):
                owner = await self._store.owner_of_job(ids.id_of(name))
                if owner != current().owner:
                    raise NotFound("JOB_NOT_FOUND", "There is no such job.", field=field)
            elif name.startswith("files/"):
                file = await self._store.get_file(ids.id_of(name))
                if file is None or file.owner != current().owner:
                    raise NotFound("FILE_NOT_FOUND", "There is no such file.", field=field)

    async def _checked(self, requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
        async for request in requests:
            await self._check(request)
            yield request

    async def _admit(self, request: Any, handler: Handler) -> Any:
        if handler.request_streaming:
            return self._checked(request)
        await self._check(request)
        return request

    def _wrap_unary(self, serve: Behaviour, handler: Handler, method: str) -> Behaviour:
        async def answer(request: Any, context: Any) -> Any:
            return await serve(await self._admit(request, handler), context)

        return answer

    def _wrap_stream(self, serve: Behaviour, handler: Handler, method: str) -> Behaviour:
        async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
            async for response in responses(serve(await self._admit(request, handler), context)):
                yield response

        return answer
