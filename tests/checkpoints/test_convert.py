"""Published checkpoints in and out: every used tensor is mapped, and whatever does not fit is named."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file, save_file

from conftest import DATA, ROOT, Outcome, Reference
from seesr import SeeSRPipeline
from seesr.checkpoints.files import find_weights, read_state_dict
from seesr.checkpoints.ram import build_tagger, fold_tied, is_unused, split_tied, to_published
from seesr.checkpoints.upstream import read_tagger
from seesr.models.dape import plain_ram
from seesr.models.lora import lora_layers
from seesr.models.semantic_attention import SemanticControlNet, SemanticUNet
from seesr.models.tagger import Tagger

MANIFESTS = DATA / "manifests"


def meta_tensors(name: str) -> dict[str, torch.Tensor]:
    shapes = json.loads((MANIFESTS / f"{name}.json").read_text())
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


@pytest.mark.parametrize(("name", "model_class"), [("unet", SemanticUNet), ("controlnet", SemanticControlNet)])
def test_full_size_denoiser_has_published_names(name: str, model_class: type) -> None:
    with init_empty_weights():
        model = model_class.from_config(json.loads((MANIFESTS / f"{name}_config.json").read_text()))
    published = {key: tensor.shape for key, tensor in meta_tensors(name).items()}
    assert {key: tensor.shape for key, tensor in model.state_dict().items()} == published


def test_full_size_tagger_maps_every_used_tensor_both_ways() -> None:
    ram, dape = meta_tensors("ram"), meta_tensors("dape_lora")
    tagger = build_tagger(ram, dape, ["tag"] * 4585, [0.5] * 4585, (Path("ram"), Path("dape")))
    back = split_tied(to_published(tagger.state_dict()), tagger.config.lora_rank)
    used = {name: tensor for name, tensor in (ram | dape).items() if not is_unused(name)}
    tied = {name: tensor for name, tensor in dape.items() if name in back and name not in used}
    assert all(".crossattention.self." in name for name in tied)
    assert {name: t.shape for name, t in back.items()} == {name: t.shape for name, t in (used | tied).items()}
    assert tagger.config.depths == [2, 2, 18, 2]
    assert tagger.config.num_heads == [6, 12, 24, 48]
    assert tagger.config.image_size == 384


def test_tied_factors_add_up() -> None:
    """Stacked factors make the sum of both products: the weight RAM ties gets both."""
    name = "encoder.layer.0.crossattention.self.key.lora_"
    dape = {
        f"{part}.{name}{side}": torch.randn(8, 5) if side == "A" else torch.randn(7, 8)
        for part in ("tagging_head", "tag_encoder")
        for side in "AB"
    }
    folded = fold_tied(dape)
    product = folded[f"tagging_head.{name}B"] @ folded[f"tagging_head.{name}A"]
    wanted = sum(dape[f"{part}.{name}B"] @ dape[f"{part}.{name}A"] for part in ("tagging_head", "tag_encoder"))
    assert torch.allclose(product, wanted, atol=1e-5)
    back = split_tied(folded, 8)
    assert back.keys() == dape.keys()
    assert all(torch.equal(back[key], dape[key]) for key in dape)


def test_way_back_gives_the_published_files(
    seesr: Callable[..., Outcome], reference: Reference, tmp_path: Path
) -> None:
    assert seesr("convert", "--to-upstream", reference.model, tmp_path / "back").code == 0
    for part in ("seesr/unet", "seesr/controlnet", "base/vae", "base/text_encoder"):
        before = read_state_dict(find_weights(reference.files / part))
        after = read_state_dict(find_weights(tmp_path / "back" / part))
        assert {k for k in before if not k.endswith("position_ids")} == after.keys()
        assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
    for name in ("ram_swin_large_14m.pth", "DAPE.pth"):
        before, after = read_state_dict(reference.files / name), read_state_dict(tmp_path / "back" / name)
        assert {key for key in before if not is_unused(key)} <= after.keys()
        assert all(torch.equal(before[key], tensor) for key, tensor in after.items())
    again = read_state_dict(tmp_path / "back" / "base/text_encoder/model.safetensors")
    assert all(name.startswith("text_model.") for name in again)
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / "back/base/tokenizer" / name).read_bytes() == (
            reference.files / "base/tokenizer" / name
        ).read_bytes()
    extractor = json.loads((tmp_path / "back/base/feature_extractor/preprocessor_config.json").read_text())
    assert extractor["image_processor_type"] == "CLIPImageProcessor"
    other = Reference(tmp_path / "back", tmp_path / "again")
    assert seesr("convert", *other.convert_options(), other.model).code == 0


def small_dape(folder: Path, rank: int, alpha: float, head_rank: int | None) -> Tagger:
    """A tagger as stage 1 saves it, with factors that are not zero."""
    swin = {"image_size": 64, "embed_dim": 8, "depths": [1] * 4, "num_heads": [1] * 4, "window_size": 2}
    head = {"label_dim": 8, "head_dim": 16, "head_feed_forward_dim": 16, "head_layers": 2}
    lora = {"lora_rank": rank, "lora_alpha": alpha, "head_lora_rank": head_rank}
    tagger = Tagger(tags=["cat", "dog"], thresholds=[0.5, 0.6], **swin, **head, **lora).eval()
    for layer in lora_layers(tagger).values():
        torch.nn.init.normal_(layer.lora_B)
    tagger.save_pretrained(folder)
    return tagger


@pytest.mark.parametrize(("rank", "alpha", "head_rank"), [(8, 1.0, None), (4, 6.0, None), (8, 2.0, 12)])
def test_a_bare_tagger_becomes_dape_of_the_same_output(
    seesr: Callable[..., Outcome], tmp_path: Path, rank: int, alpha: float, head_rank: int | None
) -> None:
    """Whatever its alpha and ranks, the files read back as rank 8 and alpha 1 see the same."""
    tagger = small_dape(tmp_path / "stage1", rank, alpha, head_rank)
    outcome = seesr("convert", "--to-upstream", tmp_path / "stage1", tmp_path / "back")
    assert outcome.code == 0, outcome.err
    names = ("ram_swin_large_14m.pth", "DAPE.pth", "ram_tag_list.txt", "ram_tag_list_threshold.txt")
    again = read_tagger(*(tmp_path / "back" / name for name in names)).eval()
    assert (again.config.lora_rank, again.config.lora_alpha) == (8, 1.0)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad(), plain_ram(again):
        plain = again(x).image_embeds
    with torch.no_grad():
        wanted, found = tagger(x), again(x)
    torch.testing.assert_close(found.image_embeds, wanted.image_embeds, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.logits, wanted.logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain, wanted.image_embeds, atol=1e-3)


def test_what_the_published_code_cannot_read_is_refused(seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    small_dape(tmp_path / "wide", 12, 1.0, None)
    for model, words in (
        ("mini", "vae is Autoencoder, tagger is ConvTagger, which the published code cannot read"),
        (ROOT / "src/seesr/assets/mini/tagger", "this is ConvTagger, which the published code cannot read"),
        (tmp_path / "wide", "its LoRA has rank 12, and the published code reads 8"),
    ):
        outcome = seesr("convert", "--to-upstream", model, tmp_path / "back")
        assert outcome.code == 2
        assert words in outcome.err
        assert not (tmp_path / "back").exists()


def test_turbo_takes_the_base_unet_and_seesr_image_attention(
    seesr: Callable[..., Outcome], tiny: Reference, tmp_path: Path
) -> None:
    published = load_file(tiny.files / "seesr/unet/diffusion_pytorch_model.safetensors")
    base = tmp_path / "base"
    shutil.copytree(tiny.files / "base", base)
    (base / "unet").mkdir()
    config = json.loads((tiny.files / "seesr/unet/config.json").read_text())
    del config["use_image_cross_attention"]
    (base / "unet/config.json").write_text(json.dumps(config))
    plain = {name: tensor + 1 for name, tensor in published.items() if ".image_attentions." not in name}
    save_file(plain, base / "unet/diffusion_pytorch_model.safetensors")
    options = tiny.convert_options()
    options[options.index("--base") + 1] = str(base)
    assert seesr("convert", *options, "--turbo", tmp_path / "turbo").code == 0
    made = load_file(tmp_path / "turbo/unet/diffusion_pytorch_model.safetensors")
    for name, tensor in published.items():
        assert torch.equal(made[name], tensor if ".image_attentions." in name else tensor + 1)
    settings = SeeSRPipeline.from_pretrained(str(tmp_path / "turbo")).profile()
    assert (settings.num_inference_steps, settings.guidance_scale, settings.latent_tile_overlap) == (2, 1.0, 32)


def test_old_checkpoint_habits(seesr: Callable[..., Outcome], tiny: Reference, tmp_path: Path) -> None:
    """PNDM schedule without clip_sample, the tag head under its older name, half precision on request."""
    files = tmp_path / "files"
    shutil.copytree(tiny.files, files)
    schedule = json.loads((files / "base/scheduler/scheduler_config.json").read_text())
    old = {key: schedule[key] for key in ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps")}
    old |= {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1}
    (files / "base/scheduler/scheduler_config.json").write_text(json.dumps(old))
    ram = torch.load(files / "ram_swin_large_14m.pth", weights_only=True)["model"]
    ram = {name.replace("tagging_head.", "vision_multi."): tensor for name, tensor in ram.items()}
    torch.save(ram, files / "ram_swin_large_14m.pth")
    other = Reference(files, tmp_path / "model")
    assert seesr("convert", *other.convert_options(), "--dtype", "bf16", other.model).code == 0
    scheduler = SeeSRPipeline.from_pretrained(str(other.model)).scheduler
    assert type(scheduler).__name__ == "DDPMScheduler"
    assert not scheduler.config.clip_sample
    weights = load_file(other.model / "tagger/diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    original = load_file(tiny.model / "tagger/diffusion_pytorch_model.safetensors")
    assert all(torch.equal(weights[name], tensor.bfloat16()) for name, tensor in original.items())


class Malicious:
    def __reduce__(self) -> tuple:
        return (print, ("code in a checkpoint was run",))


def _drop(tensors: dict, name: str) -> dict:
    return {key: tensor for key, tensor in tensors.items() if key != name}


NAME = "mid_block.image_attentions.0.proj_out.weight"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda t: _drop(t, NAME), ["lacks", NAME]),
        (lambda t: t | {"spare.weight": torch.zeros(1)}, ["unexpected", "spare.weight"]),
        (lambda t: t | {NAME: torch.zeros(3, 3)}, [NAME, "(3, 3)"]),
        (lambda t: t | {NAME: torch.full_like(t[NAME], float("nan"))}, [NAME, "NaN"]),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(
    seesr: Callable[..., Outcome], tmp_path: Path, damage: Callable, words: list[str]
) -> None:
    files = tmp_path / "files"
    shutil.copytree(DATA / "upstream_tiny", files)
    weights = files / "seesr/unet/diffusion_pytorch_model.safetensors"
    save_file(damage(load_file(weights)), weights)
    assert_refused(seesr("convert", *Reference(files, files).convert_options(), tmp_path / "model"), *words)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_wrong_and_broken_files_are_named(seesr: Callable[..., Outcome], tmp_path: Path) -> None:
    reference = Reference(DATA / "upstream_tiny", tmp_path / "model")
    half = tmp_path / "half.pth"
    half.write_bytes((reference.files / "DAPE.pth").read_bytes()[:60_000])
    evil = tmp_path / "evil.pth"
    evil.write_bytes(pickle.dumps(Malicious()))
    dape, ram = reference.files / "DAPE.pth", reference.files / "ram_swin_large_14m.pth"
    for option, path, words in (
        ("--dape", half, ["half.pth", "cut short"]),
        ("--ram", evil, ["evil.pth", "holds more than numbers"]),
        ("--ram", dape, ["DAPE.pth", "as a RAM checkpoint"]),
        ("--dape", ram, ["ram_swin_large_14m.pth", "as a DAPE checkpoint"]),
        ("--seesr", reference.files / "base", ["unet"]),
        ("--tags", reference.files / "ram_tag_list_threshold.txt", ["not of tags"]),
        ("--thresholds", reference.files / "ram_tag_list.txt", ["not a list of numbers"]),
        ("--base", tmp_path / "nowhere", ["nowhere"]),
    ):
        options = reference.convert_options()
        options[options.index(option) + 1] = str(path)
        outcome = seesr("convert", *options, reference.model)
        assert_refused(outcome, *words)
        assert "code in a checkpoint was run" not in outcome.out


def assert_refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err
