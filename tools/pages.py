"""What the tools that write a page of docs/ have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def write_or_check(name: str, page: Callable[[], str]) -> int:
    """Write `page` as docs/{name}; with --check only compare. Returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when stale")
    path = DOCS / name
    if not parser.parse_args().check:
        path.write_text(page())
        return 0
    if path.exists() and path.read_text() == page():
        return 0
    print(f"docs/{name} is stale: run make gen", file=sys.stderr)
    return 1
