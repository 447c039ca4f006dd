"""What the docs tell a newcomer to type runs as it stands, on tiny photos; what needs weights or a card is parsed."""

import importlib.util
import json
import re
import runpy
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from docs_pages import FENCE, block_commands, parse
from PIL import Image

from conftest import ROOT, Outcome
from seesr.apps import models
from seesr.restoration.restorer import Restorer

EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py") if path.stem != "make")
ELSEWHERE = {"--model", "--device", "--enlarger", "--memory", "--dry-run", "--for", "--to"}
"""Options of commands that are not run: what is not here, what depends on the machine, and large results."""
SIDE = (16, 12)


def tiny_photos(folder: Path) -> Path:
    """The photos that the docs speak of, a part of an example each; returns one of them."""
    part = Image.open(ROOT / "examples/cat.jpg").crop((40, 20, 40 + SIDE[0], 20 + SIDE[1]))
    for name in ("photo.jpg", "examples/cat.jpg", "examples/coffee.jpg", "photos/one.jpg", "holidays/day/two.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        part.save(folder / name)
    return folder / "photo.jpg"


@pytest.fixture(scope="module")
def kept_models() -> dict[object, Restorer]:
    return {}


@pytest.fixture
def loaded_once(monkeypatch: pytest.MonkeyPatch, kept_models: dict[object, Restorer]) -> None:
    """Each kind of model is loaded for one of the commands and kept for the others."""
    load_model = models.load_model

    def load(by: Callable[..., Restorer], *options: object, **wanted: object) -> Restorer:
        key = (by, options, tuple(sorted(wanted.items())))
        if key not in kept_models:
            kept_models[key] = load_model(by, *options, **wanted)  # type: ignore[arg-type]
        return kept_models[key]

    for command in ("upscale", "tags"):
        monkeypatch.setattr(sys.modules[f"seesr.apps.{command}"], "load_model", load)


PAGES = ["README.md"] + [f"docs/{n}.md" for n in ("tutorial", "folders", "troubleshooting", "memory", "steering")]


@pytest.mark.parametrize("name", PAGES)
def test_commands_run(
    name: str, seesr: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded_once: None
) -> None:
    tiny_photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = 0
    for words in block_commands(ROOT / name):
        if words[0] not in ("upscale", "tags") or "--help" in words or ELSEWHERE & set(words):
            continue
        few = ["--steps", "2"] if "diffusion" in words else []
        outcome = seesr(*words, *few, *(["--overwrite"] if words[0] == "upscale" else []))
        assert outcome.code == 0, (words, outcome.err)
        if "-o" in words:
            assert (tmp_path / words[words.index("-o") + 1]).exists(), words
        run += 1
    assert run >= (8 if name == "docs/tutorial.md" else 1)


def test_the_tutorial_quotes_what_is_printed(seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    page = (ROOT / "docs/tutorial.md").read_text()
    outcome = seesr("tags", ROOT / "examples/cat.jpg")
    assert outcome.out.strip().rpartition("/")[2] in page
    assert "(160x120 to 640x480" in page
    small = tiny_photos(tmp_path)
    outcome = seesr("upscale", small, "-o", tmp_path / "out.png", "--scale", "1", "--prompt", "a cat")
    note = next(line for line in outcome.err.splitlines() if line.startswith("note: --prompt"))
    assert note in page
    assert note in (ROOT / "docs/troubleshooting.md").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["upscale", "a.jpg", "-o", "b.png", "--colour-fix", "adain"],
        ["upscale", "a.jpg", "-o", "b.png", "--color-fix", "sepia"],
        ["upscale", "a.jpg", "-o", "b.png", "--steps", "many"],
        ["upscale", "a.jpg"],
        ["study", "serve"],
    ],
)
def test_a_wrong_command_would_be_noticed(words: list[str]) -> None:
    with pytest.raises(pytest.fail.Exception):
        parse(words)


def test_programs_of_the_docs_are_python() -> None:
    for page in sorted((ROOT / "docs").glob("*.md")):
        for block in FENCE.findall(page.read_text()):
            if block.startswith("```python\n"):
                compile(block.partition("\n")[2].rpartition("\n")[0], str(page), "exec")


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tiny_photos(tmp_path)
    given = {
        "restore": [photo, tmp_path / "out.png"],
        "own_scheduler": [photo, tmp_path / "out.png"],
        "dape_on_a_folder": [tmp_path / "examples", tmp_path / "dape"],
    }
    script = ROOT / "examples" / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, given.get(name, [photo]))])
    runpy.run_path(str(script), run_name="__main__")
    told = capsys.readouterr().out
    if name in ("restore", "own_scheduler"):
        assert Image.open(tmp_path / "out.png").size == (4 * SIDE[0], 4 * SIDE[1])
    assert {
        "restore": "saw",
        "own_scheduler": "6 steps of DPMSolverMultistepScheduler",
        "batch_of_arrays": "alone it gives the same picture: True",
        "own_tags": "my own: prompt 'cat, wood'",
        "dape_on_a_folder": "photo,DAPE,plain tagger",
    }[name] in told
    if name == "dape_on_a_folder":
        means = np.load(tmp_path / "dape" / "embeddings.npz")["means"]
        assert len(means) == 2
        np.testing.assert_allclose(means[0], means[1])  # the same part of the same photo
        assert np.abs(means).max() > 0


def test_the_page_of_examples_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("write_examples", ROOT / "docs/write_examples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert set(module.EXAMPLES) == set(EXAMPLES)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python docs/write_examples.py"


class Loaded(HTMLParser):
    """Addresses that a browser fetches by itself when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(values.get("href") or "")
        elif tag != "a":
            self.addresses += [values[name] or "" for name in ("src", "srcset", "poster", "data") if name in values]


@pytest.mark.slow
def test_the_site_is_built_whole_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    pytest.importorskip("material", reason="needs the extra docs")
    pytest.importorskip("mkdocstrings", reason="needs the extra docs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)  # strict: a warning is an error
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        parser = Loaded()
        parser.feed(text)
        for address in parser.addresses:
            if re.match(r"(https?:)?//", address):
                pytest.fail(f"{page.name} loads {address}")
            path = address.partition("?")[0].partition("#")[0]
            if path and not path.startswith(("data:", "/")):
                assert (page.parent / path).exists(), f"{page.name}: {address} is missing"
    for sheet in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet
    reference = (tmp_path / "site/python.html").read_text(encoding="utf-8")
    import seesr

    for name in seesr.__all__:
        assert name == "__version__" or f"{name}</" in reference, f"{name} is not in docs/python.md"
    index = json.loads((tmp_path / "site/search/search_index.json").read_text(encoding="utf-8"))
    assert any("tutorial.html" in entry["location"] for entry in index["docs"])
