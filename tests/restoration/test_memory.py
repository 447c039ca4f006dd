"""Limits of memory: understood, kept by a real process, and refused before work where they cannot be."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from conftest import Outcome, Reference
from seesr import Enlarger, SeesrError, SeeSRPipeline
from seesr.restoration import memory
from seesr.restoration.memory import parse_bytes, plan_within
from seesr.restoration.profiles import FAST


@pytest.mark.parametrize(("text", "size"), [("4GB", 4e9), ("1.5 g", 1.5e9), ("800MiB", 800e6), ("123456", 123456)])
def test_sizes(text: str, size: float) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "0", "4GBs", "GB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(SeesrError, match="4GB"):
        parse_bytes(text)


def test_less_memory_smaller_tiles(tiny: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_need", lambda *_: memory.Need(0, 0))  # of the tiles alone
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    cpu = torch.device("cpu")

    def plan(limit: float):
        return plan_within(int(limit), pipeline, cpu, (1000, 800), 4, FAST)

    plans = [plan(limit) for limit in (100e9, 500e6, 120e6)]
    (roomy, same), (_, some), (tight, least) = plans
    assert same == FAST  # never more than was asked for
    assert FAST.latent_tile_size >= some.latent_tile_size > least.latent_tile_size
    assert least.latent_tile_overlap < least.latent_tile_size
    assert roomy.vae_tile > tight.vae_tile
    assert roomy.kept_bytes > tight.kept_bytes
    assert replace(least, latent_tile_size=96, latent_tile_overlap=32, tile_batch_size=4) == FAST  # nothing else
    with pytest.raises(SeesrError, match=r"1 MB of memory are not enough.*allow .* or enlarge less"):
        plan(1e6)


def test_a_limit_that_cannot_be_kept_is_told_before_work(seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")
    outcome = seesr("upscale", tmp_path / "photo.png", "-o", tmp_path / "out.png", "--memory", "20MB")
    assert outcome.code == 2
    assert "20 MB of memory are not enough" in outcome.err
    assert not (tmp_path / "out.png").exists()


_RESTORE = """
import sys
from pathlib import Path
import torch
from PIL import Image
from seesr.loading import LightRestorer
from seesr.restoration.memory import plan_within
from seesr.models.enlarger import Enlarger

torch.manual_seed(0)
restorer = LightRestorer({"default_profile": "fast"}, enlarger=Enlarger(num_blocks=0).eval())
photo = Image.radial_gradient("L").resize((240, 200)).convert("RGB")
def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024
restorer(photo.crop((0, 0, 8, 8)), memory="100GB")  # everything imported
limit = status("VmRSS") + 270_000_000
Path("/proc/self/clear_refs").write_text("5")
result = restorer(photo, memory=limit if sys.argv[1] == "limited" else None).images[0]
print(limit, status("VmHWM"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.slow
def test_a_process_keeps_to_its_limit() -> None:
    def peak(kind: str) -> tuple[int, int]:
        run = subprocess.run([sys.executable, "-c", _RESTORE, kind], capture_output=True, text=True, check=True)
        limit, most = map(int, run.stdout.split())
        return limit, most

    limit, limited = peak("limited")
    assert limited <= limit
    limit, unlimited = peak("unlimited")
    assert unlimited > limit  # else the limit did nothing


def test_the_estimate_is_what_an_enlarger_takes() -> None:
    """Four feature maps of 64 channels at four times the resolution would be too many, one too few."""
    enlarger = Enlarger(num_blocks=1)
    taken = memory._peak(lambda: enlarger(torch.zeros(1, 3, 32, 32)))
    a_map = 64 * 4 * (4 * 32) ** 2
    assert 2 * a_map <= taken < 3 * a_map
