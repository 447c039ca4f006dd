"""Limits of memory: understood, kept by a real process, and refused before work where they cannot be."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from conftest import Outcome, Reference
from seesr import Enlarger, SeesrError, SeeSRPipeline
from seesr.checkpoints.meta import meta_networks
from seesr.loading import LightRestorer, load_tagger
from seesr.models import enlarger
from seesr.restoration import memory, needs
from seesr.restoration.memory import parse_bytes, plan_within
from seesr.restoration.needs import Needs, embedding_tokens, peak
from seesr.restoration.profiles import ENLARGER_ONLY, FAST
from seesr.restoration.work_plan import usual_plan


@pytest.mark.parametrize(("text", "size"), [("4GB", 4e9), ("1.5 g", 1.5e9), ("800MiB", 800e6), ("123456", 123456)])
def test_sizes(text: str, size: float) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "0", "4GBs", "GB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(SeesrError, match="4GB"):
        parse_bytes(text)


def test_less_memory_smaller_tiles(tiny: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "loaded_bytes", lambda device: 0)
    for grows in ("pictures", "latents"):
        monkeypatch.setattr(Needs, grows, 0)  # the tiles alone
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
restorer = LightRestorer({"default_profile": "fast"}, enlarger=Enlarger(num_blocks=1, channels=96, growth=16).eval())
photo = Image.radial_gradient("L").resize((384, 384)).convert("RGB")
def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024
restorer(photo.crop((0, 0, 8, 8)), memory="100GB")  # everything imported
limit = status("VmRSS") + 310_000_000
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


def test_the_count_is_what_an_enlarger_takes() -> None:
    """Four feature maps of 64 channels at four times the resolution would be too many, one too few."""
    network = Enlarger(num_blocks=1)
    taken = peak(lambda: network(torch.zeros(1, 3, 32, 32)))
    a_map = 64 * 4 * (4 * 32) ** 2
    assert 2 * a_map <= taken < 3 * a_map


def test_the_enlargers_head_works_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers, and less memory: what the small allowance costs is not the picture."""
    network = Enlarger(num_blocks=1, channels=8, growth=4).eval()
    photo = torch.rand(1, 3, 37, 20)
    with torch.no_grad():
        whole, alone = network(photo), peak(lambda: network(photo))
        monkeypatch.setattr(enlarger, "HEAD_PIXELS", 20 * 5)
        torch.testing.assert_close(network(photo), whole, rtol=0, atol=1e-6)
        assert peak(lambda: network(photo)) < alone / 2


def test_what_a_limit_changes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles no smaller than the photo change nothing; smaller ones are told of."""
    monkeypatch.setattr(memory, "loaded_bytes", lambda device: 0)
    network = Enlarger(num_blocks=1).eval()
    restorer = LightRestorer({"default_profile": "fast"}, enlarger=network)
    gradient = Image.radial_gradient("L").convert("RGB")

    def notes(side: int, limit: int) -> str:
        return restorer(gradient.resize((side, 30)), memory=limit).notes[0]

    assert notes(60, 60_000_000) == ""
    assert notes(300, 1_000_000_000) == ""
    assert notes(300, 70_000_000) == (
        "to keep to `memory` the enlarger's tiles are smaller than usual, which changes fine detail"
    )


def test_tokens_are_those_of_the_tagger(tiny: Reference) -> None:
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    tokens = pipeline.see(Image.new("RGB", (20, 20)))[1]
    assert embedding_tokens(pipeline.tagger) == tokens.shape[1]
    assert embedding_tokens(load_tagger("mini", torch.float32, torch.device("cpu")).tagger) == 65


@pytest.mark.parametrize(("guidance", "size"), [(1.0, (40, 30)), (5.5, (100, 80))])
def test_doctor_and_limit_count_alike(tiny: Reference, guidance: float, size: tuple[int, int]) -> None:
    """On the meta device, where doctor counts, as on the networks that are loaded."""
    settings = FAST.with_overrides(guidance_scale=guidance)
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    networks = SimpleNamespace(enlarger=None, **meta_networks(tiny.model))
    loaded, meta = (Needs(each, size, 4, settings) for each in (pipeline, networks))
    plan = usual_plan(settings)
    assert meta.working(plan, settings, 4) == pytest.approx(loaded.working(plan, settings, 4), rel=0.1)
    assert (meta.pictures, meta.latents) == (loaded.pictures, loaded.latents)


def test_what_was_counted_is_known_to_later_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(size: tuple[int, int]) -> int:
        monkeypatch.setattr(needs, "_found", {})  # as in a new process
        networks = SimpleNamespace(enlarger=Enlarger(1, 8, 4), unet=None)
        return Needs(networks, size, 4, ENLARGER_ONLY).enlarger(256)

    monkeypatch.setenv("SEESR_CACHE", str(tmp_path))
    first = count((90, 70))
    (file,) = (tmp_path / "counted").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(needs, "peak", lambda run: pytest.fail("counted again"))
        assert count((90, 70)) == first
        rows = 20 * 16 * (122 * 102 - 121 * 99)  # sides of 32 pixels are added for flat ones; both make 128 x 112
        assert count((89, 67)) == first - rows
    file.write_text("damaged")
    assert count((90, 70)) == first
    assert file.read_text().isdigit()
    (tmp_path / "no-folder").write_text("")
    monkeypatch.setenv("SEESR_CACHE", str(tmp_path / "no-folder"))
    assert count((90, 70)) == first
