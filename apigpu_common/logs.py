"""Logging to standard error, one line a record, and to files that are rotated where a folder is
named. Records carry the ids of what they are about. Progress never goes to the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from opentelemetry import trace
from pythonjsonlogger.json import JsonFormatter

_FILE_BYTES = 20 * 2**20
_FILES = 5
_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_JSON = "%(asctime)s %(levelname)s %(name)s %(message)s"
_RENAMED = {"asctime": "time", "levelname": "level", "name": "logger"}

_ids: ContextVar[Mapping[str, str]] = ContextVar("ids", default={})  # noqa: B039  never changed


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """What is logged in this block is about these, for example job="jobs/1", attempt="2-1"."""
    token = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


def set_up_logging(
    level: str, *, as_json: bool = False, folder: Path | None = None, program: str = "apigpu"
) -> None:
    """level: DEBUG to ERROR. as_json: one JSON object a line, for programs to read.
    folder: where to write {program}.log as well; at most 100 MiB of it are kept."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        handlers.append(
            RotatingFileHandler(
                folder / f"{program}.log", maxBytes=_FILE_BYTES, backupCount=_FILES - 1
            )
        )
    for handler in handlers:
        handler.addFilter(_add_ids)
        if as_json:
            handler.setFormatter(_Json(_JSON, rename_fields=_RENAMED))
        else:
            handler.setFormatter(_Text(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=handlers, force=True)
    # Alembic tells of every start that it found nothing to do.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # gRPC tells of its event loop at every call.
    logging.getLogger("grpc._cython").setLevel(logging.INFO)


class _Json(JsonFormatter):
    """For programs: each id is a field."""

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return super().process_log_record({**log_data, **log_data.pop("ids", {})})


class _Text(logging.Formatter):
    """For people: the ids come last."""

    def format(self, record: logging.LogRecord) -> str:
        ids: Mapping[str, str] = getattr(record, "ids", {})
        return super().format(record) + "".join(f" {key}={value}" for key, value in ids.items())


def _add_ids(record: logging.LogRecord) -> bool:
    ids = dict(_ids.get())
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        ids["trace_id"] = trace.format_trace_id(span.trace_id)
        ids["span_id"] = trace.format_span_id(span.span_id)
    record.ids = ids
    return True
