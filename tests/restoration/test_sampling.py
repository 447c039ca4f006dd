"""The plan of the steps, and where sampling starts."""

import math

import pytest
import torch
from PIL import Image

from conftest import Reference
from seesr import SeesrError, SeeSRPipeline
from seesr.restoration.sampling import planned_steps, set_timesteps, start_latents
from seesr.restoration.schedulers import SCHEDULERS, make_scheduler

CPU = torch.device("cpu")


def test_a_late_start_is_noised_to_its_step(tiny: Reference) -> None:
    """From one latent of ones without noise, and from nothing with noise of ones: the two shares at step 400."""
    scheduler = make_scheduler("ddpm", SeeSRPipeline.from_pretrained(str(tiny.model)).scheduler.config)
    ones, zeros = torch.ones(1, 4, 1, 1), torch.zeros(1, 4, 1, 1)
    scale = float(scheduler.init_noise_sigma)
    for start, noise in ((400, 0.759), (0, 0.998)):
        share = float(start_latents(scheduler, zeros, ones, "lr", start).mean()) / scale
        kept = float(start_latents(scheduler, ones, zeros, "lr", start).mean()) / scale
        assert share == pytest.approx(noise, abs=0.002)
        assert share**2 + kept**2 == pytest.approx(1, abs=1e-5)
    assert torch.equal(start_latents(scheduler, ones, zeros, "lr-clean", 400), ones)


def test_steps_are_even_or_dense_at_both_ends() -> None:
    assert planned_steps(4, 999) == [999, 749, 499, 249]
    planned = planned_steps(10, 999, 0.6)
    gaps = [early - late for early, late in zip(planned, [*planned[1:], 0])]
    assert planned[0] == 999
    assert gaps[:5] == sorted(gaps[:5])
    assert all(abs(early - late) <= 1 for early, late in zip(gaps, reversed(gaps)))
    mean = math.sin(0.2 * math.pi) / (0.2 * math.pi)  # of the cosine in the curve's slope, over a tenth of the way
    assert gaps[0] == pytest.approx(99.9 * (1 - 0.6 * mean), abs=1)
    assert gaps[4] == pytest.approx(99.9 * (1 + 0.6 * mean), abs=1)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_takes_the_plan_or_says_that_it_cannot(tiny: Reference, name: str) -> None:
    scheduler = make_scheduler(name, SeeSRPipeline.from_pretrained(str(tiny.model)).scheduler.config)
    if name in ("ddim", "euler-a", "pndm", "unipc"):
        with pytest.raises(SeesrError, match="cannot plan its steps with `dense_ends`; use `scheduler` ddpm"):
            set_timesteps(scheduler, 6, 0, CPU, dense_ends=0.5)
        return
    set_timesteps(scheduler, 6, 0, CPU, dense_ends=0.5)
    planned = list(dict.fromkeys(scheduler.timesteps.tolist()))  # Heun's method visits most of them twice
    assert planned == planned_steps(6, 999, 0.5)


def test_the_picture_follows_the_plan(tiny: Reference) -> None:
    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    photo = Image.open(tiny.files / "input.png").convert("RGB")

    def restored(steps: int, **settings: float) -> torch.Tensor:
        options = {"profile": "paper", "process_size": 64, "output_type": "pt"}
        return pipeline(photo, num_inference_steps=steps, **options, **settings).images[0]

    assert torch.equal(restored(1, dense_ends=0.5), restored(1, start_timestep=999))  # one step lies where it lay
    assert not torch.equal(restored(3, dense_ends=0.5), restored(3, start_timestep=999))
    with pytest.raises(SeesrError, match=r"`dense_ends` 0.9 puts some of 900 steps on each other"):
        restored(900, dense_ends=0.9)
