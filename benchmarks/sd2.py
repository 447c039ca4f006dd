"""What the full-size model costs: the `sd2` networks with random weights, restoring a photo; no weights are needed.

    python benchmarks/sd2.py [--size 512] [--steps 1] [--only plain,unguided] [--dtype bf16] [--device auto]

Prints one row of a Markdown table as soon as each case is done, and on standard error how far it is. A case restores a
photo of SIZE/4 x SIZE/4 pixels to SIZE x SIZE with the paper's settings, but for what its name says and for the number
of steps. `step` is the quickest of the STEPS denoising steps; `50 steps` is extrapolated from it and from the measured
stages around the steps. `memory` is the peak of the process (CPU) or of its tensors (GPU), weights included. On the CPU
with one thread, seconds are those of the processor, so that other work on the machine counts less; else they are those
of the clock.

Networks: Stable Diffusion 2-base's VAE, text tower and UNet, SeeSR's image cross-attention and ControlNet, RAM's Swin-L
with 4585 tags; 2.25 G parameters, 4.5 GB in 16 bits.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from PIL import Image
from torch import nn

from seesr import SeeSRPipeline
from seesr.devices import DTYPES, choose_device, choose_dtype
from seesr.models.enlarger import Enlarger
from seesr.models.full_size import full_size_diffusion, full_size_tagger
from seesr.models.lora import lora_layers
from seesr.restoration.outputs import Progress

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "astronaut.jpg"
PAPER_STEPS = 50

SCHEDULER = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("the paper's settings", {}),
    "unguided": ("guidance off", {"guidance_scale": 1.0}),
    "tiles": ("guidance off, latent tiles of 48, one at a time", {"guidance_scale": 1.0, "latent_tile_size": 48}),
    "batch": (
        "guidance off, latent tiles of 48, four at a time",
        {"guidance_scale": 1.0, "latent_tile_size": 48, "tile_batch_size": 4},
    ),
    "contiguous": ("guidance off, without channels_last", {"guidance_scale": 1.0}),
    "unfused": ("guidance off, attention not fused", {"guidance_scale": 1.0}),
    "sliced": ("guidance off, attention in slices", {"guidance_scale": 1.0}),
    "enlarger": ("guidance off, with Real-ESRGAN's enlarger", {"guidance_scale": 1.0}),
}


def build(dtype: torch.dtype, device: torch.device) -> SeeSRPipeline:
    """The full-size pipeline. It has no tokenizer: prompts are random tokens."""
    with torch.device("meta"):
        parts = full_size_diffusion()
    for part in parts.values():
        _fill(part, dtype, device)
    tagger = full_size_tagger()
    parts["tagger"] = nn.Module.to(tagger, device, torch.float32).eval()
    assert lora_layers(tagger)
    pipeline = SeeSRPipeline(**parts, scheduler=DDPMScheduler(**SCHEDULER))
    _layout(pipeline, torch.channels_last)
    text_encoder = parts["text_encoder"]

    def encode_prompts(texts: list[str]) -> torch.Tensor:
        tokens = torch.randint(0, 49000, (len(texts), 77), generator=torch.Generator().manual_seed(0))
        return text_encoder(tokens.to(device))[0]

    pipeline.encode_prompts = encode_prompts  # type: ignore[method-assign]
    return pipeline


def _fill(network: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Give a network made on the meta device small random weights; ones to what scales after a normalisation."""
    noise = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)).mul_(0.02).to(device, dtype)
    for module in network.modules():
        norm = isinstance(module, nn.GroupNorm | nn.LayerNorm)
        for name, parameter in list(module.named_parameters(recurse=False)):
            if norm and name == "weight":
                values = torch.ones(parameter.shape, dtype=dtype, device=device)
            else:
                repeats = -(-parameter.numel() // noise.numel())
                values = noise.repeat(repeats)[: parameter.numel()].view(parameter.shape)
            setattr(module, name, nn.Parameter(values.clone(), requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                assert name == "position_ids", name
                module.register_buffer(name, torch.arange(buffer.shape[-1], device=device)[None], persistent=False)
    network.eval()


def _layout(pipeline: SeeSRPipeline, memory_format: torch.memory_format) -> None:
    for part in (pipeline.vae, pipeline.unet, pipeline.controlnet):
        part.to(memory_format=memory_format)


class Meter:
    """Seconds and peak memory on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.processor_time = device.type == "cpu" and torch.get_num_threads() == 1

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.process_time() if self.processor_time else time.perf_counter()

    def forget_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is the current size again

    def peak(self) -> float:
        """GiB."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**30
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**20


def switch(pipeline: SeeSRPipeline, case: str, device: torch.device, dtype: torch.dtype) -> None:
    """Bring the pipeline into the state that a case wants, whatever the last one was."""
    pipeline.enlarger = Enlarger().to(device, dtype).eval() if case == "enlarger" else None
    _layout(pipeline, torch.contiguous_format if case == "contiguous" else torch.channels_last)
    for network in (pipeline.unet, pipeline.controlnet):
        network.set_attn_processor(AttnProcessor() if case == "unfused" else AttnProcessor2_0())
        if case == "sliced":
            network.set_attention_slice("auto")


def measure(pipeline: SeeSRPipeline, case: str, size: int, steps: int, meter: Meter) -> Iterator[str]:
    """The columns of a case's row."""
    photo = Image.open(EXAMPLE).convert("RGB").resize((size // 4, size // 4), Image.Resampling.BICUBIC)
    label, settings = CASES[case]
    marks: dict[str, list[float]] = {}

    def callback(event: Progress) -> None:
        if event.stage != "denoise" or event.latents is not None:  # whole steps only
            marks.setdefault(event.stage, []).append(meter.now())
            print(f"{event.stage}: {marks[event.stage][-1] - start:.1f} s, {meter.peak():.1f} GiB", file=sys.stderr)

    meter.forget_peak()
    start = meter.now()
    pipeline(photo, profile="paper", process_size=size, num_inference_steps=steps, callback=callback, **settings)
    end = meter.now()
    began, ticks = marks["encode"][-1], marks["denoise"]
    each = [after - before for before, after in zip([began, *ticks], ticks)]
    around = (began - start) + (end - ticks[-1])
    yield f"{label}"
    yield f"{size}"
    yield f"{marks['tags'][-1] - start:.1f}"
    yield f"{min(each):.1f}"
    yield f"{end - ticks[-1]:.1f}"
    yield f"{around + PAPER_STEPS * min(each):.0f}"
    yield f"{meter.peak():.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="side of the result, in pixels")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--only", default=",".join(CASES), help=f"some of {', '.join(CASES)}")
    parser.add_argument("--dtype", default="auto", help=f"auto, {', '.join(DTYPES)}")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()

    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    meter = Meter(device)
    clock = "processor" if meter.processor_time else "clock"
    start = time.perf_counter()
    pipeline = build(dtype, device)
    parameters = sum(p.numel() for part in pipeline.components.values() if part for p in _parameters(part))
    print(
        f"{parameters / 1e9:.2f} G parameters in {dtype}, {torch.get_num_threads()} threads on {device}, "
        f"seconds of the {clock}; built in {time.perf_counter() - start:.0f} s\n"
    )
    print("| case | size | tags | step | decode | 50 steps | memory, GiB |", "|---|---|---|---|---|---|---|", sep="\n")
    for case in options.only.split(","):
        switch(pipeline, case, device, dtype)
        print("|", " | ".join(measure(pipeline, case, options.size, options.steps, meter)), "|", flush=True)


def _parameters(part: Any) -> Iterator[nn.Parameter]:
    return part.parameters() if isinstance(part, nn.Module) else iter(())


if __name__ == "__main__":
    main()
