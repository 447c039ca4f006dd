"""The stages of a model grown from nothing: each learns, and what it writes the next stage and the pipeline read."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import default_collate

from seesr import ConvTagger, Enlarger, SeeSRPipeline
from seesr.data.samples import OnDevice, load_photos
from seesr.errors import SeesrError
from seesr.loading import tagger_from_folder
from seesr.models import int8
from seesr.models.autoencoder import Autoencoder
from seesr.models.semantic_attention import SemanticUNet
from seesr.models.text import TextTower, train_tokenizer
from seesr.training import restorations
from seesr.training.latents import LatentCrops, Latents, encode, parts_of_tags
from seesr.training.stages import autoencoder, prior, text, turbo

MINI = Path(str(files("seesr"))) / "assets" / "mini"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four smooth photos of 64 x 64."""
    (tmp_path / "photos").mkdir()
    for number in range(4):
        colours = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((64, 64), Image.Resampling.BICUBIC).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Random frozen parts: enlarger, vae, tagger."""
    Enlarger(num_blocks=1, channels=8, growth=4).save_pretrained(tmp_path / "enlarger")
    Autoencoder(4, (8, 8), (1, 1), (1, 1), scaling_factor=5.0).save_pretrained(tmp_path / "vae")
    tagger = ConvTagger(
        tags=["animal", "dog", "sky"],
        thresholds=[0.1, 0.2, 0.2],
        classes=[[0, 1], [1], [2]],
        num_classes=4,
        image_size=64,
        stem_channels=4,
        channels=(4, 4, 4, 4, 4, 4, 8),
        repeats=(1, 1, 1, 1, 1, 1, 1),
        head_channels=8,
        image_embed_dim=8,
    )
    tagger.save_pretrained(tmp_path / "tagger")
    return tmp_path


def write_config(path: Path, **settings: object) -> Path:
    path.write_text(json.dumps(settings))  # JSON is YAML
    return path


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_autoencoder_learns_photos(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "VALIDATION_CROP", 64)
    config = write_config(
        tmp_path / "autoencoder.yaml",
        output=str(tmp_path / "out"),
        photos=[str(photos)],
        validation_photos=[str(photos)],
        crop=32,
        latent_channels=4,
        channels=[16, 16],
        encoder_blocks=[1, 1],
        decoder_blocks=[1, 1],
        latent_noise=0.02,
        loss={"perceptual_from": 60, "dists": 0.01, "features": 0.01},
        discriminator={"crop": 32},
        steps=62,
        batch_size=4,
        learning_rate=4e-3,
        ema_decay=0.8,
        validate_steps=1000,
    )
    metrics = autoencoder.train(config)
    before = json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[0])
    assert metrics["psnr_y"] > before["psnr_y"] + 6
    trained = Autoencoder.from_pretrained(tmp_path / "out" / "model")
    pixels = torch.rand(1, 3, 64, 48) * 2 - 1
    latents = trained.encode(pixels).latent_dist.mode()
    assert latents.shape == (1, 4, 8, 6)
    assert trained.decode(latents).sample.shape == pixels.shape
    assert 0.1 < trained.config.scaling_factor < 10


def test_prior_learns_and_writes_a_complete_model(tmp_path: Path, photos: Path, parts: Path) -> None:
    settings: dict[str, object] = {
        "output": str(tmp_path / "out"),
        "enlarger": str(parts / "enlarger"),
        "vae": str(parts / "vae"),
        "tagger": str(parts / "tagger"),
        "photos": [str(photos)],
        "validation_photos": [str(photos)],
        "samples": 16,
        "validation_samples": 8,
        "validation_draws": 8,
        "crop": 64,
        "size": 8,
        "degradation": {"mild": 1.0},
        "channels": [16, 32],
        "heads": [1, 2],
        "batch_size": 8,
        "learning_rate": 3e-3,
        "ema_decay": 0.8,
        "validate_steps": 1000,
    }
    prior.train(write_config(tmp_path / "prior.yaml", **settings, steps=40))
    before, after = losses(tmp_path / "out")
    assert after < 0.8 * before
    pipeline = SeeSRPipeline.from_pretrained(str(tmp_path / "out" / "model"))
    photo = Image.open(photos / "0.png").resize((17, 16))
    result = pipeline(photo, profile="diffusion", num_inference_steps=2)
    assert result.images[0].size == (68, 64)
    assert np.ptp(np.asarray(result.images[0])) > 0
    stored = sorted((tmp_path / "out" / "restorations-train").glob("*.safetensors"))
    written = [shard.stat().st_mtime_ns for shard in stored]
    prior.train(write_config(tmp_path / "prior.yaml", **settings, steps=41))  # goes on, and makes nothing twice
    assert [shard.stat().st_mtime_ns for shard in stored] == written

    def with_samples(name: str) -> str:
        """A folder that has the restorations and latents of the first run already."""
        (tmp_path / name).mkdir()
        for made in (*(tmp_path / "out").glob("restorations-*"), *(tmp_path / "out").glob("latents-*")):
            (tmp_path / name / made.name).symlink_to(made)
        return str(tmp_path / name)

    tower = tmp_path / "tower"
    pipeline.text_encoder.save_pretrained(tower / "text_encoder")
    pipeline.tokenizer.save_pretrained(tower / "tokenizer")
    frozen = {"output": with_samples("frozen"), "text": str(tower)}
    prior.train(write_config(tmp_path / "prior.yaml", **settings | frozen, steps=1))
    kept = SeeSRPipeline.from_pretrained(str(tmp_path / "frozen" / "model")).text_encoder.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in pipeline.text_encoder.state_dict().items())

    elsewhere: dict[str, object] = {"output": with_samples("again"), "start": str(tmp_path / "out" / "model")}
    at_end = losses(tmp_path / "out")[-1]
    prior.train(write_config(tmp_path / "prior.yaml", **settings | elsewhere, steps=1))
    assert losses(tmp_path / "again")[0] == pytest.approx(at_end, rel=1e-4)  # goes on from where the other ended

    with pytest.raises(SeesrError, match="give start and text"):
        prior.train(write_config(tmp_path / "prior.yaml", **settings, text_attention_only=True, steps=1))
    alone = elsewhere | {"output": with_samples("alone"), "text": str(tower), "text_attention_only": True}
    prior.train(write_config(tmp_path / "prior.yaml", **settings | alone, steps=3))
    learned = SeeSRPipeline.from_pretrained(str(tmp_path / "alone" / "model"))
    started_from = SeeSRPipeline.from_pretrained(str(tmp_path / "out" / "model"))
    for name, value in started_from.unet.state_dict().items():
        reads_text = ".attn2." in name and ".image_attentions." not in name
        assert torch.equal(learned.unet.state_dict()[name], value) != reads_text


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with restorations of 16 crops and their latents, by the parts of `mini`."""
    folder = tmp_path_factory.mktemp("crops")
    photos = load_photos([str(EXAMPLES)], 64)
    settings = restorations.RestorationSettings(64, 0, {"camera": 1.0}, len(photos), "x")
    enlarger = Enlarger.from_pretrained(MINI / "enlarger", torch_dtype=torch.float32)
    restorations.fill(folder / "restored", photos, settings, enlarger, range(1))
    vae, tagger = Autoencoder.from_pretrained(MINI / "vae"), tagger_from_folder(MINI / "tagger")
    encode(folder / "restored", vae, tagger).save(folder / "latents.safetensors")
    return folder


@pytest.mark.parametrize(("rank", "inference_steps", "learning_rate", "gain"), [(0, 1, 3e-4, 0.5), (4, 2, 3e-3, 0.3)])
def test_turbo_learns_to_restore_in_one_or_two_steps(
    crops: Path, tmp_path: Path, rank: int, inference_steps: int, learning_rate: float, gain: float
) -> None:
    """Overfits 16 crops from where `mini` stands; by LoRA only linear layers move, and by no more than its rank."""
    restored, latents = str(crops / "restored"), crops / "latents.safetensors"
    config = write_config(
        tmp_path / "turbo.yaml",
        output=str(tmp_path / "out"),
        model="mini",
        restorations=restored,
        latents=str(latents),
        validation_restorations=restored,
        validation_latents=str(latents),
        validation_samples=4,
        size=8,
        inference_steps=inference_steps,
        lora_rank=rank,
        on_device=bool(rank),
        discriminator={"width": 4, "crop": 32},
        validate_steps=1000,
        loss={"dists": 0.0, "features": 0.0, "adversarial": 0.0},
        steps=8,
        batch_size=4,
        learning_rate=learning_rate,
        ema_decay=0.8,
    )
    turbo.train(config)
    first, last = (json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines())
    assert last["psnr_y"] > first["psnr_y"] + gain

    trained, mini = (
        SeeSRPipeline.from_pretrained(str(tmp_path / "out" / "model")),
        SeeSRPipeline.from_pretrained("mini"),
    )
    photo = Image.open(EXAMPLES / "cat.jpg").crop((0, 0, 32, 24))
    a, b = (trained(photo, profile="turbo", seed=seed).images[0] for seed in (0, 1))
    assert a.tobytes() != mini(photo, profile="fast").images[0].tobytes()
    apart = np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max()
    assert (apart <= 1) == (inference_steps == 1)  # noise takes part between steps alone; after the last it is 1e-10
    before, after = dict(mini.unet.named_parameters()), dict(trained.unet.named_parameters())
    moved = {name: after[name].detach() - value.detach() for name, value in before.items()}
    query = next(change for name, change in moved.items() if name.endswith("to_q.weight"))
    assert 0 < torch.linalg.matrix_rank(query) <= (rank or min(query.shape))
    assert bool(moved["conv_in.weight"].any()) == (rank == 0)


def test_text_learns_which_tags_belong_to_which_embedding(tmp_path: Path) -> None:
    """Six subjects, each with an embedding of its own; words that never moved the states then tell them apart."""
    subjects = torch.randn(6, 5, 12, generator=torch.Generator().manual_seed(0))
    words = ["dog", "sky", "sea, coast", "flower", "street, car", "face"]
    chosen = torch.arange(48) % 6
    embeddings = subjects[chosen] + 0.3 * torch.randn(48, 5, 12, generator=torch.Generator().manual_seed(1))
    tags = [words[number] for number in chosen.tolist()]
    clean, enlarged = torch.zeros(48, 1, 1, 1), torch.zeros(48, 1, 1, 1)
    Latents(clean, enlarged, embeddings, [*tags[:47], ""]).save(tmp_path / "latents.safetensors")
    settings: dict[str, object] = {
        "output": str(tmp_path / "out"),
        "tagger": str(MINI / "tagger"),
        "latents": str(tmp_path / "latents.safetensors"),
        "validation_latents": str(tmp_path / "latents.safetensors"),
        "batch_size": 24,
        "learning_rate": 1e-3,
        "ema_decay": 0.5,
        "validate_steps": 1000,
        "steps": 16,
    }
    metrics = text.train(write_config(tmp_path / "text.yaml", **settings))
    first = json.loads((tmp_path / "out" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["rank"] > 0.2
    assert metrics["rank"] < 0.02
    assert metrics["spread"] > 2 * first["spread"]
    again = text.own_tokenizer(["other", "words"], tmp_path / "out" / "tokenizer")  # a run that goes on keeps its own
    assert (
        again("sea, coast").input_ids == text.own_tokenizer([], tmp_path / "out" / "tokenizer")("sea, coast").input_ids
    )
    found = TextTower.from_pretrained(tmp_path / "out" / "model" / "text_encoder")
    assert found(torch.zeros(1, 77, dtype=torch.long))[0].shape == (1, 77, text.WIDTH)


def test_latents_on_the_device_give_the_same_samples() -> None:
    latents = Latents(torch.rand(3, 4, 8, 8), torch.rand(3, 4, 8, 8), torch.rand(3, 5, 6), ["dog", "sky", ""])
    crops = LatentCrops(latents, torch.arange(3 * 77).view(3, 77), 4, seed=1)
    pixels = {name: torch.randint(256, (3, 3, 64, 64), dtype=torch.uint8) for name in ("hr", "enlarged")}
    for samples in (crops, turbo.TurboCrops(crops, pixels)):
        usual = default_collate([samples[number] for number in (5, 2)])
        there = OnDevice(samples).make(torch.tensor([5, 2]))
        assert usual.keys() == there.keys()
        assert all(torch.equal(there[name], value) for name, value in usual.items())


def test_single_tags_are_left_out_of_the_texts() -> None:
    assert parts_of_tags(["dog, grass", ""], 0.0, seed=1) == ["dog, grass", ""]
    texts = parts_of_tags(["dog, grass", ""], 0.5, seed=1, count=40)
    assert set(texts[:40]) == {"", "dog", "grass", "dog, grass"}
    assert set(texts[40:]) == {""}
    latents = Latents(torch.rand(2, 4, 8, 8), torch.rand(2, 4, 8, 8), torch.rand(2, 5, 6), ["dog, grass", ""])
    crops = LatentCrops(latents, torch.arange(80).view(2, 40, 1), 4, seed=1)
    samples = [(crops.place(index)[0], int(crops[index]["text"])) for index in range(100)]
    assert all(text // 40 == number for number, text in samples)
    assert len(set(samples)) > 40


def test_restorations_of_other_settings_are_refused(tmp_path: Path, photos: Path, parts: Path) -> None:
    found = load_photos([str(photos)], 32)
    enlarger = Enlarger.from_pretrained(parts / "enlarger")
    settings = restorations.RestorationSettings(32, 0, {"mild": 1.0}, len(found), "x")
    weights = enlarger.conv_first.weight.clone()
    assert restorations.fill(tmp_path / "r", found, settings, enlarger, range(1), dtype=torch.bfloat16) == 1
    assert torch.equal(enlarger.conv_first.weight, weights)  # which is saved with the model
    other = restorations.RestorationSettings(32, 1, {"mild": 1.0}, len(found), "x")
    with pytest.raises(SeesrError, match="other settings"):
        restorations.fill(tmp_path / "r", found, other, enlarger, range(1))


def test_tokenizer_encodes_what_it_never_saw(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["dog", "mountain lake"], 600, tmp_path)
    for prompt in ("dog, mountain", "zebra 8k!", "größe ☂"):
        decoded = tokenizer.decode(tokenizer(prompt).input_ids, skip_special_tokens=True)
        assert decoded.replace(" ", "") == prompt.replace(" ", "")
    assert tokenizer("dog").input_ids != tokenizer("mountain").input_ids


def test_int8_weights_are_within_half_a_step(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(96, 64), nn.Linear(64, 2))
    stored = int8.quantize(network.state_dict())
    assert stored["0.weight"].dtype == torch.int8
    again = int8.dequantize(stored)
    step = network[0].weight.abs().amax(1, keepdim=True) / 127
    assert ((again["0.weight"] - network[0].weight).abs() <= step / 2 * 1.0001).all()
    assert torch.equal(again["1.weight"], network[1].weight.half())
    torch.manual_seed(0)
    unet = SemanticUNet(
        image_embed_dim=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        cross_attention_dim=8,
    )
    unet.save_int8(tmp_path / "unet")
    read = SemanticUNet.from_pretrained(tmp_path / "unet", torch_dtype=torch.float32)
    expected = int8.dequantize(int8.quantize(unet.state_dict()))
    assert all(torch.equal(value, expected[name].float()) for name, value in read.state_dict().items())
