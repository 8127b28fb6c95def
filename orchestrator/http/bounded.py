"""HTTP/1.1 in which every connection has its bounds. uvicorn closes idle connections; it waits
without end for a head or a body that does not come and for a reader that does not read, and takes
as many connections as come."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_MAX_HEAD_S = 10.0
_MAX_HEAD_BYTES = 64 * 1024
_MAX_HEADERS = 100
_MIN_BYTES_PER_S = 1024
_AT_ONCE = struct.pack("ii", 1, 0)
_MAX_PIPELINED = 16
# So many connections above the limit are told why they are refused; the others are cut.
SURPLUS = 64
_FULL = JSONResponse(
    {"error": "Service unavailable", "message": "Too many connections are open; try again"},
    503,
    {"retry-after": "1", "connection": "close"},
)


@dataclass(frozen=True)
class Bounds:
    """connections: open at a time. timeout_s: how long a stretch of a body may take to come, or
    of an answer to be taken."""

    connections: int
    timeout_s: float


class _TooMuchError(Exception):
    """Stops the parser, which answers with what `send_400_response` says."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. While a head is coming its deadline runs; while a body is coming and we
    are ready for it, it must keep a pace; while we work on the answer the caller may be silent;
    what we have written must be taken at a pace, too."""

    def __init__(self, bounds: Bounds, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._bounds = bounds
        self._deadline: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None  # of our answer
        self._unread_bytes = 0  # of it, when this stretch began
        self._message_open = False  # a request's body has not come whole
        self._head_bytes = 0  # of the head, and of the trailers of its body
        self._headers = 0  # how many, in the same
        self._unparsed_bytes = 0  # came since the last part that came whole
        self._body_bytes = 0  # came in this stretch
        self._waited_for_us = False  # for a part of this stretch

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        surplus = len(self.connections) - self._bounds.connections
        if surplus > SURPLUS:
            transport.abort()
        elif surplus > 0:
            self.app = _FULL
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        self._expect_no_reader()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unparsed_bytes += len(data)
        super().data_received(data)
        self._waited_for_us |= self.flow.read_paused
        if self.transport.is_closing():
            self._expect_nothing()
        elif self._unparsed_bytes > _MAX_HEAD_BYTES:
            self._refuse(431)
        elif self._deadline is None and self.timeout_keep_alive_task is None and self._is_free():
            # What came was no head yet, but ended uvicorn's own wait for one.
            self._expect_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        certificate = self.transport.get_extra_info("peercert")
        if certificate:
            self.scope["state"]["certificate"] = certificate
        self._head_bytes = self._headers = 0
        if self._deadline is None:
            self._expect_head()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._headers += 1
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= _MAX_PIPELINED:
            raise _TooMuchError
        super().on_headers_complete()
        self._unparsed_bytes = 0
        self._message_open = True
        self._expect_body()

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        self._message_open = False
        self._expect_nothing()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._is_head_too_long():
            self._refuse(431)
        elif self._may_answer():
            super().send_400_response(msg)
        else:
            self.transport.abort()

    def _is_free(self) -> bool:
        """Whether no request is being received or answered."""
        return self._is_answered() and not self._message_open and not self.pipeline

    def _is_answered(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _may_answer(self) -> bool:
        """Whether what we write now is the answer to what is being received."""
        if self.transport.is_closing() or self.pipeline:
            return False
        return not self.cycle.response_started if self._message_open else self._is_answered()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._is_head_too_long():
            raise _TooMuchError

    def _is_head_too_long(self) -> bool:
        return self._head_bytes > _MAX_HEAD_BYTES or self._headers > _MAX_HEADERS

    def _later(self, delay_s: float, work: Callable[[], None]) -> asyncio.TimerHandle:
        return self.loop.call_later(delay_s, work)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expect_head(self) -> None:
        self._expect_nothing()
        within_s = min(_MAX_HEAD_S, self._bounds.timeout_s)
        self._deadline = self._later(within_s, self._too_slow)

    def _expect_body(self) -> None:
        """Begin a stretch of the body."""
        self._expect_nothing()
        self._body_bytes = 0
        self._waited_for_us = self._is_our_turn()
        self._deadline = self._later(self._bounds.timeout_s, self._judge_pace)

    def _judge_pace(self) -> None:
        if self._waited_for_us or self._is_our_turn() or self._body_bytes >= self._enough_bytes:
            self._expect_body()
        else:
            self._too_slow()

    def _too_slow(self) -> None:
        self._refuse(408)

    @property
    def _enough_bytes(self) -> float:
        """What must pass in a stretch."""
        return _MIN_BYTES_PER_S * self._bounds.timeout_s

    def _is_our_turn(self) -> bool:
        """Whether the caller waits for us to read on."""
        return self.flow.read_paused or self.cycle.waiting_for_100_continue

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._expect_no_reader()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._expect_reader()

    def _expect_no_reader(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _expect_reader(self) -> None:
        """Begin a stretch in which what we have written must be taken."""
        self._expect_no_reader()
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._reading = self._later(self._bounds.timeout_s, self._judge_reader)

    def _judge_reader(self) -> None:
        left_bytes = self.transport.get_write_buffer_size()
        if not left_bytes:
            self._expect_no_reader()
        elif self._unread_bytes - left_bytes >= self._enough_bytes:
            self._expect_reader()
        else:
            # What the system itself still holds for the caller goes, too.
            connection: socket.socket = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.transport.abort()

    def _refuse(self, code: int) -> None:
        """End the connection, and say why if the caller can tell what that answers."""
        self._expect_nothing()
        if not self._may_answer():
            self.transport.abort()
            return
        head = f"HTTP/1.1 {code} {HTTPStatus(code).phrase}\r\n"
        self.transport.write(f"{head}content-length: 0\r\nconnection: close\r\n\r\n".encode())
        self.transport.close()
        self._expect_reader()
