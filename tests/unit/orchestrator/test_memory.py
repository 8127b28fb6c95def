"""What memory is left in a container, from the files of its control groups."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from orchestrator.memory import available_bytes

MIB = 2**20
V1 = {
    "memory.limit_in_bytes": 512 * MIB,
    "memory.usage_in_bytes": 500 * MIB,
    "memory.stat": f"cache 1\ntotal_inactive_file {60 * MIB}\n",
}
V2 = {
    "memory.max": 512 * MIB,
    "memory.current": 500 * MIB,
    "memory.stat": f"anon 1\ninactive_file {60 * MIB}\n",
}
NO_LIMIT = {**V2, "memory.max": "max"}


@pytest.mark.parametrize(
    ("ours", "groups", "left"),
    [
        ("0::/", {"": V2}, 72 * MIB),
        ("0::/a/b", {"a/b": NO_LIMIT, "a": V2}, 72 * MIB),
        ("0::/a/b", {"a/b": {**V2, "memory.current": 511 * MIB}, "a": V2}, 61 * MIB),
        ("4:cpu:/x\n5:memory:/x", {"memory/x": V1, "cpu/x": {}}, 72 * MIB),
        ("5:memory,hugetlb:/not/to/be/seen", {"memory": V1}, 72 * MIB),
        ("0::/", {"": {**V2, "memory.current": 900 * MIB}}, 0),
    ],
    ids=["container", "around", "inner", "version 1", "version 1 in a container", "above"],
)
def test_the_least_of_what_is_allowed_is_left(
    tmp_path: Path, ours: str, groups: dict[str, dict[str, object]], left: int
) -> None:
    (tmp_path / "cgroup").write_text(f"{ours}\n")
    for name, files in groups.items():
        folder = tmp_path / "fs" / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, value in files.items():
            (folder / file).write_text(str(value))
    assert available_bytes(tmp_path / "fs", tmp_path / "cgroup") == left


@pytest.mark.parametrize("ours", ["0::/a", "", None])
def test_without_limits_it_is_what_the_machine_has(tmp_path: Path, ours: str | None) -> None:
    if ours is not None:
        (tmp_path / "cgroup").write_text(ours)
    left = available_bytes(tmp_path, tmp_path / "cgroup")
    assert 0 < left <= psutil.virtual_memory().total
