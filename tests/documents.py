"""The commands that stand in the documents, to be run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def blocks(page: str, heading: str, language: str) -> list[str]:
    """The code blocks of one language below a heading of a page, such as "docs/deploy.md"."""
    text = (ROOT / page).read_text()
    section = re.split(r"^## ", text.split(f"\n## {heading}\n", 1)[1], flags=re.M)[0]
    return re.findall(rf"```{language}\n(.*?)```", section, flags=re.S)
