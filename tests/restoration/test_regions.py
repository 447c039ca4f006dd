"""Words for places: how they are written, where they act, and that they act nowhere else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from conftest import Outcome, Reference
from seesr import SeesrError, SeeSRPipeline, Settings
from seesr.restoration.regions import Region, overlap_note
from seesr.restoration.settings import find_setting
from seesr.restoration.tile_predictor import Context, RegionWords, TilePredictor
from seesr.tiling.geometry import Tile

SMALL: dict[str, Any] = {"profile": "paper", "num_inference_steps": 2, "process_size": 64, "output_type": "pt"}


@pytest.fixture(scope="module")
def pipeline(tiny: Reference) -> SeeSRPipeline:
    return SeeSRPipeline.from_pretrained(tiny.model, torch_dtype=torch.float32)


@pytest.fixture(scope="module")
def photo(tiny: Reference) -> Image.Image:
    return Image.open(tiny.files / "input.png").convert("RGB")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("brick", "cannot be 'brick'; give x,y,w,h: words"),
        ("0,0,1: brick", "give x,y,w,h: words"),
        ("0,0,1,nan: brick", "give x,y,w,h: words"),
        ("0,0,0,1: brick", "is empty; its width and height must be more than 0"),
        ("0,0,5,-1: brick", "is empty"),
        ("-1,0,5,5: brick", "begins outside of the photo"),
        ("0,0,5,5:  ", "has no words"),
    ],
)
def test_what_is_no_region_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(SeesrError) as caught:
        Settings(regions=[text])
    assert "`regions`" in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["30,0,11,5: x", "0.5,0,0.6,1: x", "0,39,1,2: x"])
def test_a_region_lies_inside_the_photo(text: str) -> None:
    with pytest.raises(SeesrError, match="reaches beyond the photo, 40 x 40 pixels"):
        Region.parse(text).box((40, 40))


def test_pixels_and_fractions_are_the_same_place() -> None:
    pixels, fractions = Region.parse("10,20,15,20: a: b"), Region.parse(" 0.25, .5,0.375,.5 :a: b")
    assert pixels.words == "a: b"
    assert pixels.box((40, 40)) == fractions.box((40, 40)) == (0.25, 0.5, 0.625, 1)
    assert torch.equal(pixels.weights((40, 40), 32, 32), fractions.weights((40, 40), 32, 32))
    with pytest.raises(SeesrError, match="is too small; give 2 x 2 pixels"):
        Region.parse("3,3,0.5,1.1: dot").weights((40, 40), 20, 20)


def test_weights_rise_inside_and_not_at_the_border_of_the_photo() -> None:
    weights = Region.parse("0,0.25,0.5,0.5: x").weights((64, 64), 64, 64)
    assert weights[:16].max() == weights[48:].max() == weights[:, 32:].max() == 0
    assert weights[32, :20].min() == 1  # up to the left border of the photo
    along = weights[16:23, 0]
    assert (along.diff() > 0).all()
    assert along[0] < 0.05 < 0.9 < along[5]


@torch.inference_mode()
@pytest.mark.parametrize("tiles", [[Tile(0, 0, 8, 16)], [Tile(0, 0, 8, 8), Tile(0, 8, 8, 8)]])
def test_beyond_a_region_the_prediction_is_the_same(pipeline: SeeSRPipeline, tiles: list[Tile]) -> None:
    """Bit for bit, and within it it is that of the region's words as far as the weights say."""
    config = pipeline.unet.config
    latents, picture = torch.randn(1, 4, 8, 16), torch.rand(1, 3, 64, 128)
    text, own = torch.randn(2, 2, 77, config.cross_attention_dim)
    image = torch.randn(1, 5, config.image_embed_dim)
    weights = Region.parse("0,0,0.375,1: x").weights((16, 8), 8, 16)

    def predict(words: torch.Tensor, regions: list[RegionWords]) -> torch.Tensor:
        arguments: Any = (
            pipeline.unet,
            pipeline.controlnet,
            lambda tile: tile.of(picture, 8),
            tiles,
            [Context(words, image)],
            Settings(),
            1 << 30,
            regions,
        )
        with TilePredictor(*arguments) as predictor:
            parts = predictor(tiles, latents, torch.tensor(900), True)
        return torch.cat(list(parts), -1)  # side by side

    plain, with_it, alone = predict(text, []), predict(text, [RegionWords(own, weights)]), predict(own, [])
    assert torch.equal(with_it[..., 6:], plain[..., 6:])
    torch.testing.assert_close(with_it, plain.lerp(alone, weights), rtol=1e-4, atol=5e-5)
    assert (with_it - plain)[..., :4].abs().max() > 1e-3


def test_the_call_takes_regions(pipeline: SeeSRPipeline, photo: Image.Image) -> None:
    width, height = photo.size
    plain = pipeline(photo, **SMALL).images[0]
    half = pipeline(photo, regions=["0,0,0.5,1: weathered brick"], **SMALL)
    pixels = pipeline(photo, regions=[f"0,0,{width / 2},{height}: weathered brick"], **SMALL).images[0]
    assert half.notes == [""]
    assert torch.equal(half.images[0], pixels)
    assert not torch.equal(half.images[0], plain)
    both = pipeline(photo, regions=["0,0,0.5,1: brick", "0.4,0,0.5,1: grass"], **SMALL)
    assert both.notes == ["`regions` 1 and 2 overlap; there the later one holds"]
    with pytest.raises(SeesrError, match="reaches beyond the photo"):
        pipeline(photo, regions=[f"0,0,{width + 1},2: brick"], **SMALL)
    grounded = pipeline(photo, regions=["0,0,0.5,1: brick"], ground_tags=True, latent_tile_size=8, **SMALL)
    assert grounded.images[0].shape == plain.shape


def test_regions_that_touch_do_not_overlap() -> None:
    regions = [Region.parse(text) for text in ("0,0,0.5,1: a", "0.5,0,0.5,0.5: b", "0.6,0.4,0.2,0.5: c")]
    assert overlap_note(regions, (10, 10)) == "`regions` 2 and 3 overlap; there the later one holds"


def test_regions_are_written_in_every_place() -> None:
    spec = find_setting("region")
    assert spec.parse("0+0+.5+1: a+b; .5+0+.5+1: c", "+") == ("0,0,.5,1: a+b", " .5,0,.5,1: c")
    assert spec.schema()["items"] == {"type": "string"}


def test_command_takes_several(seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    Image.effect_noise((16, 16), 60).convert("RGB").save(tmp_path / "a.png")
    few = ["-o", tmp_path / "b.png", "--profile", "diffusion", "--steps", 1, "--scale", 2]
    outcome = seesr("upscale", tmp_path / "a.png", *few, "--region", "0,0,8,16: brick", "--region", "4,0,8,16: a, b")
    assert outcome.code == 0, outcome.err
    assert "--region 1 and 2 overlap" in outcome.err
    refused = seesr("upscale", tmp_path / "a.png", *few, "--overwrite", "--region", "0,0,8,17: brick")
    assert refused.code == 2
    assert "--region: '0,0,8,17: brick' reaches beyond the photo, 16 x 16 pixels" in refused.err
