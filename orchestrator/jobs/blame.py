"""Turn a worker's error into one about the caller's request. Pure."""

from __future__ import annotations

import re

from google.rpc import error_details_pb2, status_pb2

_INDEX = re.compile(r"\bimages\[\d+\]")


def in_request(error: status_pb2.Status, item_index: int) -> status_pb2.Status:
    """`error` with its field paths as the caller wrote them: below "job.", and with the
    picture's place in the whole batch instead of its place in the task."""
    told = status_pb2.Status(code=error.code, message=error.message)
    for detail in error.details:
        bad_request = error_details_pb2.BadRequest()
        if not detail.Unpack(bad_request):
            told.details.add().CopyFrom(detail)
            continue
        for violation in bad_request.field_violations:
            path = _INDEX.sub(f"images[{item_index}]", violation.field)
            violation.field = path if path.startswith("job.") else f"job.{path}"
        told.details.add().Pack(bad_request)
    return told
