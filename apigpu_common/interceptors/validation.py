"""Checks every request against the rules that stand in the contract (protovalidate)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import protovalidate
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from apigpu_common.errors import DOMAIN, ServiceError
from apigpu_common.interceptors.handlers import Behaviour, Handler, WrappingInterceptor, responses
from apigpu_common.interceptors.patterns import in_words

REASON = "INVALID_REQUEST"
MAX_VIOLATIONS = 20  # details travel in trailers, which are small


class InvalidRequest(ServiceError):
    """One or more fields break the contract's rules; BadRequest names each."""

    def __init__(self, violations: list[error_details_pb2.BadRequest.FieldViolation]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        field = f"{first.field}: " if first.field else ""
        super().__init__(code_pb2.INVALID_ARGUMENT, REASON, f"{field}{first.description}{more}")
        self._violations = violations

    def to_status(self) -> status_pb2.Status:
        status = status_pb2.Status(code=self.code, message=self.message)
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=REASON, domain=DOMAIN))
        status.details.add().Pack(
            error_details_pb2.BadRequest(field_violations=self._violations[:MAX_VIOLATIONS])
        )
        return status


def validate(message: Message) -> None:
    """Raise InvalidRequest if `message` breaks a rule of the contract."""
    try:
        protovalidate.validate(message)
    except protovalidate.ValidationError as error:
        raise InvalidRequest([_violation(v.proto) for v in error.violations]) from None
    except protovalidate.EvaluationError as error:
        # A rule could not be computed for this input, for example because it is huge.
        raise InvalidRequest(
            [error_details_pb2.BadRequest.FieldViolation(description=str(error))]
        ) from None


def _violation(proto: Any) -> error_details_pb2.BadRequest.FieldViolation:
    return error_details_pb2.BadRequest.FieldViolation(
        field=_path(proto.field.elements if proto.field else []),
        description=in_words(proto.message),
        reason=proto.rule_id,
    )


def _path(elements: list[Any]) -> str:
    """A field path as protovalidate gives it, written like `job.images[3].id`."""
    parts = []
    for element in elements:
        subscript = "" if element.subscript is None else f"[{element.subscript.value}]"
        parts.append(element.field_name + subscript)
    return ".".join(parts)


class ValidationInterceptor(WrappingInterceptor):
    """Validates each request message of every method before it is served."""

    def __init__(self) -> None:
        super().__init__(_unary, _stream)


async def _checked(requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
    async for request in requests:
        validate(request)
        yield request


def _admit(request: Any, handler: Handler) -> Any:
    if handler.request_streaming:
        return _checked(request)
    validate(request)
    return request


def _unary(serve: Behaviour, handler: Handler, method: str) -> Behaviour:
    async def answer(request: Any, context: Any) -> Any:
        return await serve(_admit(request, handler), context)

    return answer


def _stream(serve: Behaviour, handler: Handler, method: str) -> Behaviour:
    async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
        async for response in responses(serve(_admit(request, handler), context)):
            yield response

    return answer
