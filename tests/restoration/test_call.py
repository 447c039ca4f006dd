"""The pipeline's door in Python: photos as they are given, diffusers' habits, threads."""

import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import Reference
from seesr import SeesrError, SeeSRPipeline, SeesrWarning
from seesr.restoration.inputs import read_inputs

PIXELS = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3
SMALL: dict[str, Any] = {"profile": "paper", "num_inference_steps": 2, "process_size": 64, "output_type": "pt"}


def read(image: Any) -> list[np.ndarray]:
    return [np.asarray(picture) for picture in read_inputs(image, sixteen_bit=False)]


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: Image.fromarray(PIXELS),
        lambda folder: PIXELS,
        lambda folder: PIXELS.astype(np.uint16) * 257,
        lambda folder: PIXELS / 255,
        lambda folder: (PIXELS / 255).astype(np.float32)[None],
        lambda folder: torch.from_numpy(PIXELS).permute(2, 0, 1) / 255,
        lambda folder: [torch.from_numpy(PIXELS).permute(2, 0, 1)[None].double() / 255],
        lambda folder: Image.fromarray(np.dstack([PIXELS, np.full((6, 4), 9, np.uint8)])),
        lambda folder: saved(folder),
        lambda folder: str(saved(folder)),
        lambda folder: (saved(folder),),
    ],
)
def test_photos_are_taken_as_pipelines_take_them(make: Callable[[Path], Any], tmp_path: Path) -> None:
    (found,) = read(make(tmp_path))
    np.testing.assert_array_equal(found, PIXELS)


def saved(folder: Path) -> Path:
    Image.fromarray(PIXELS).save(folder / "a.png")
    return folder / "a.png"


def test_batches_and_lists_keep_their_order() -> None:
    batch = np.stack([PIXELS, PIXELS[::-1]])
    found = read([batch, Image.new("RGB", (2, 3), "red")])
    assert [picture.shape for picture in found] == [(6, 4, 3), (6, 4, 3), (3, 2, 3)]
    np.testing.assert_array_equal(found[1], PIXELS[::-1])


def test_orientation_and_depth_are_those_of_the_photo(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    (turned,) = read(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(turned, np.rot90(PIXELS, -1))
    grey = np.linspace(0, 65535, 24).reshape(4, 6)
    wanted = np.round(grey / 257)
    Image.fromarray(grey.astype(np.uint16)).save(tmp_path / "b.png")
    for picture in (
        Image.open(tmp_path / "b.png"),
        Image.fromarray(grey.astype(np.int32)),
        Image.fromarray((grey / 65535).astype(np.float32)),
        grey.astype(np.uint16),
    ):
        (found,) = read(picture)
        assert np.abs(found[..., 0] - wanted).max() <= 1
    (deep,) = read_inputs(grey.astype(np.uint16), sixteen_bit=True)
    np.testing.assert_array_equal(deep.values[..., 1], grey.astype(np.uint16))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (None, "cannot be NoneType"),
        ([], "holds no photo"),
        (PIXELS.astype(np.int64), "an array of 6x4x3, int64"),
        (np.zeros((3, 6, 5), np.uint8), "an array of 3x6x5, uint8"),
        (torch.from_numpy(PIXELS), "a tensor of 6x4x3, uint8"),
        (PIXELS.astype(float), "floats from 0 to 213; bring them to [0, 1]"),
        (PIXELS / 127.5 - 1, "floats from -1"),
        (np.full((2, 2, 3), np.nan), "floats from nan"),
        (np.zeros((0, 4, 3)), "an empty array"),
        ("no-such-file.png", "no such file"),
    ],
)
def test_what_is_no_photo_is_refused_in_one_line(wrong: Any, words: str) -> None:
    with pytest.raises(SeesrError) as caught:
        read(wrong)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def pipeline(tiny: Reference) -> SeeSRPipeline:
    return SeeSRPipeline.from_pretrained(tiny.model, torch_dtype=torch.float32)


@pytest.fixture(scope="module")
def photo(tiny: Reference) -> Image.Image:
    return Image.open(tiny.files / "input.png").convert("RGB")


def test_diffusers_habits(pipeline: SeeSRPipeline, photo: Image.Image) -> None:
    images, *_ = pipeline(photo, return_dict=False, **SMALL)
    assert torch.equal(images[0], pipeline(photo, seed=None, **SMALL).images[0])
    with pytest.raises(SeesrError, match="no setting 'num_steps'"):
        pipeline(photo, num_steps=3)  # type: ignore[call-overload]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipeline(photo, exclude_tags=["kat no tag is called"], **SMALL)
    (warning,) = (each for each in caught if issubclass(each.category, SeesrWarning))
    assert "`exclude_tags`: no tag is called" in str(warning.message)
    assert warning.filename == __file__
    assert SeeSRPipeline.from_pretrained("mini", dtype="BF16").enlarger.dtype == torch.bfloat16


def test_an_exchanged_scheduler_is_used(tiny: Reference, photo: Image.Image) -> None:
    from diffusers import EulerDiscreteScheduler

    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    ddpm, euler = (pipeline(photo, scheduler=name, **SMALL).images[0] for name in ("ddpm", "euler"))
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    assert torch.equal(pipeline(photo, **SMALL).images[0], euler)
    assert torch.equal(pipeline(photo, scheduler="ddpm", **SMALL).images[0], ddpm)
    given = SeeSRPipeline.from_pretrained(str(tiny.model), scheduler=pipeline.scheduler)
    assert torch.equal(given(photo, **SMALL).images[0], euler)


def test_threads_share_a_pipeline(pipeline: SeeSRPipeline, photo: Image.Image) -> None:
    photos = [photo, photo.transpose(Image.Transpose.ROTATE_90), photo.crop((0, 0, 12, 16))]
    alone = [pipeline(each, **SMALL).images[0] for each in photos]
    together: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda i=i: together.update({i: pipeline(photos[i], **SMALL).images[0]}))
        for i in range(len(photos))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(together[i], alone[i]) for i in range(len(photos)))


def test_an_embedding_may_be_given(pipeline: SeeSRPipeline, photo: Image.Image) -> None:
    plain = pipeline(photo, **SMALL).images[0]
    _, own = pipeline.see(photo)
    assert own is not None
    assert torch.equal(pipeline(photo, image_embeds=own, **SMALL).images[0], plain)
    other = pipeline([photo, photo], image_embeds=torch.cat([own, 9 - own]), **SMALL).images
    assert torch.equal(other[0], plain)
    assert not torch.equal(other[1], plain)
    with pytest.raises(SeesrError, match="`image_embeds` cannot be of"):
        pipeline(photo, image_embeds=torch.cat([own, own]), **SMALL)
