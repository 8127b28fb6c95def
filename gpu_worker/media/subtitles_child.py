"""Run as a program: write the captions in a file as ASS.

python -m gpu_worker.media.subtitles_child SOURCE TARGET WIDTH HEIGHT
"""

from __future__ import annotations

import sys
from pathlib import Path

from gpu_worker.media import ass, refusal


def main() -> int:
    source, target, width, height = sys.argv[1:]
    with Path(source).open("rb") as file:
        data = file.read(ass.MAX_BYTES + 1)
    try:
        text = ass.to_ass(data, int(width), int(height))
    except refusal.Refused as refused:
        return refusal.tell(refused)
    Path(target).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
