"""Shared fixtures: the data folder beside the checkout, converted reference models, the command run in this process."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread in each worker and in what it starts: the workers share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from seesr.system import threads  # noqa: F401  first: sets how threads wait, before torch is loaded

# isort: split
import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with reference material, test sets and training photos beside the checkout; skips where there is none."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the data folder ../shared beside the checkout")
    return folder


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    torch.manual_seed(0)


@dataclass(frozen=True)
class Reference:
    """A miniature published checkpoint set, what the published code made of it, and the folder converted from it."""

    files: Path
    model: Path

    @property
    def run(self) -> dict[str, Any]:
        return json.loads((self.files / "run.json").read_text())

    @property
    def prompt(self) -> str:
        return (self.files / "expected" / "prompt.txt").read_text()

    def expected(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.files / "expected" / f"{name}.safetensors")

    def convert_options(self) -> list[str]:
        places = {
            "--base": "base",
            "--seesr": "seesr",
            "--ram": "ram_swin_large_14m.pth",
            "--dape": "DAPE.pth",
            "--tags": "ram_tag_list.txt",
            "--thresholds": "ram_tag_list_threshold.txt",
        }
        return [part for option, name in places.items() for part in (option, str(self.files / name))]

    def upscale_options(self) -> list[str]:
        run = self.run
        options = {
            "--steps": run["num_inference_steps"],
            "--guidance": run["guidance_scale"],
            "--process-size": run["process_size"],
            "--scale": run["scale"],
            "--seed": run["seed"],
            "--latent-tile": run["latent_tile_size"],
            "--latent-overlap": run["latent_tile_overlap"],
            "--color-fix": run["color_fix"],
            "--start": run["start_point"],
            "--prompt": run["prompt"],
            "--added-prompt": run["added_prompt"],
            "--negative-prompt": run["negative_prompt"],
            "--scheduler": "ddpm",
        }
        return [part for option, value in options.items() for part in (option, str(value))]


def _convert(name: str, folder: Path) -> Reference:
    """A reference set, converted by the real command."""
    from seesr.apps.cli import main

    made = Reference(DATA / name, folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["seesr", "convert", *made.convert_options(), str(made.model)])
        with pytest.raises(SystemExit, match="0"):
            main()
    return made


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The reference set with inner tensors, four steps, untiled, AdaIN."""
    return _convert("upstream_tiny", tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The reference set with other weights and sizes, tiles and wavelet colour fix."""
    return _convert("upstream_tiny_tiled", tmp_path_factory.mktemp("tiled"))


@pytest.fixture(params=["tiny", "tiled"])
def reference(request: pytest.FixtureRequest) -> Reference:
    """Each of the two reference sets in turn."""
    return request.getfixturevalue(request.param)


@dataclass(frozen=True)
class Outcome:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def seesr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command in this process: `seesr("upscale", path, "-o", out)`."""
    from seesr.apps.cli import main

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["seesr", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
