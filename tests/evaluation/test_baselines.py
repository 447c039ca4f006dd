"""Methods to compare with: Real-ESRGAN on ncnn, tiles without seams, LDM, spandrel's contract, ablations, prompts."""

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from spandrel_standin import RepeatsPixels, install_spandrel

from seesr.errors import SeesrError
from seesr.evaluation.baselines import checkpoint, realesrgan, seesr_model, tiles
from seesr.evaluation.baselines.interface import Case, fingerprint
from seesr.evaluation.baselines.prompt_sources import make_source
from seesr.evaluation.baselines.tiles import enlarge_with_network
from seesr.evaluation.methods import make_method
from seesr.photos.pictures import to_tensor
from seesr.pipeline import SeeSRPipeline

CPU = torch.device("cpu")
SMALL = "paper,steps=1,process_size=128,guidance=1"
WORDS = ("cat", "dog", "tree", "house", "car", "red", "blue", "green", "big", "small")


def picture(width: int, height: int, smoothness: int = 4) -> Image.Image:
    """Random colours, `smoothness` pixels apart."""
    size = (-(-height // smoothness), -(-width // smoothness), 3)
    coarse = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def restored(name: str, image: Image.Image, scale: int = 4, stem: str = "a") -> Image.Image:
    """What the method of that name makes of a picture."""
    return make_method(name, CPU).restore([Case(Path(f"{stem}.png"), image)], scale)[0].image


def difference(a: Image.Image, b: Image.Image) -> float:
    """Largest, in grey levels."""
    return float((to_tensor(a) - to_tensor(b)).abs().max() * 255)


# -------------------------------------------------------------------------------------------------- networks in tiles


def test_tiles_meet_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that looks as far as the margin cannot tell tiles from the whole."""
    monkeypatch.setattr(tiles, "MARGIN", 4)
    kernel = torch.rand(3, 1, 9, 9) / 40
    seen: list[int] = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(max(x.shape[-2:]))
        blurred = torch.nn.functional.conv2d(x, kernel, padding=4, groups=3)
        return blurred.repeat_interleave(2, -1).repeat_interleave(2, -2)

    image = picture(37, 23)
    whole = enlarge_with_network(network, image, 2, tile=64)
    cut = enlarge_with_network(network, image, 2, tile=17)
    assert whole.size == cut.size == (74, 46)
    assert difference(whole, cut) <= 1  # of rounding to 8 bit
    assert seen[0] == 37
    assert max(seen[1:]) <= 17


def test_realesrgan_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small network of Real-ESRGAN's on ncnn: it enlarges, keeps the picture, and is cut without seams."""
    pytest.importorskip("ncnn")
    image = picture(88, 40, smoothness=20)
    try:
        whole = restored("realesr-animevideov3", image)
    except SeesrError as error:
        if "could not download" in str(error):
            pytest.skip(str(error))
        raise
    assert whole.size == (352, 160)
    shrunk = whole.resize(image.size, Image.Resampling.BOX)
    assert float((to_tensor(shrunk) - to_tensor(image)).abs().mean() * 255) < 8
    assert (
        difference(restored("realesr-animevideov3", image, 2), whole.resize((176, 80), Image.Resampling.LANCZOS)) == 0
    )
    monkeypatch.setattr(realesrgan, "TILE", 80)
    assert difference(restored("realesr-animevideov3", image), whole) <= 1


def test_missing_ncnn_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(SeesrError, match=r"realesrgan-x4plus needs the package ncnn .*pip install ncnn"):
        make_method("realesrgan-x4plus", CPU)


# ----------------------------------------------------------------------------------------------------------- spandrel


@pytest.fixture
def spandrel(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(**networks: Any) -> None:
        checkpoint._load.cache_clear()
        install_spandrel(monkeypatch, networks)

    return install


def test_spandrel_contract(spandrel: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut, denoiser = RepeatsPixels(4, "INTERNAL"), RepeatsPixels(2), RepeatsPixels(1)
    spandrel(whole=whole, cut=cut, denoiser=denoiser, mask=object())
    for stem in ("whole", "cut", "denoiser", "unknown", "mask"):
        torch.save({stem: torch.zeros(1)}, tmp_path / f"{stem}.pth")

    image = picture(300, 20)
    assert difference(restored(f"spandrel:{tmp_path / 'whole.pth'}", image), image.resize((1200, 80), 0)) == 0
    assert whole.sizes == [(1, 3, 20, 300)]
    assert restored(f"spandrel:{tmp_path / 'cut.pth'}", image).size == (1200, 80)  # 2x, and 2x more by Lanczos
    assert max(size[-1] for size in cut.sizes) <= tiles.TILE

    for stem, match in {
        "unknown": r"unknown\.pth: holds no architecture that spandrel 0 knows",
        "mask": r"mask\.pth: is no network from colour picture to colour picture",
        "denoiser": r"denoiser\.pth: does not enlarge",
    }.items():
        with pytest.raises(SeesrError, match=match):
            restored(f"spandrel:{tmp_path / stem}.pth", image)
    with pytest.raises(SeesrError, match=r"nowhere\.pth is no file"):
        make_method(f"spandrel:{tmp_path / 'nowhere.pth'}", CPU)

    name = f"spandrel:{tmp_path / 'whole.pth'}"
    before = make_method(name, CPU)
    assert before.settings["sha256"] in before.identity
    torch.save({"whole": torch.ones(1)}, tmp_path / "whole.pth")
    assert make_method(name, CPU).identity != before.identity
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(SeesrError, match=r"needs spandrel and torchvision .*pip install 'seesr\[spandrel\]'"):
        make_method(name, CPU)


# ---------------------------------------------------------------------------------------------------------------- LDM


@pytest.fixture(scope="module")
def ldm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random LDM for super-resolution."""
    from diffusers import DDIMScheduler, LDMSuperResolutionPipeline, UNet2DModel, VQModel

    torch.manual_seed(0)
    blocks = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4}
    kinds = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    unet = UNet2DModel(sample_size=64, in_channels=6, out_channels=3, attention_head_dim=None, **blocks, **kinds)
    encoder = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    vqvae = VQModel(block_out_channels=(8, 8, 8), norm_num_groups=4, latent_channels=3, num_vq_embeddings=16, **encoder)
    folder = tmp_path_factory.mktemp("ldm")
    LDMSuperResolutionPipeline(vqvae, unet, DDIMScheduler()).save_pretrained(folder)
    return folder


def test_ldm_runs_from_its_seed(ldm: Path) -> None:
    image = picture(50, 30)
    first = restored(f"ldm:{ldm},steps=2", image)
    assert first.size == (200, 120)
    assert difference(first, restored(f"ldm:{ldm},steps=2,seed=0", image)) == 0
    assert difference(first, restored(f"ldm:{ldm},steps=2,seed=1", image)) > 0
    assert make_method(f"ldm:{ldm},eta=0", CPU).settings["eta"] == 0
    for name, match in {
        "ldm:": "names no model",
        f"ldm:{ldm},colour=red": "no setting 'colour'; there are steps, eta, seed",
        f"ldm:{ldm},steps=few": "steps cannot be 'few'; give int",
        f"ldm:{ldm.parent}": "no LDM super-resolution model that diffusers can load",
    }.items():
        with pytest.raises(SeesrError, match=match):
            restored(name, image)


# ------------------------------------------------------------------------------------------------ ablations of SeeSR


def test_ablations_change_what_they_name(tiny: Any) -> None:
    image = Image.open(tiny.files / "input.png").convert("RGB")

    def run(settings: str) -> Image.Image:
        return restored(f"{tiny.model}:{SMALL},{settings}", image)

    pictures = {
        settings: run(settings)
        for settings in ("seed=0", "embedding=off", "tags=", "embedding=off,tags=", "tagger=ram", "start=noise")
    }
    base = pictures["seed=0"]
    for settings, result in pictures.items():
        assert (difference(result, base) > 0) == (settings != "seed=0"), settings
    assert difference(pictures["embedding=off,tags="], pictures["tags="]) > 0
    for same in ("embedding=on", "tagger=dape", "prompt=tags"):  # and nothing that was switched off stays so
        assert difference(run(same), base) == 0, same


def test_ablations_that_a_model_has_no_parts_for(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = types.SimpleNamespace(tagger=None, unet=None, profile=lambda name: None)
    monkeypatch.setattr(seesr_model, "_load", lambda *arguments: bare)
    for settings, match in {"tagger=ram": "mini has no DAPE", "embedding=off": "mini has no diffusion part"}.items():
        with pytest.raises(SeesrError, match=match):
            restored(f"mini:{settings}", picture(8, 8))


# ------------------------------------------------------------------------------------------------- sources of prompts


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a tiny random captioner (BLIP) and a tiny random classifier (ViT)."""
    import transformers as t

    torch.manual_seed(0)
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("caption", "class")}
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
    ]
    (folders["caption"] / "vocab.txt").write_text("\n".join(words))
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    config = t.BlipConfig(
        text_config=size | special | {"vocab_size": len(words), "projection_dim": 16, "encoder_hidden_size": 16},
        vision_config=size | {"image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    t.BlipForConditionalGeneration(config).save_pretrained(folders["caption"])
    tokenizer = t.BertTokenizer(str(folders["caption"] / "vocab.txt"))
    t.BlipProcessor(t.BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(
        folders["caption"]
    )
    labels = {0: "tabby, tabby cat", 1: "spotted dog, hound"}
    vit = t.ViTConfig(**size, image_size=32, patch_size=16, id2label=labels, label2id={v: k for k, v in labels.items()})
    t.ViTForImageClassification(vit).save_pretrained(folders["class"])
    t.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folders["class"])
    return folders


def test_captions_and_classes_take_the_place_of_tags(readers: dict[str, Path], tiny: Any) -> None:
    image = picture(8, 8)
    case = Case(Path("a.png"), image)
    caption = make_source(f"caption:{readers['caption']}", CPU).text_for(case)
    assert set(caption.split()) <= {
        *WORDS,
        "[UNK]",
        "[MASK]",
    }
    label = make_source(f"class:{readers['class']}", CPU).text_for(case)
    assert label in ("tabby", "spotted dog")

    pipeline = SeeSRPipeline.from_pretrained(str(tiny.model))
    options = {"profile": "paper", "num_inference_steps": 1, "process_size": 128, "guidance_scale": 1}
    for source, text in (("caption", caption), ("class", label)):
        expected = pipeline(image, tags=[], prompt=text, **options).images[0]
        assert difference(restored(f"{tiny.model}:{SMALL},prompt={source}:{readers[source]}", image), expected) == 0
    with pytest.raises(SeesrError, match=r"no captioner that transformers can load"):
        make_source(f"caption:{readers['class']}", CPU).text_for(case)
    with pytest.raises(SeesrError, match=r"no classifier that transformers can load"):
        make_source(f"class:{tiny.model}", CPU).text_for(case)


def test_captions_from_a_file(tmp_path: Path, tiny: Any) -> None:
    image = picture(8, 8)
    table, mapping = tmp_path / "captions.csv", tmp_path / "captions.json"
    table.write_text('image,caption\na.png," a cat, on a mat"\nb,dog\n')
    mapping.write_text(json.dumps({"a": "a cat, on a mat"}))
    results = [restored(f"{tiny.model}:{SMALL},prompt=file:{file}", image) for file in (table, mapping)]
    expected = restored(f"{tiny.model}:{SMALL},tags=,prompt=text:a cat", image)
    assert difference(*results) == 0
    assert difference(results[0], expected) > 0  # the words matter, commas are part of them
    assert make_source(f"file:{table}", CPU).text_for(Case(Path("b.jpg"), image)) == "dog"

    with pytest.raises(SeesrError, match=r"x\.png: .* failed: .*captions\.json has no caption for x; add it"):
        restored(f"{tiny.model}:{SMALL},prompt=file:{mapping}", image, stem="x")
    table.write_text("name,text\na,b\n")
    for text, match in {
        f"file:{table}": r"captions\.csv: holds no captions; give CSV with the columns image,caption",
        f"file:{tmp_path / 'none.csv'}": r"none\.csv: cannot be read",
        "poem": "prompt cannot be 'poem'; give tags, caption:MODEL",
        "caption:": "prompt cannot be 'caption:'",
    }.items():
        with pytest.raises(SeesrError, match=match):
            make_method(f"mini:prompt={text}", CPU)
    with pytest.raises(SeesrError, match="made of tags or of file, not of both"):
        make_method(f"mini:tags=a,prompt=file:{mapping}", CPU)


def test_new_weights_change_a_fingerprint_and_a_model_card_does_not(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    weights = tmp_path / "unet" / "weights.safetensors"
    weights.write_bytes(b"1")
    before = fingerprint(tmp_path)
    (tmp_path / "README.md").write_text("card")
    assert fingerprint(tmp_path) == before
    weights.write_bytes(b"12")
    assert fingerprint(tmp_path) != before
