"""Fuzz one target for a while: python -m fuzz TARGET SECONDS. Ends with an error at a crash, and
leaves what led to it in the folder build/fuzz."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["apigpu_common", "gpu_worker", "orchestrator", "pysubs2"]):
    from fuzz import targets

FOLDER = Path("build/fuzz")


def main() -> None:
    name, seconds = sys.argv[1:]
    corpus = FOLDER / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        "-max_len=4096",
        "-timeout=5",
        "-rss_limit_mb=1024",
        "-print_final_stats=1",
        "-verbosity=0",
        f"-artifact_prefix={FOLDER}/{name}-",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
