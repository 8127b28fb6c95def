"""Logging to standard error, one line a record. Progress never goes to the log."""

from __future__ import annotations

import logging


def set_up_logging(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True
    )
    # Alembic tells of every start that it found nothing to do.
    logging.getLogger("alembic").setLevel(logging.WARNING)
