"""Serialise an event once, however many streams it goes to."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import grpc
from apigpu.video.v1.job_pb2 import JobEvent

from apigpu_common.interceptors.handlers import Continuation, Handler, behaviour_of

_KEPT: Final = 256
_METHODS: Final = frozenset(
    {"/apigpu.video.v1.VideoService/RunJob", "/apigpu.video.v1.VideoService/WatchJob"}
)


class SerialiseOnceInterceptor(grpc.aio.ServerInterceptor):
    """Watchers of a job are given the very same message objects: their bytes are kept.

    Innermost, as it leaves the behaviour as it is. Events must not be changed once told.
    """

    def __init__(self) -> None:
        self._serialise = _remembering(JobEvent.SerializeToString)

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method not in _METHODS:
            return handler
        return grpc.unary_stream_rpc_method_handler(
            behaviour_of(handler), handler.request_deserializer, self._serialise
        )


def _remembering(serialise: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """`serialise`, which remembers its newest results by the identity of what it was given."""
    kept: OrderedDict[int, tuple[Any, bytes]] = OrderedDict()

    def remembered(message: Any) -> bytes:
        found = kept.get(id(message))
        # The message is kept as well, so its identity cannot come to mean another one.
        if found is not None:
            return found[1]
        wire = serialise(message)
        kept[id(message)] = (message, wire)
        if len(kept) > _KEPT:
            kept.popitem(last=False)
        return wire

    return remembered
