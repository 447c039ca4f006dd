"""The paper's second training stage on miniature models, and the configs of all stages as they are shipped."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from PIL import Image
from stage_cases import squares_photos, tensors, with_tagger
from taggers import save_small_ram
from torch import Tensor
from torch.utils.data import Dataset

from conftest import DATA, Outcome, Reference
from seesr import SeeSRPipeline
from seesr.data.samples import Crops, DegradationMix, Pairs, PhotosConfig, load_photos
from seesr.errors import SeesrError
from seesr.models.semantic_attention import SemanticControlNet, SemanticUNet, image_attention_parameters
from seesr.training import loop
from seesr.training.config import load_config
from seesr.training.stages import autoencoder, dape, enlarger, prior, tagger, text, turbo
from seesr.training.stages import seesr as stage2


@pytest.fixture
def ram(tmp_path: Path) -> Path:
    """Folder of a plain tagger whose random weights are large enough for its output to depend on the picture."""
    return save_small_ram(tmp_path / "ram")


@pytest.fixture
def model(tiny: Reference, ram: Path, tmp_path: Path) -> Path:
    """The converted reference model with the small tagger in place of its own, which works at 384 pixels."""
    return with_tagger(tiny.model, ram, tmp_path / "model")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return squares_photos(tmp_path / "photos")


def test_pairs_do_not_depend_on_the_precision_of_the_networks(photos: Path) -> None:
    pairs = Pairs(Crops(load_photos([str(photos)], 64), 64, seed=0), DegradationMix({"seesr": 1.0}))
    plain = pairs[1]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = pairs[1]
    assert all(torch.equal(mixed[name], value) for name, value in plain.items())


CONFIGS: dict[str, Any] = {
    "sd2/dape": dape.DapeConfig,
    "sd2/seesr": stage2.SeesrConfig,
    "mini/autoencoder": autoencoder.AutoencoderConfig,
    "mini/dape": dape.DapeConfig,
    "mini/enlarger": enlarger.EnlargerConfig,
    "mini/prior": prior.PriorConfig,
    "mini/tagger": tagger.TaggerConfig,
    "mini/text": text.TextConfig,
    "mini/turbo": turbo.TurboConfig,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configs_are_read_and_every_kind_of_setting_is_checked(name: str) -> None:
    """Those of the loop, of the photos and of the stage itself: none hides another."""
    file = Path(__file__).parents[2] / "configs" / f"{name}.yaml"
    config = load_config(CONFIGS[name], file)
    mistakes = {"batch_size=0": "batch_size is 0", "stepz=3": "did you mean steps", "ema_decay=1": "ema_decay is 1"}
    if isinstance(config, PhotosConfig):
        mistakes |= {"memory_gb=-1": "memory_gb is -1", "scale_jitter=2": "scale_jitter is 2"}
    for override, message in mistakes.items():
        with pytest.raises(SeesrError, match=message):
            load_config(CONFIGS[name], file, [override])


@pytest.fixture
def base(model: Path, tmp_path: Path) -> Path:
    """A text-to-image model: that under the reference model, without RCA, ControlNet and tagger."""
    config = json.loads((model / "unet" / "config.json").read_text())
    own = ("image_embed_dim", "use_image_cross_attention")
    unet = UNet2DConditionModel.from_config({key: value for key, value in config.items() if key not in own})
    unet.load_state_dict({n: t for n, t in tensors(model / "unet").items() if ".image_attentions." not in n})
    unet.save_pretrained(tmp_path / "base" / "unet")
    for part in ("vae", "text_encoder", "tokenizer", "scheduler"):
        shutil.copytree(model / part, tmp_path / "base" / part)
    return tmp_path / "base"


@pytest.fixture
def seesr_config(tmp_path: Path, photos: Path, ram: Path, base: Path) -> Callable[..., stage2.SeesrConfig]:
    (tmp_path / "one").mkdir()
    shutil.copy(photos / "5.png", tmp_path / "one")

    def make(**changes: Any) -> stage2.SeesrConfig:
        values = {"output": str(tmp_path / "run"), "model": str(base), "tagger": str(ram), "photos": [str(photos)]}
        values |= {"validation_photos": [str(tmp_path / "one")], "crop": 128, "steps": 2, "batch_size": 2}
        values |= {"learning_rate": 1e-3, "ema_decay": 0.0, "validation_pictures": 1, "validation_inference_steps": 2}
        return stage2.SeesrConfig(**(values | changes))

    return make


class Same(Dataset[dict[str, Tensor]]):
    """One sample again and again."""

    def __init__(self, sample: dict[str, Tensor]):
        self.sample = sample

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.sample


class OneSampleStage(stage2.SeesrStage):
    """Stage 2 on one sample with its one draw of step and noise; keeps the losses."""

    def __init__(self, config: stage2.SeesrConfig):
        super().__init__(config)
        self.losses: list[float] = []

    def dataset(self) -> Any:
        return Same(self.pairs[0])

    def training_step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        terms = super().training_step(batch, step)
        self.losses.append(float(terms["loss"].detach()))
        return terms


@pytest.mark.parametrize(("train_unet", "steps", "factor"), [("rca", 16, 0.6), ("all", 8, 0.3)])
def test_seesr_learns_a_sample_and_trains_only_what_it_should(
    seesr_config: Callable[..., stage2.SeesrConfig],
    base: Path,
    tmp_path: Path,
    train_unet: str,
    steps: int,
    factor: float,
) -> None:
    config = seesr_config(steps=steps, batch_size=1, learning_rate=2e-3, train_unet=train_unet)
    stages: list[OneSampleStage] = []

    def make_stage() -> OneSampleStage:
        stages.append(OneSampleStage(config))
        return stages[0]

    loop.train(make_stage, config)
    losses = stages[0].losses
    assert losses[-1] < factor * losses[0]
    before, after = tensors(base / "unet"), tensors(tmp_path / "run" / "model" / "unet")
    assert all(".image_attentions." in name for name in after.keys() - before.keys())
    moved = [name for name, tensor in before.items() if not torch.equal(after[name], tensor)]
    assert bool(moved) == (train_unet == "all")
    for part in ("vae", "text_encoder", "tagger"):
        source = base / part if part != "tagger" else Path(config.tagger or "")
        frozen = tensors(tmp_path / "run" / "model" / part)
        assert all(torch.equal(frozen[name], tensor.float()) for name, tensor in tensors(source).items())


@pytest.mark.parametrize("start", ["base", "model"])
def test_seesr_starts_as_the_base_model(
    seesr_config: Callable[..., stage2.SeesrConfig], base: Path, tmp_path: Path, start: str
) -> None:
    """RCA adds nothing to the UNet whatever it is shown, and the ControlNet is its encoder with a silent output.

    So too from the folder of a SeeSR, whose trained RCA and ControlNet are then left behind.
    """
    pipeline = stage2.starting_pipeline(seesr_config(model=str(tmp_path / start)))
    unet, controlnet = pipeline.unet, pipeline.controlnet
    noisy, text, t = torch.randn(2, 4, 16, 16), torch.randn(2, 77, 32), torch.tensor([3, 900])
    seen = {"image_embeds": torch.randn(2, 5, 512)}
    with torch.no_grad():
        down, mid = controlnet(
            noisy, t, text, torch.rand(2, 3, 128, 128), cross_attention_kwargs=seen, return_dict=False
        )
        ours = unet(noisy, t, text, None, None, None, seen, None, down, mid, return_dict=False)[0]
        theirs = UNet2DConditionModel.from_pretrained(base / "unet")(noisy, t, text).sample
    assert torch.equal(ours, theirs)
    encoder = {n: t for n, t in unet.state_dict().items() if n.startswith(("conv_in.", "time_", "down_", "mid_"))}
    copied = controlnet.state_dict()
    assert all(torch.equal(copied[name], tensor) for name, tensor in encoder.items())
    image = image_attention_parameters(unet)
    assert all(bool(p.any()) == (".proj_out." not in n) for n, p in image.items() if n.endswith("weight"))


def test_the_copy_of_the_published_unet_is_the_published_controlnet() -> None:
    """In config and in every name and shape, at full size."""
    configs = {n: json.loads((DATA / "manifests" / f"{n}_config.json").read_text()) for n in ("unet", "controlnet")}
    with init_empty_weights():
        unet = SemanticUNet.from_config(configs["unet"] | {"image_embed_dim": 512})
        copy = stage2.controlnet_of(unet)
        published = SemanticControlNet.from_config(configs["controlnet"] | {"image_embed_dim": 512})
    assert {n: t.shape for n, t in copy.state_dict().items()} == {n: t.shape for n, t in published.state_dict().items()}
    assert {k: v for k, v in copy.config.items() if k[0] != "_"} == {
        k: v for k, v in published.config.items() if k[0] != "_"
    }


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_seesr_asks_for_the_noise_and_drops_what_it_is_told_to(
    seesr_config: Callable[..., stage2.SeesrConfig], base: Path, prediction_type: str
) -> None:
    """A predictor that knows every sample's draws has no loss; dropped samples reach it without text and conditions."""
    file = base / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prediction_type": prediction_type}))
    stage = stage2.SeesrStage(seesr_config(drop_text=0.5, drop_conditions=0.5))
    samples = [stage.pairs[index] for index in range(8)]
    batch = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
    draws = stage.draw(batch["seed"], (4, 16, 16))
    alone = stage.draw(batch["seed"][3:4], (4, 16, 16))
    assert torch.equal(alone.noise[0], draws.noise[3])  # whatever its company
    assert not torch.allclose(draws.noise, draws.posterior)
    passed: dict[str, Any] = {}

    def controlnet(noisy: Tensor, t: Tensor, **kwargs: Any) -> tuple[list[Tensor], Tensor]:
        assert kwargs["controlnet_cond"].shape == (8, 3, 128, 128)
        return [torch.ones(8, 1, 1, 1)], torch.ones(8, 1, 1, 1)

    def unet(noisy: Tensor, t: Tensor, **kwargs: Any) -> tuple[Tensor]:
        passed.update(kwargs)
        alpha_bar = stage.pipeline.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
        latents = (noisy - (1 - alpha_bar).sqrt() * draws.noise) / alpha_bar.sqrt()
        velocity = alpha_bar.sqrt() * draws.noise - (1 - alpha_bar).sqrt() * latents
        return (draws.noise if prediction_type == "epsilon" else velocity,)

    stage.modules = {"unet": unet, "controlnet": controlnet}  # type: ignore[dict-item]
    assert float(stage.training_step(batch, 0)["loss"]) < 1e-5
    kept = draws.conditions >= 0.5
    assert 0 < kept.sum() < 8
    for condition in (
        passed["cross_attention_kwargs"]["image_embeds"],
        passed["mid_block_additional_residual"],
        passed["down_block_additional_residuals"][0],
    ):
        assert torch.equal(condition.flatten(1).any(1), kept)
    empty = stage.pipeline.encode_prompts([""])[0]
    is_empty = torch.tensor([torch.allclose(embeds, empty, atol=1e-6) for embeds in passed["encoder_hidden_states"]])
    assert torch.equal(is_empty, draws.text < 0.5)
    assert 0 < is_empty.sum() < 8


def test_seesr_trains_with_tags_seen_beforehand(
    seesr_config: Callable[..., stage2.SeesrConfig],
    seesr: Callable[..., Outcome],
    ram: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = seesr_config(tags="photo", steps=1, validation_samples=1, validation_pictures=0)
    with pytest.raises(SeesrError, match="have no tags of this tagger"):
        stage2.SeesrStage(config)
    assert seesr("data", "tag", photos, "--model", ram).code == 0
    stage = stage2.SeesrStage(config)
    batch = {name: [value] if name == "tags" else value[None] for name, value in stage.pairs[0].items()}
    said: list[list[str]] = []
    encode = stage.pipeline.encode_prompts
    monkeypatch.setattr(stage.pipeline, "encode_prompts", lambda texts: said.append(texts) or encode(texts))
    stage._loss(batch, drop_text=0.0, drop_conditions=0.0)
    assert said == [[batch["tags"][0] + ","]]
    assert said[0][0].startswith("tag")


def test_seesr_goes_on_exactly_and_its_model_restores_and_converts(
    seesr_config: Callable[..., stage2.SeesrConfig], seesr: Callable[..., Outcome], photos: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for output, steps in ((whole, 2), (broken, 1), (broken, 2)):
        config = seesr_config(output=str(output), steps=steps, gradient_checkpointing=output == broken)
        loop.train(lambda config=config: stage2.SeesrStage(config), config)
    for part in ("unet", "controlnet"):
        once, twice = tensors(whole / "model" / part), tensors(broken / "model" / part)
        assert all(torch.equal(tensor, twice[name]) for name, tensor in once.items())
    lr = Image.open(photos / "0.png").resize((32, 32))
    pipeline = SeeSRPipeline.from_pretrained(str(whole / "model"))
    restored = pipeline(lr, process_size=128, num_inference_steps=2).images[0]
    assert restored.size == (128, 128)
    assert np.asarray(restored).std() > 1
    assert seesr("convert", "--to-upstream", whole / "model", tmp_path / "upstream").code == 0
    again = stage2.starting_pipeline(seesr_config(model=str(whole / "model"), tagger=None, fresh=False))
    assert all(torch.equal(t, twice[n]) for n, t in again.controlnet.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "nowhere"}, "there is no folder nowhere"),
        ({"tagger": None}, "give the folder that stage 1 made"),
        ({"fresh": False}, "is not a SeeSR model to continue from"),
        ({"crop": 100}, "crop is 100"),
        ({"crop": 136}, "smaller than the crop of 136"),
        ({"drop_text": 1.5}, "drop_text is 1.5"),
    ],
)
def test_seesr_refuses_what_cannot_be_trained(
    seesr_config: Callable[..., stage2.SeesrConfig], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SeesrError, match=message):
        stage2.SeesrStage(seesr_config(**changes))
