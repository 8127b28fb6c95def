"""Migrations are one chain: two changes that land together must not both be the next one."""

from __future__ import annotations

from pathlib import Path

from alembic.script import ScriptDirectory

from orchestrator.store import migrations


def test_each_migration_follows_the_one_before() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    chain = [script.revision for script in scripts.walk_revisions()]
    assert len(scripts.get_heads()) == 1
    assert chain == [f"{number:04}" for number in range(len(chain), 0, -1)]
    assert migrations.latest() == chain[0]
