"""The doors of a service, each as a client sees it, with one way to call any RPC through any."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
from apigpu.video.v1 import video_service_pb2
from connectrpc.client import ConnectClient
from connectrpc.codec import Codec
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2, status_pb2

from tests.requests import Refusal, blamed_by, reason_of

SERVICE = video_service_pb2.DESCRIPTOR.services_by_name["VideoService"]
METHODS: dict[str, MethodDescriptor] = {method.name: method for method in SERVICE.methods}
KEY_HEADER = "x-api-key"


@dataclass
class Outcome:
    """What came of a call: messages, and how it was refused if it was."""

    messages: list[Any] = field(default_factory=list)
    code: str = "OK"
    message: str = ""
    reason: str = ""
    fields: list[str] = field(default_factory=list)

    @property
    def refusal(self) -> tuple[str, str, str, list[str]]:
        return self.code, self.message, self.reason, self.fields


class Door(Protocol):
    """One way in."""

    name: str

    async def call(
        self, method: str, *requests: Message, key: str = "", take: int | None = None
    ) -> Outcome:
        """take: leave after so many messages."""
        ...


class GrpcDoor:
    """Plain gRPC, with grpcio's client."""

    name = "grpc"

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def call(
        self, method: str, *requests: Message, key: str = "", take: int | None = None
    ) -> Outcome:
        descriptor = METHODS[method]
        call: Any = self._channel.stream_stream(
            f"/{SERVICE.full_name}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(descriptor.output_type).FromString,
        )
        outcome = await self._call(call, requests, key, take)
        # grpcio's own race: a refusal that comes before the request was sent whole.
        while outcome.message == "Internal error from Core":
            outcome = await self._call(call, requests, key, take)
        return outcome

    async def _call(
        self, call: Any, requests: Sequence[Message], key: str, take: int | None
    ) -> Outcome:
        outcome = Outcome()
        try:
            answers = call(_each(requests), metadata=((KEY_HEADER, key),))
            async for message in answers:
                outcome.messages.append(message)
                if len(outcome.messages) == take:
                    answers.cancel()
                    break
        except grpc.aio.AioRpcError as error:
            refusal = Refusal(error)
            outcome.code, outcome.message = error.code().name, refusal.message
            outcome.reason, outcome.fields = refusal.reason, refusal.fields
        return outcome


class ConnectDoor:
    """The Connect protocol or gRPC-Web, with Connect's client."""

    def __init__(self, name: str, url: str, protocol: ProtocolType, codec: Codec) -> None:
        self.name = name
        self._client = ConnectClient(url, protocol=protocol, codec=codec, accept_compression=())

    async def call(
        self, method: str, *requests: Message, key: str = "", take: int | None = None
    ) -> Outcome:
        info = _info(METHODS[method])
        headers = {KEY_HEADER: key}
        outcome = Outcome()
        try:
            match info.stream_type:
                case StreamType.SERVER_STREAM:
                    stream = self._client.execute_server_stream(
                        request=requests[0], method=info, headers=headers
                    )
                    async with aclosing(stream) as answers:  # type: ignore[type-var]
                        async for message in answers:
                            outcome.messages.append(message)
                            if len(outcome.messages) == take:
                                break
                case StreamType.CLIENT_STREAM:
                    answer = await self._client.execute_client_stream(
                        request=_each(requests), method=info, headers=headers
                    )
                    outcome.messages.append(answer)
                case _:
                    answer = await self._client.execute_unary(
                        request=requests[0], method=info, headers=headers
                    )
                    outcome.messages.append(answer)
        except ConnectError as error:
            status = _status(error)
            outcome.code = code_pb2.Code.Name(status.code)
            outcome.message = status.message
            outcome.reason, outcome.fields = reason_of(status), blamed_by(status)
        return outcome


@asynccontextmanager
async def doors_to(grpc_address: str, http_address: str) -> AsyncIterator[list[Door]]:
    """Every door at which all RPCs are answered."""
    binary, text = google_protobuf_binary_codec(), google_protobuf_json_codec()
    url = f"http://{http_address}"
    async with grpc.aio.insecure_channel(grpc_address) as channel:
        yield [
            GrpcDoor(channel),
            ConnectDoor("connect, JSON", url, ProtocolType.CONNECT, text),
            ConnectDoor("connect, protobuf", url, ProtocolType.CONNECT, binary),
            ConnectDoor("grpc-web", url, ProtocolType.GRPC_WEB, binary),
        ]


async def _each(requests: Sequence[Message]) -> AsyncIterator[Message]:
    for request in requests:
        yield request


def _info(method: MethodDescriptor) -> MethodInfo[Any, Any]:
    kind = {(False, True): StreamType.SERVER_STREAM, (True, False): StreamType.CLIENT_STREAM}
    return MethodInfo(
        name=method.name,
        service_name=SERVICE.full_name,
        input=GetMessageClass(method.input_type),
        output=GetMessageClass(method.output_type),
        idempotency_level=IdempotencyLevel.UNKNOWN,
        stream_type=kind.get((method.client_streaming, method.server_streaming), StreamType.UNARY),
    )


def _status(error: ConnectError) -> status_pb2.Status:
    name = "CANCELLED" if error.code.name == "CANCELED" else error.code.name
    status = status_pb2.Status(code=code_pb2.Code.Value(name), message=error.message)
    for detail in error.details:
        status.details.add(
            type_url=f"type.googleapis.com/{detail.type_name}", value=detail.message_bytes
        )
    return status
