"""The compact enlarger: published weights by value, growth that changes nothing, one interface with the other."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from seesr.checkpoints.ncnn import read_convolutions
from seesr.errors import SeesrError
from seesr.models.compact_enlarger import CompactEnlarger, grow
from seesr.models.enlarger import Enlarger
from seesr.models.enlargers import load_enlarger


def tiny(num_convs: int = 3) -> CompactEnlarger:
    torch.manual_seed(0)
    model = CompactEnlarger(num_convs, channels=5)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def write_ncnn(file: Path, model: nn.Module) -> None:
    with file.open("wb") as out:
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                half = module.weight.detach().numpy().astype("<f2").tobytes()
                out.write(b"\x47\x6b\x30\x01" + half + b"\0" * (-len(half) % 4))
                out.write(module.bias.detach().numpy().astype("<f4").tobytes())
            elif isinstance(module, nn.PReLU):
                out.write(module.weight.detach().numpy().astype("<f4").tobytes())


def test_ncnn_slopes_follow_their_convolutions(tmp_path: Path) -> None:
    model, file = tiny(), tmp_path / "model.bin"
    write_ncnn(file, model)
    tensors = read_convolutions(file, CompactEnlarger(3, channels=5))
    expected = {name: v.half().float() if v.ndim == 4 else v for name, v in model.state_dict().items()}
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())
    with pytest.raises(SeesrError, match="right ncnn file"):
        read_convolutions(file, CompactEnlarger(4, channels=5))


@pytest.mark.parametrize("num_convs", [3, 4, 5, 6])
def test_a_grown_network_enlarges_as_before(num_convs: int) -> None:
    small, large = tiny(3), CompactEnlarger(num_convs, channels=5).eval()
    large.load_state_dict(grow(small.state_dict(), num_convs))
    image = torch.rand(1, 3, 9, 7)
    assert torch.equal(large(image), small(image))


def test_growth_has_limits() -> None:
    with pytest.raises(ValueError, match="3 to 6"):
        grow(tiny(3).state_dict(), 7)


def test_shape_and_skip() -> None:
    model = CompactEnlarger(2, channels=4)
    nn.init.zeros_(model.body[-1].weight)
    nn.init.zeros_(model.body[-1].bias)
    image = torch.rand(2, 3, 6, 5)
    assert torch.equal(model(image), image.repeat_interleave(4, 2).repeat_interleave(4, 3))


def test_tiles_agree_with_the_whole() -> None:
    model, image = tiny(), torch.rand(1, 3, 60, 70)
    assert torch.allclose(model.enlarge(image, tile=32, overlap=24), model.enlarge(image, tile=100), atol=2e-6)


def test_a_folder_says_what_it_holds(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path / "compact")
    Enlarger(num_blocks=1, channels=4, growth=2).save_pretrained(tmp_path / "rrdb")
    assert isinstance(load_enlarger(tmp_path / "compact"), CompactEnlarger)
    assert isinstance(load_enlarger(tmp_path / "rrdb"), Enlarger)
    config = tmp_path / "rrdb" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"_class_name": "Other"}))
    with pytest.raises(ValueError, match="Other"):
        load_enlarger(tmp_path / "rrdb")
