"""docs/new-operation.md, followed: its edits on a copy of this tree, its commands in it, and the
video that they make."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.documents import ROOT
from tests.media_samples import watch
from tests.services import process

PAGE = ROOT / "docs" / "new-operation.md"
_EDIT = re.compile(
    r"^(?:At the end of|A new file|In) `(?P<file>[^`]+)`(?:, after `(?P<line>[^`]+)`)?:\n\n"
    r"```\w+\n(?P<text>.*?)```$",
    re.MULTILINE | re.DOTALL,
)
_COMMANDS = re.compile(r"^```sh\n(.*?)```$", re.MULTILINE | re.DOTALL)
TIMEOUT_S = 110


def copy_of_the_tree(folder: Path) -> Path:
    """What a fresh checkout has, with an environment in which our packages are the copy's, and
    all others are this environment's."""
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", ".*_cache", "output")
    tree = Path(shutil.copytree(ROOT, folder, ignore=ignored, symlinks=True))
    venv.create(tree / ".venv", symlinks=True)
    (site,) = (tree / ".venv").glob("lib/python*/site-packages")
    places = (tree, tree / "gen", tree / "third_party", sysconfig.get_path("purelib"))
    (site / "copy.pth").write_text("\n".join(map(str, places)))
    python = tree / ".venv" / "bin" / "python"
    for command, module in (("apigpu", "apigpu_client.cli"), ("pytest", "pytest")):
        script = python.with_name(command)
        script.write_text(f'#!/bin/sh\nexec {python} -m {module} "$@"\n')
        script.chmod(0o755)
    return tree


def follow(tree: Path) -> None:
    """Make the page's edits."""
    for edit in _EDIT.finditer(PAGE.read_text()):
        path = tree / edit["file"]
        if edit["line"]:
            before = path.read_text()
            assert before.count(edit["line"] + "\n") == 1, f"{path}: where is {edit['line']}?"
            path.write_text(before.replace(edit["line"] + "\n", edit["line"] + "\n" + edit["text"]))
        else:
            with path.open("a") as file:
                file.write(edit["text"])


def shell(script: str, tree: Path, **more: str) -> None:
    path = f"{tree}/.venv/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tree,
        env={**os.environ, "PATH": path, **more},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.one_backend("it is about a tree")
@pytest.mark.timeout(300)  # it generates the contract and starts a service of its own
@pytest.mark.skipif(not (ROOT / ".proto-deps").exists(), reason="`make contract` brings it")
async def test_the_page_leads_to_a_new_operation(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path / "tree")
    await asyncio.to_thread(follow, tree)
    generate, test, use = _COMMANDS.findall(PAGE.read_text())
    assert generate == "make gen\n"
    # What `make gen` does with the contract, without installing everything anew.
    await asyncio.to_thread(shell, "buf lint && python tools/generate.py", tree)
    await asyncio.to_thread(shell, "ruff check . && ruff format --check gpu_worker tests", tree)
    await asyncio.to_thread(shell, test, tree)
    python = tree / ".venv" / "bin" / "python"
    # The copy's packages, not those of the folder that we are in; and the cage, which lets
    # through one environment, not two.
    only = {"PYTHONSAFEPATH": "1", "APIGPU_WORKER_CAGE": "off"}
    async with process(tmp_path / "data", python=python, **only) as service:
        await asyncio.to_thread(shell, use, tree, APIGPU_SERVER=service.address)
    seen = watch(tree / "faded.mp4")
    light = [float(seen.gray(n).mean()) for n in range(len(seen.frames))]
    assert light[0] < 17  # 16 is black
    assert light[-1] < light[len(light) // 2] - 30
