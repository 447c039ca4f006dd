"""The pages of the docs, and the commands that they show."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from conftest import ROOT
from seesr.apps import cli
from seesr.apps.options import read_settings
from seesr.errors import SeesrError
from seesr.restoration.settings import SPECS

CARD = ROOT / "src/seesr/assets/mini/README.md"
PAGES = sorted(
    page
    for folder in (".", "docs", "training", "examples", "tests/data", ".github", CARD.parent)
    for page in (ROOT / folder).glob("*.md")
)
INSTRUCTIONS = [page for page in PAGES if page.name not in ("CHANGELOG.md", "LOG.md")]  # those tell of the past
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
EVERYWHERE = {"--help", "-h", "--debug"}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def shell_lines(page: Path) -> Iterator[str]:
    """Lines of the page's code blocks, with those that end in a backslash joined."""
    for block in FENCE.findall(page.read_text()):
        yield from block.replace("\\\n", " ").splitlines()[1:-1]


def block_commands(page: Path) -> Iterator[list[str]]:
    """Words after `seesr` of every command in the page's code blocks."""
    for line in shell_lines(page):
        if match := re.match(r"(?:\S+=\S+ )*seesr ([^:].*)|accelerate .*?-m seesr\.apps\.cli (.*)", line.strip()):
            yield shlex.split(match[1] or match[2], comments=True)


def commands(page: Path) -> Iterator[list[str]]:
    """Words after `seesr` of every command that the page shows, in code blocks or in the text."""
    yield from block_commands(page)
    text = FENCE.sub("", page.read_text())
    for shown in re.findall(r"`seesr ([^`]+)`", text):
        yield shlex.split(shown.replace("[", "").replace("]", ""))


def find(words: list[str]) -> tuple[Any, list[str]]:
    """The command that is meant, and the words after it."""
    command: Any = typer.main.get_command(cli.app)
    while words and hasattr(command, "commands"):
        if words[0].startswith(("-", "…")):
            break
        assert words[0] in command.commands, f"seesr has no {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def check(words: list[str]) -> list[str]:
    """Assert that subcommand and options exist; returns the words after the subcommand."""
    command, words = find(words)
    options = EVERYWHERE.union(*([*p.opts, *p.secondary_opts] for p in command.params))
    for word in words:
        if re.fullmatch(r"--?[a-z][\w-]*(=.*)?", word):
            assert word.partition("=")[0] in options, f"{command.name} has no {word}"
    return words


def parse(words: list[str]) -> None:
    """Read a whole command as the program does before it begins: options, their values, what must be given."""
    command, rest = find(words)
    if "--help" in rest or not hasattr(command, "callback") or "…" in rest or "[PHOTO]" in rest:
        return
    try:
        with command.make_context(command.name, list(rest)) as context:
            if command.name == "upscale":
                read_settings({name: value for name, value in context.params.items() if name in SPECS})
    except SeesrError as error:
        pytest.fail(f"seesr {shlex.join(words)}: {error}")
    except Exception as error:  # usage errors of Typer's own kind
        pytest.fail(f"seesr {shlex.join(words)}: {getattr(error, 'message', '') or repr(error)}")
