"""The docs' links lead somewhere, and the commands they show exist with the options they show."""

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from docs_pages import CARD, FENCE, INSTRUCTIONS, PAGES, block_commands, check, commands, named, parse

from conftest import ROOT
from seesr.apps import cli
from seesr.training import loop


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{target} is missing"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", FENCE.sub("", file.read_text()), re.MULTILINE)
            assert anchor in map(slug, headings), f"{target}: no such heading"


@pytest.mark.parametrize("page", INSTRUCTIONS, ids=named)
def test_commands_and_options_exist(page: Path) -> None:
    for words in commands(page):
        check(words)
    for words in block_commands(page):
        parse(words)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_scripts_exist(page: Path) -> None:
    for script in re.findall(r"python\s+((?:benchmarks|training|examples)/\w+\.py)", page.read_text()):
        assert (ROOT / script).is_file(), script


def is_trainable(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the config of a `seesr train` command with its overrides, up to the first step."""
    seen = []
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(loop, "train", lambda make_stage, config: seen.append(config))
    stage, overrides = words[0], [word for word in words[1:] if "=" in word]
    cli.train(stage, Path(words[words.index("--config") + 1]), overrides)
    assert len(seen) == 1


def test_training_commands_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    found = 0
    for page in INSTRUCTIONS:
        for words in commands(page):
            if words[:1] == ["train"] and "--config" in words and "FILE" not in words:
                is_trainable(check(words), monkeypatch)
                found += 1
    assert found >= 4


def test_remaking_mini_uses_commands_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"RUNS": str(tmp_path), "PATH": "/usr/bin:/bin"}
    script = [str(ROOT / "training/make_mini.sh"), "--dry-run", "all", "pack"]
    shown = subprocess.run(["sh", *script], env=environment, capture_output=True, text=True, check=True).stdout
    made = set()
    for program, *words in map(shlex.split, re.split(r"(?<=' )\n", shown.strip() + " ")):
        made |= {word for word in words if word.startswith(str(tmp_path))}
        if program == "seesr":
            is_trainable(check(words), monkeypatch)
            made.add(next(word for word in words if word.startswith("output=")).partition("=")[2])
        elif program == "python" and words[0] == "-m":
            assert importlib.util.find_spec(words[1]), words[1]
        elif program == "python" and words[0] != "-c":
            assert (ROOT / words[0]).is_file(), words[0]
    assert {
        str(tmp_path / name) for name in ("enlarger", "quick/model", "tagger", "autoencoder", "text", "prior-4/model")
    } <= made


def test_the_card_has_the_hubs_front_matter() -> None:
    _, front, text = CARD.read_text().split("---\n", 2)
    data = yaml.safe_load(front)
    assert data["license"] != "other" or {"license_name", "license_link"} <= data.keys()
    assert (CARD.parent / data["license_link"]).is_file()
    rows = [line for line in text.splitlines() if line.startswith("| **mini**")]
    for result, row in zip(data["model-index"][0]["results"], rows, strict=True):
        for metric in result["metrics"]:  # the same figures as in the table
            assert f"{metric['value']:.4f}".lstrip("0")[:5].rstrip("0") in row.replace("*", ""), (metric, row)
