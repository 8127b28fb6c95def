"""Programs of other releases, to be run beside this one's on the same data.

previous: packed from the history by `make previous-release`.
next: this tree with one migration more, such as a release may bring.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PREVIOUS = Path(__file__).with_name("previous.tar.xz")
_PACKAGES = ("orchestrator", "apigpu_common", "gen", "third_party")

NEXT = "9999"
_MIGRATION = f'''"""What a release to come may add."""
from alembic import op
revision = "{NEXT}"
down_revision = "{{head}}"
def upgrade():
    op.execute("ALTER TABLE jobs ADD COLUMN mood TEXT")
    op.execute("ALTER TABLE tasks ADD COLUMN weight INTEGER NOT NULL DEFAULT 1")
    op.execute("CREATE TABLE moods (job_id TEXT PRIMARY KEY, mood TEXT NOT NULL)")
'''


def environment(tree: Path) -> dict[str, str]:
    """Has Python take our packages from `tree`, and its own from where they are."""
    path = ":".join(str(tree / part) for part in ("", "gen", "third_party"))
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def previous(folder: Path) -> Path:
    with tarfile.open(PREVIOUS) as archive:
        # Python before 3.11.4 knows no filters; it takes this for an attribute like any other.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder)
    return folder


def next_(folder: Path) -> Path:
    for package in _PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    versions = folder / "orchestrator" / "store" / "migrations" / "versions"
    head = max(path.name.partition("_")[0] for path in versions.glob("0*.py"))
    (versions / f"{NEXT}_moods.py").write_text(_MIGRATION.format(head=head))
    return folder
