"""A network between its calm and its detailed end, and the differences it is stored as."""

from pathlib import Path

import pytest
import torch

from seesr.models import int4, int8
from seesr.models.enlarger import Enlarger
from seesr.models.two_ends import FILE_NAME, TwoEnds


def two_trainings() -> tuple[Enlarger, Enlarger]:
    torch.manual_seed(0)
    detailed = Enlarger(num_blocks=1, channels=64, growth=32).eval()
    calm = Enlarger(num_blocks=1, channels=64, growth=32).eval()
    calm.load_state_dict(
        {name: weight + 0.01 * torch.randn_like(weight) for name, weight in detailed.state_dict().items()}
    )
    return detailed, calm


def test_a_network_moves_between_its_ends_and_back(tmp_path: Path) -> None:
    detailed, calm = two_trainings()
    photo = torch.rand(1, 3, 20, 24)
    at_detailed, at_calm = detailed.enlarge(photo), calm.enlarge(photo)
    before = {name: weight.clone() for name, weight in detailed.state_dict().items()}
    detailed.ends = TwoEnds.between(detailed, calm)
    detailed.save_pretrained(tmp_path)

    network = Enlarger.from_pretrained(tmp_path)
    assert network.state_dict().keys() == before.keys()  # the way to the calm end is no weight of its own
    assert torch.equal(network.enlarge(photo), at_detailed)
    apart = (at_detailed - at_calm).abs().mean()
    assert (network.enlarge(photo, detail=0.0) - at_calm).abs().mean() < 0.2 * apart
    half = network.enlarge(photo, detail=0.5)
    assert max((half - at_calm).abs().mean(), (half - at_detailed).abs().mean()) < 0.7 * apart
    assert torch.equal(network.enlarge(photo), at_detailed)
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())


def test_new_weights_in_a_folder_do_not_get_the_calm_end_of_the_old_ones(tmp_path: Path) -> None:
    detailed, calm = two_trainings()
    detailed.ends = TwoEnds.between(detailed, calm)
    detailed.save_pretrained(tmp_path)
    calm.save_pretrained(tmp_path)
    assert Enlarger.from_pretrained(tmp_path).ends is None


def test_the_ends_follow_the_network_to_another_number_format(tmp_path: Path) -> None:
    detailed, calm = two_trainings()
    detailed.ends = TwoEnds.between(detailed, calm)
    exact = detailed.enlarge(photo := torch.rand(1, 3, 16, 16), detail=0.0)
    network = detailed.to(torch.bfloat16).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        coarse = network.enlarge(photo, detail=0.0)
    assert network.dtype == torch.bfloat16
    assert (coarse - exact).abs().mean() < 0.01
    assert not next(network.parameters()).is_inference()  # it can be trained and saved afterwards


def test_the_calm_end_of_another_network_is_refused(tmp_path: Path) -> None:
    detailed, calm = two_trainings()
    detailed.ends = TwoEnds.between(detailed, calm)
    detailed.save_pretrained(tmp_path)
    other = Enlarger(num_blocks=2, channels=64, growth=32)
    other.save_pretrained(tmp_path / "other")
    (tmp_path / FILE_NAME).rename(tmp_path / "other" / FILE_NAME)
    with pytest.raises(ValueError, match="another network"):
        TwoEnds.between(detailed, other)
    with pytest.raises(ValueError, match="another network"):
        Enlarger.from_pretrained(tmp_path / "other")


@pytest.mark.parametrize("shape", [(64, 100, 3, 3), (50, 90), (48,)])
def test_four_bits_keep_a_number_to_half_a_step(shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    stored = int4.quantize({"weight": tensor})
    found = int4.dequantize(stored, {"weight": tensor.shape})["weight"]
    assert found.shape == tensor.shape
    limit = tensor.abs().max() / 7 / 2 if len(shape) > 1 else 1e-3
    assert (found - tensor).abs().max() <= limit * 1.01
    if len(shape) > 1:
        assert sum(part.nbytes for part in stored.values()) < 0.16 * tensor.nbytes


def test_grouped_integers_are_finer() -> None:
    tensor = torch.randn((64, 100, 3, 3), generator=torch.Generator().manual_seed(0))
    errors = {}
    for grouped in (False, True):
        stored = int8.quantize({"weight": tensor}, grouped)
        errors[grouped] = (int8.dequantize(stored)["weight"] - tensor).square().mean().sqrt()
    assert errors[True] < 0.7 * errors[False]
