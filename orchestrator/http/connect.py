"""The whole VideoService over HTTP by the Connect protocol and gRPC-Web: JSON or protobuf,
streams included. Only translates; see `calls.py` for what it translates to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

from connectrpc.code import Code
from connectrpc.codec import Codec
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.errors import ConnectError, ErrorDetail
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint
from google.protobuf import any_pb2, json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2
from protobuf.wkt import Any as AnyMessage
from protobuf.wkt import Struct

from apigpu_common.errors import InvalidInput
from orchestrator.http.calls import SERVICE, CallContext, Caller, CallRefused, Calls

PATH = f"/{SERVICE.full_name}"
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # as for gRPC
# A call that changes nothing may be a GET, which caches and browsers like.
_SAFE = {
    *("GetJob", "ListJobs", "GetFile", "QueryUpload", "GetServerInfo", "GetBackendStatus"),
}


class ConnectDoor(ConnectASGIApplication[Calls]):
    """An ASGI application that answers every method of the service."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(
            service=calls,
            endpoints=_endpoints,
            read_max_bytes=_MAX_MESSAGE_BYTES,
            codecs=[google_protobuf_binary_codec(), _StrictJson()],
        )

    @property
    def path(self) -> str:
        return PATH


class _StrictJson(Codec[Message, Message]):
    """JSON in which a misspelt field is told, not dropped."""

    def __init__(self) -> None:
        self._codec = google_protobuf_json_codec(ignore_unknown_fields=False)

    def name(self) -> str:
        return self._codec.name()

    def encode(self, message: Message) -> bytes:
        return self._codec.encode(message)

    def decode(self, data: bytes | bytearray, message_class: type[Message]) -> Message:
        try:
            return cast("Message", self._codec.decode(data, message_class))
        except (json_format.ParseError, UnicodeDecodeError) as error:
            raise _error(
                CallRefused(InvalidInput("MALFORMED_JSON", str(error)).to_status())
            ) from None


def _endpoints(calls: Calls) -> Mapping[str, Any]:
    return {f"{PATH}/{method.name}": _endpoint(calls, method) for method in SERVICE.methods}


def _endpoint(calls: Calls, method: MethodDescriptor) -> Any:
    serve = _Method(calls, method.name)
    info = _info(method)
    match info.stream_type:
        case StreamType.UNARY:
            return Endpoint.unary(info, serve.unary)
        case StreamType.CLIENT_STREAM:
            return Endpoint.client_stream(info, serve.unary)
        case StreamType.SERVER_STREAM:
            return Endpoint.server_stream(info, serve.stream)
        case StreamType.BIDI_STREAM:
            return Endpoint.bidi_stream(info, serve.stream)


class _Method:
    """Serves one method of the contract."""

    def __init__(self, calls: Calls, name: str) -> None:
        self._calls = calls
        self._name = name

    async def unary(self, request: Any, context: RequestContext[Any, Any]) -> Any:
        call = _context(context)
        try:
            return await self._calls.unary(self._name, request, call)
        except CallRefused as refused:
            raise _error(refused) from None
        finally:
            _give_metadata(call, context)

    async def stream(self, request: Any, context: RequestContext[Any, Any]) -> AsyncIterator[Any]:
        call = _context(context)
        try:
            async for response in self._calls.stream(self._name, request, call):
                yield response
        except CallRefused as refused:
            raise _error(refused) from None
        finally:
            _give_metadata(call, context)


def _info(method: MethodDescriptor) -> MethodInfo[Any, Any]:
    kinds = {
        (False, False): StreamType.UNARY,
        (True, False): StreamType.CLIENT_STREAM,
        (False, True): StreamType.SERVER_STREAM,
        (True, True): StreamType.BIDI_STREAM,
    }
    safe = method.name in _SAFE
    return MethodInfo(
        name=method.name,
        service_name=SERVICE.full_name,
        input=GetMessageClass(method.input_type),
        output=GetMessageClass(method.output_type),
        idempotency_level=IdempotencyLevel.NO_SIDE_EFFECTS if safe else IdempotencyLevel.UNKNOWN,
        stream_type=kinds[method.client_streaming, method.server_streaming],
    )


def _context(context: RequestContext[Any, Any]) -> CallContext:
    timeout_s = None if context.timeout_ms is None else context.timeout_ms / 1000
    return CallContext(
        Caller.over_http(
            context.request_headers.allitems(), context.client_address or "", timeout_s
        )
    )


def _give_metadata(call: CallContext, context: RequestContext[Any, Any]) -> None:
    for name, value in call.leading:
        context.response_headers.add(name, str(value))
    for name, value in call.trailing:
        context.response_trailers.add(name, str(value))


def _error(refused: CallRefused) -> ConnectError:
    """The same status, in the words of the Connect protocol."""
    status = refused.status
    name = code_pb2.Code.Name(status.code)
    # gRPC spells it with two l, Connect with one.
    code = Code.CANCELED if name == "CANCELLED" else Code[name]
    return ConnectError(code, status.message, [_Detail(one) for one in status.details])


class _Detail(ErrorDetail):
    """A detail that is also told in plain JSON ("debug" in Connect's errors), for people."""

    def __init__(self, detail: any_pb2.Any) -> None:
        super().__init__(AnyMessage(type_url=detail.type_url, value=detail.value))
        told = json_format.MessageToDict(detail)
        told.pop("@type")
        self._told = Struct.from_json(json.dumps(told))

    def value(self, *_: Any) -> Any:
        return self._told
