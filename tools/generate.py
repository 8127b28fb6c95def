"""Make gen/ from proto/: messages, stubs, type stubs, the contract's descriptor set, and
the service config that clients load. With --check, only tell whether gen/ is up to date."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVICE_CONFIG = Path("apigpu/video/v1/video_grpc_service_config.json")


def run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)


def generate(out: Path) -> Path:
    """Generate below `out` and return the folder that corresponds to gen/."""
    run("buf", "generate", "--output", str(out))
    gen = out / "gen"
    # Self-contained: any language's generator takes it, and `buf curl --schema` too.
    run("buf", "build", "proto", "--exclude-source-info", "-o", str(gen / "contract.binpb"))
    shutil.copyfile(ROOT / "proto" / SERVICE_CONFIG, gen / SERVICE_CONFIG)
    return gen


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def check() -> int:
    fresh = contents(generate(ROOT / "build" / "gen-check"))
    committed = contents(ROOT / "gen")
    stale = sorted(
        name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name)
    )
    for name in stale:
        print(f"gen/{name} is not what proto/ generates: run `make gen`", file=sys.stderr)
    return 1 if stale else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when stale")
    if parser.parse_args().check:
        return check()
    generate(ROOT)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
