"""`apigpu backup FOLDER`: copies what a restore needs, while the service runs.

The database goes first, then the files: what it names is there, and what came later is only too
much. Files never change once they are there, so a second back-up into the same folder copies only
the new ones.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from apigpu_common import environment
from orchestrator.files.arrivals import ARRIVALS
from orchestrator.files.disk import sync
from orchestrator.settings import Settings
from orchestrator.store.store import SQLITE_FILE


def back_up(settings: Settings, folder: Path) -> Iterator[str]:
    """Do it; says what was copied, and what others have to. Raises OSError and sqlite3.Error."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if settings.database_url.get_secret_value():
        yield "the database is PostgreSQL: back it up with pg_dump, before this"
    else:
        size = _copy_database(settings.data_dir / SQLITE_FILE, folder / SQLITE_FILE)
        yield f"the database: {size} bytes"
    parts = urlsplit(settings.storage_url or (settings.data_dir / "files").as_uri())
    if parts.scheme == "file":
        new, all_ = _copy_files(Path(parts.path), folder / "files")
        yield f"{all_} files, {new} of them new"
    else:
        yield f"files are in {parts.scheme}://{parts.netloc}: back that up by its own means"


def _copy_database(source: Path, target: Path) -> int:
    """As it was at one moment; whoever writes to it is not held up. Returns its size in bytes."""
    with _whole(target) as copy:
        with (
            closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as live,
            closing(sqlite3.connect(copy)) as made,
        ):
            live.backup(made)
            (verdict,) = made.execute("PRAGMA quick_check").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(f"the copy is damaged: {verdict}")
        return copy.stat().st_size


def _copy_files(source: Path, target: Path) -> tuple[int, int]:
    """All that are complete; returns how many were new, and how many there are."""
    new = all_ = 0
    for path in source.rglob("*"):
        relative = path.relative_to(source)
        if relative.parts[0] == ARRIVALS or not path.is_file():
            continue  # not accepted yet: whoever is at it begins anew after a restore
        all_ += 1
        kept = target / relative
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            try:
                _copy(path, kept)
            except FileNotFoundError:  # removed by its owner just now
                continue
            new += 1
    return new, all_


def _copy(source: Path, target: Path) -> None:
    with _whole(target) as copy:
        shutil.copy2(source, copy)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A path to write to; it becomes `target` on disk once all of it is there."""
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        yield part
        sync(part)
        part.replace(target)
        sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="apigpu backup",
        description="Copy database and files of the service with these APIGPU_ settings, while it"
        " runs. The copy holds secrets. docs/deploy.md says how to restore it.",
    )
    parser.add_argument("folder", type=Path, help="where to; made if it is not there")
    arguments = parser.parse_args()
    try:
        for line in back_up(environment.read(Settings), arguments.folder):
            print(line, flush=True)  # noqa: T201
    except (ValueError, OSError, sqlite3.Error) as error:
        print(f"no back-up was made: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
