"""Print the requirements of one part of the project, for the lock of its image."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def requirements(parts: list[str]) -> list[str]:
    """What every part needs, and what the named extras need on top."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    itself = f"{project['name']}["
    common = [line for line in project["dependencies"] if not line.startswith(itself)]
    return common + [line for part in parts for line in project["optional-dependencies"][part]]


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:])))
