"""How a child program says that the caller's media is to blame, and not the program: exit code 65
and a line of JSON. Imports the standard library alone, for both sides to share."""

from __future__ import annotations

import json
import sys

_CODE = 65  # EX_DATAERR


class Refused(Exception):
    """The media cannot be used. reason: stable, UPPER_SNAKE; the text is for its owner. field:
    to blame, where it is not the one that is being read."""

    def __init__(self, reason: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field


def tell(refused: Refused) -> int:
    """In the child: say why. Returns the code to end with."""
    said = {"reason": refused.reason, "message": str(refused), "field": refused.field}
    print(json.dumps(said), file=sys.stderr)  # noqa: T201
    return _CODE


def told(code: int, stderr: str) -> Refused | None:
    """In the parent: what a child that ended with `code` said, or None if it just failed."""
    if code != _CODE or not stderr:
        return None
    said = json.loads(stderr.splitlines()[-1])
    return Refused(**said)
