"""Ask PyPI for known holes in the pinned dependencies (pip-audit). Ends with 0 where every one was
asked about and is clean, with 1 where there are holes, with 2 where not all could be asked about:
that is no pass, and is said so."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

CLEAN, HOLES, NOT_ASKED = 0, 1, 2
_TIMEOUT_S = 120.0


def verdict(report: str) -> tuple[int, list[str]]:
    """What a report of pip-audit means, in lines. Without one, nothing can be said."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except ValueError:
        return NOT_ASKED, ["NOT AUDITED: the advisories cannot be reached from here."]
    holes = [
        f"{each['name']} {each['version']}: {hole['id']}, mended in"
        f" {' or '.join(hole['fix_versions']) or 'no version yet'}"
        for each in dependencies
        for hole in each.get("vulns", ())
    ]
    if holes:
        return HOLES, holes
    unknown = [each["name"] for each in dependencies if "skip_reason" in each]
    if unknown or not dependencies:
        which = f"{len(unknown)} of {len(dependencies)} dependencies ({', '.join(unknown[:3])} ...)"
        return NOT_ASKED, [f"NOT AUDITED: no advisories can be had for {which}."]
    return CLEAN, [f"No known holes in {len(dependencies)} dependencies."]


def main() -> int:
    command = [
        *(sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes"),
        *("-r", "requirements.txt", "-r", "docker/worker.txt"),
        *("--format", "json", "--progress-spinner", "off", "--timeout", "10"),
    ]
    try:
        asked = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_TIMEOUT_S
        )
        code, lines = verdict(asked.stdout.decode())
    except subprocess.TimeoutExpired:
        code, lines = verdict("")
    print(*lines, sep="\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
