"""The documents lead somewhere: every link within them, and every page from the README."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.documents import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)")


def broken() -> Iterator[str]:
    for page in PAGES:
        for path, heading in _LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.S)):
            if "://" in path:
                continue
            target = (page.parent / path) if path else page
            if not target.exists():
                yield f"{page.name}: {path}"
            elif heading and heading not in {_anchor(line) for line in target.open()}:
                yield f"{page.name}: {path}#{heading}"


def _anchor(line: str) -> str:
    """As it is made of a heading where Markdown is shown; of other lines, nothing that matters."""
    words = re.sub(r"[^\w\s-]", "", line.lstrip("#").strip().lower())
    return words.replace(" ", "-") if line.startswith("#") else ""


def test_no_link_is_broken() -> None:
    assert list(broken()) == []


def test_the_readme_names_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    missing = [page.name for page in PAGES[1:] if f"](docs/{page.name})" not in readme]
    assert missing == []
