"""Where the time of the full-size model goes: operations and bytes of each part, the least they can take, and more.

    python benchmarks/ledger.py [--size 512] [--dtype auto] [--only parts,switches] [--tiny]

Parts: operations are counted on the meta device, a multiply-add as two; bytes are weights and what layers read and
write, without the inside of attention. `floor` is the longer of operations at the rate of a large matrix product and
bytes at the rate of a copy, both measured here first. RCA is part of the denoisers' levels, and counted by itself too.
Switches: seconds of one step with guidance, written as the published code writes it, and with one thing changed after
the other; `apart` is the largest difference of the prediction to the first row, relative to the prediction's largest
value. Random weights; none are needed.

`--tiny` takes networks of a few channels, to try the script. On a GPU (`--device cuda`) the same tables come out.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from sd2 import build
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from seesr.checkpoints.meta import as_meta
from seesr.devices import choose_device, choose_dtype
from seesr.restoration.settings import Settings
from seesr.restoration.tile_predictor import Context, TilePredictor
from seesr.tiling.geometry import LATENT_FACTOR, Tile

Call = Callable[[], Any]


def seconds(run: Call, device: torch.device, rounds: int = 2) -> float:
    """The quickest of some runs."""
    best = float("inf")
    for _ in range(rounds):
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine_rates(device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """Operations a second of a large matrix product, bytes a second of a copy (read and written)."""
    side = 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    source = torch.empty(1 << 28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    source.fill_(1)
    product = seconds(lambda: a @ b, device, 5)
    copying = seconds(lambda: target.copy_(source), device, 5)
    return 2 * side**3 / product, 2 * source.nbytes / copying


# ------------------------------------------------------------------------------------------------------------- parts


class Traffic:
    """Bytes that the leaves of networks read and write, and seconds that modules take, by name."""

    def __init__(self, timed: dict[str, nn.Module], leaves_of: dict[str, nn.Module], device: torch.device) -> None:
        self.bytes = dict.fromkeys(leaves_of, 0)
        self.seconds = dict.fromkeys(timed, 0.0)
        self.hooks: list[Any] = []
        for name, network in leaves_of.items():
            for leaf in (module for module in network.modules() if not [*module.children()]):
                self.hooks.append(leaf.register_forward_hook(self._count(name)))
        for name, module in timed.items():
            self.hooks.append(module.register_forward_pre_hook(self._time(name, -1, device)))
            self.hooks.append(module.register_forward_hook(self._time(name, 1, device)))

    def _count(self, name: str) -> Callable[..., None]:
        def hook(leaf: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            tensors = [value for value in (*inputs, output) if isinstance(value, Tensor)]
            self.bytes[name] += sum(value.nbytes for value in (*tensors, *leaf.parameters(recurse=False)))

        return hook

    def _time(self, name: str, sign: int, device: torch.device) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            _wait(device)
            self.seconds[name] += sign * time.perf_counter()

        return hook

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()


def levels_of(denoiser: Any) -> dict[str, nn.Module]:
    """The blocks of a UNet or ControlNet by name."""
    levels = {f"down {number}": block for number, block in enumerate(denoiser.down_blocks)}
    levels["middle"] = denoiser.mid_block
    return levels | {f"up {number}": block for number, block in enumerate(getattr(denoiser, "up_blocks", []))}


def image_blocks_of(denoiser: nn.Module) -> list[nn.Module]:
    """RCA's blocks."""
    lists = [module for name, module in denoiser.named_modules() if name.endswith("image_attentions")]
    return [block for blocks in lists for block in blocks.children()]


def calls_of(networks: dict[str, Any], size: int, dtype: torch.dtype, device: torch.device) -> dict[str, Call]:
    """Each part of a restoration, run once; the denoisers with guidance, for one tile of the whole picture."""
    config = networks["unet"].config
    side, width, embed = size // LATENT_FACTOR, config.cross_attention_dim, config.image_embed_dim
    kind = {"dtype": dtype, "device": device}
    latents = torch.zeros(2, 4, side, side, **kind)
    picture, words = torch.zeros(1, 3, size, size, **kind), torch.zeros(2, 77, width, **kind)
    seen = {"image_embeds": torch.zeros(2, 145, embed, **kind)}
    tagger = networks["tagger"]
    pixels = torch.zeros(1, 3, tagger.config.image_size, tagger.config.image_size, device=device, dtype=tagger.dtype)
    tokens = torch.zeros(2, 77, dtype=torch.long, device=device)
    residuals: list[Any] = []

    def control() -> None:
        residuals[:] = networks["controlnet"](
            latents, 1, words, picture.expand(2, -1, -1, -1), cross_attention_kwargs=seen, return_dict=False
        )

    def predict() -> None:
        down, mid = residuals
        given = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        networks["unet"](latents, 1, words, cross_attention_kwargs=seen, **given)

    return {
        "tagger": lambda: tagger(pixels),
        "text": lambda: networks["text_encoder"](tokens),
        "encoder": lambda: networks["vae"].encode(picture),
        "ControlNet": control,
        "UNet": predict,
        "decoder": lambda: networks["vae"].decode(latents[:1]),
    }


@torch.inference_mode()
def parts(networks: dict[str, Any], size: int, dtype: torch.dtype, device: torch.device) -> Iterator[str]:
    """The table of the parts, row by row."""
    matrix, copied = machine_rates(device, dtype)
    yield f"Matrix product {matrix / 1e9:.0f} G operations a second, copy {copied / 1e9:.1f} GB a second, {dtype}.\n"
    yield "| part | G operations | GB | floor, s | s | times the floor |\n|---|---|---|---|---|---|"
    blank = {name: as_meta(network, network.dtype) for name, network in _meta_copies(networks).items()}
    counted = calls_of(blank, size, dtype, torch.device("meta"))
    for name, run in calls_of(networks, size, dtype, device).items():
        operations = _operations(counted[name])
        denoiser = {"ControlNet": networks["controlnet"], "UNet": networks["unet"]}.get(name)
        root = denoiser or {"tagger": networks["tagger"], "text": networks["text_encoder"]}.get(name, networks["vae"])
        levels = levels_of(denoiser) if denoiser is not None else {}
        run()
        traffic = Traffic(levels, {name: root} | levels, device)
        took = seconds(run, device, 1)
        traffic.remove()
        rows = [(name, operations, traffic.bytes[name], took)]
        if denoiser is not None:
            meta_network = blank["controlnet" if name == "ControlNet" else "unet"]
            by_level = _operations_by_module(counted[name], levels_of(meta_network))
            rows += [(f"{name} {lv}", by_level[lv], traffic.bytes[lv], traffic.seconds[lv]) for lv in levels]
            image, image_meta = image_blocks_of(denoiser), image_blocks_of(meta_network)
            traffic = Traffic(
                {str(i): block for i, block in enumerate(image)}, {str(i): b for i, b in enumerate(image)}, device
            )
            run()
            traffic.remove()
            share = _operations_by_module(counted[name], {str(i): block for i, block in enumerate(image_meta)})
            totals = sum(share.values()), sum(traffic.bytes.values()), sum(traffic.seconds.values())
            rows.append((f"{name} RCA", *totals))
        for label, ops, moved, spent in rows:
            floor = max(ops / matrix, moved / copied)
            yield f"| {label} | {ops / 1e9:.0f} | {moved / 1e9:.2f} | {floor:.2f} | {spent:.2f} | {spent / floor:.1f} |"


def _meta_copies(networks: dict[str, Any]) -> dict[str, Any]:
    with torch.no_grad():
        return {name: copy.deepcopy(network).to("meta") for name, network in networks.items()}


def _operations(run: Call) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def _operations_by_module(run: Call, modules: dict[str, nn.Module]) -> dict[str, float]:
    """Operations of each of some modules, on the meta device."""
    found = dict.fromkeys(modules, 0.0)
    with ExitStack() as stack:
        counter = stack.enter_context(FlopCounterMode(display=False))
        for name, module in modules.items():

            def count(*_: Any, name: str = name, sign: int = 1) -> None:
                found[name] += sign * counter.get_total_flops()

            stack.callback(module.register_forward_pre_hook(partial(count, name=name, sign=-1)).remove)
            stack.callback(module.register_forward_hook(partial(count, name=name)).remove)
        run()
    return found


# ---------------------------------------------------------------------------------------------------------- switches


def plain_step(networks: dict[str, Any], inputs: dict[str, Any]) -> Tensor:
    """One guided prediction as the published loop makes it: both prompts in one batch, everything computed afresh."""
    latents = torch.cat([inputs["latents"]] * 2)
    seen = {"image_embeds": torch.cat([inputs["image"]] * 2)}
    down, mid = networks["controlnet"](
        latents,
        inputs["t"],
        inputs["text"],
        torch.cat([inputs["picture"]] * 2),
        cross_attention_kwargs=seen,
        return_dict=False,
    )
    given = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
    prediction: Tensor = networks["unet"](
        latents, inputs["t"], inputs["text"], cross_attention_kwargs=seen, **given
    ).sample
    return prediction


@contextmanager
def predictor_of(networks: dict[str, Any], inputs: dict[str, Any], **settings: Any) -> Iterator[Call]:
    """Our own step: contexts and condition remembered; with `reuse`, the mean over as many steps is for the caller."""
    side = inputs["latents"].shape[-1]
    tile = Tile(0, 0, side, side)
    contexts = [Context(inputs["text"], inputs["image"])]
    condition = lambda tile: inputs["picture"]  # noqa: E731
    denoisers = networks["unet"], networks["controlnet"]
    with TilePredictor(*denoisers, condition, [tile], contexts, Settings(**settings), 1 << 32) as predictor:
        step = 0

        def predict() -> Tensor:
            nonlocal step
            predictor.begin(step, True)
            step += 1
            return predictor([tile], inputs["latents"], inputs["t"], True)[0]

        yield predict


@torch.inference_mode()
def switches(networks: dict[str, Any], size: int, device: torch.device, dtypes: list[torch.dtype]) -> Iterator[str]:
    """The table of the switches, row by row."""
    torch.manual_seed(0)
    side, unet = size // LATENT_FACTOR, networks["unet"]
    drawn = {
        "latents": torch.randn(1, 4, side, side),
        "picture": torch.rand(1, 3, size, size),
        "text": torch.randn(2, 77, unet.config.cross_attention_dim),
        "image": torch.randn(1, 145, unet.config.image_embed_dim),
    }
    yield "| step, 1 thing changed after the other | s | gain | gain in all | apart |\n|---|---|---|---|---|"
    first: Tensor | None = None
    times: list[float] = []

    def row(name: str, took: float, prediction: Tensor) -> str:
        nonlocal first
        first = prediction.float() if first is None else first
        apart = float((prediction.float() - first).abs().max() / first.abs().max())
        times.append(took)
        gains = f"{times[-2] / took:.2f} | {times[0] / took:.2f}" if len(times) > 1 else "1 | 1"
        return f"| {name} | {took:.2f} | {gains} | {apart:.2g} |"

    for dtype in dtypes:
        for network in (networks["unet"], networks["controlnet"]):
            network.to(dtype)
        inputs: dict[str, Any] = {name: value.to(device, dtype) for name, value in drawn.items()}
        inputs["t"] = torch.tensor(500, device=device)
        name = str(dtype).removeprefix("torch.")
        run = partial(plain_step, networks, inputs)
        if dtype == dtypes[0]:
            for network in (networks["unet"], networks["controlnet"]):
                network.to(memory_format=torch.contiguous_format)
            yield row(f"as published, {name}", seconds(run, device), run())
            for network in (networks["unet"], networks["controlnet"]):
                network.to(memory_format=torch.channels_last)
            yield row("channels_last", seconds(run, device), run())
        else:
            yield row(name, seconds(run, device), run())
        with predictor_of(networks, inputs) as predict:
            predict()
            yield row(f"contexts and condition remembered, {name}", seconds(predict, device), predict())
    with predictor_of(networks, inputs, reuse=2) as predict:
        pair = lambda: (predict(), predict())[1]  # noqa: E731
        yield row("`reuse` 2, mean of two steps", seconds(pair, device, 1) / 2, predict())


def tiny_networks(device: torch.device) -> dict[str, Any]:
    """Networks of few channels."""
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel

    from seesr.models.semantic_attention import SemanticControlNet, SemanticUNet
    from seesr.models.tagger import Tagger

    small = {"block_out_channels": (32, 64, 64, 64), "attention_head_dim": 4, "cross_attention_dim": 32}
    down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    vae = AutoencoderKL(block_out_channels=(32, 32, 32, 32), down_block_types=down, up_block_types=up)
    text = CLIPTextModel(
        CLIPTextConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    )
    networks = {
        "vae": vae,
        "text_encoder": text,
        "unet": SemanticUNet(**small),
        "controlnet": SemanticControlNet(**small),
    }
    tagger = Tagger(tags=["a"], thresholds=[1.0], lora_rank=8, head_lora_rank=16)
    return {name: network.to(device).eval() for name, network in (networks | {"tagger": tagger}).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="side of the result, in pixels")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", default="parts,switches")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    if options.tiny:
        networks = tiny_networks(device)
        for name in ("vae", "text_encoder", "unet", "controlnet"):
            networks[name].to(dtype)
    else:
        pipeline = build(dtype, device)
        networks = {n: getattr(pipeline, n) for n in ("vae", "text_encoder", "unet", "controlnet", "tagger")}
    if "parts" in options.only:
        for line in parts(networks, options.size, dtype, device):
            print(line, flush=True)
    if "switches" in options.only:
        for line in switches(networks, options.size, device, list(dict.fromkeys([torch.float32, dtype]))):
            print(line, flush=True)


if __name__ == "__main__":
    main()
