"""What the documents tell to type is there: every `apigpu` command with its options, every target
of make, every module. What the commands do is tested where tests run them."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator

import click
import pytest

from apigpu_client.cli import main
from tests.documents import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"```(?:sh|bash)\n(.*?)```", re.S)
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
# A command begins a line, or stands behind variables or another command, which may end it, too.
_BEGIN = r"(?:^\s*|[;&|(]\s*)(?:\w+=\S+ )*"
_END = re.compile(r"\$\(|[|;&)<>]")


def typed(program: str) -> Iterator[str]:
    """Each command line that begins with these words, in blocks and in the text."""
    for page in PAGES:
        text = page.read_text()
        lines = "\n".join(_BLOCK.findall(text)).replace("\\\n", " ").splitlines()
        inline = _INLINE.findall(re.sub(r"```.*?```", "", text, flags=re.S))
        for line in (*lines, *(" ".join(code.split()) for code in inline)):
            for found in re.findall(rf"{_BEGIN}{program} (.*)", line):
                yield _END.split(found)[0]


def unknown(line: str) -> Iterator[str]:
    command: click.Command = main
    words = iter(shlex.split(line, comments=True))
    for word in words:
        if command.context_settings.get("ignore_unknown_options"):
            return  # a program of its own, whose commands other tests run
        if word.startswith("-"):
            options = {name: p for p in (*main.params, *command.params) for name in p.opts}
            options |= {name: p for p in command.params for name in p.secondary_opts}
            option = options.get(word.partition("=")[0])
            if option is None and word not in ("--help", "-h"):
                yield f"{command.name} {word}"
            elif isinstance(option, click.Option) and not option.is_flag and "=" not in word:
                next(words, "")
        elif isinstance(command, click.Group):
            if word not in command.commands:
                yield word
                return
            command = command.commands[word]


def test_every_apigpu_command_in_the_documents_is_one() -> None:
    lines = list(typed("apigpu"))
    assert len(lines) > 30, "the documents were not read"
    assert [f"apigpu {line}: {bad}" for line in lines for bad in unknown(line)] == []


@pytest.mark.parametrize("line", ["anmate x.jpg", "animate --durration 2", "keys creat"])
def test_a_slip_in_a_command_is_found(line: str) -> None:
    assert list(unknown(line))


def test_every_target_of_make_and_every_module_is_there() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    made = {line.split()[0] for line in typed("make") if line.split()}
    assert made - {"#"} <= set(targets)
    modules = {line.split()[0] for line in typed("python -m")}
    assert modules
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []
