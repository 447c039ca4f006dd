"""Memory and arithmetic of the paper's training at full size, computed without a GPU and without weights.

    python benchmarks/training_memory.py [--batch 1 2 6] [--stage seesr dape]

The networks are built with the published shapes and run on fake tensors (PyTorch's `FakeTensorMode`): every operation
works out its shapes and allocates nothing. `Alive` follows which results would be held, `FlopCounterMode` counts what
would be multiplied. Weights are in fp32, the arithmetic in bfloat16 by autocast, as in `precision: bf16`. Real GPUs
need more: the allocator's gaps, the libraries' workspace, and DDP's buckets (as much as the gradients).
"""

import argparse
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary
from transformers import CLIPTextConfig, CLIPTextModel

from seesr.models.dape import add_lora
from seesr.models.lora import lora_layers
from seesr.models.semantic_attention import SemanticUNet, image_attention_parameters
from seesr.models.tagger import Tagger
from seesr.training.stages.seesr import controlnet_of

MANIFESTS = Path(__file__).parents[1] / "tests" / "data" / "manifests"
CROP = 512


class Alive(TorchDispatchMode):
    """Bytes of all storages that were seen and still live, and the most there were at once."""

    def __init__(self, held: list[Tensor]) -> None:
        super().__init__()
        self.known = WeakIdKeyDictionary()
        self.now = self.peak = 0
        for tensor in held:
            self._see(tensor)

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self.known:
            self.known[storage] = True
            self._count(storage.nbytes())
            weakref.finalize(storage, self._count, -storage.nbytes())

    def _count(self, size: int) -> None:
        self.now += size
        self.peak = max(self.peak, self.now)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            if isinstance(result, Tensor):
                self._see(result)
        return results


def stage_seesr(checkpointing: bool) -> tuple[list[nn.Module], Callable[[int], Tensor]]:
    """UNet with RCA and ControlNet; the loss of a batch. The frozen VAE, text tower and taggers are not in it."""
    config = json.loads((MANIFESTS / "unet_config.json").read_text())
    unet = SemanticUNet.from_config(config | {"image_embed_dim": 512, "use_image_cross_attention": True})
    controlnet = controlnet_of(unet)
    unet.requires_grad_(False)
    for parameter in image_attention_parameters(unet).values():
        parameter.requires_grad_(True)
    if checkpointing:
        unet.enable_gradient_checkpointing()
        controlnet.enable_gradient_checkpointing()

    def loss(batch: int) -> Tensor:
        noisy, t = torch.randn(batch, 4, CROP // 8, CROP // 8), torch.zeros(batch, dtype=torch.long)
        text, seen = torch.randn(batch, 77, 1024), {"image_embeds": torch.randn(batch, 145, 512)}
        photo = torch.rand(batch, 3, CROP, CROP)
        down, mid = controlnet(noisy, t, text, photo, cross_attention_kwargs=seen, return_dict=False)
        out = unet(noisy, t, text, None, None, None, seen, None, down, mid, return_dict=False)[0]
        return (out.float() - noisy).square().mean()

    return [unet.train(), controlnet.train()], loss


def stage_dape(checkpointing: bool) -> tuple[list[nn.Module], Callable[[int], Tensor]]:
    """RAM's Swin-L and tag head with LoRA of rank 8; the teacher's pass included."""
    tagger = Tagger(tags=[str(i) for i in range(4585)], thresholds=[0.5] * 4585)
    add_lora(tagger, 8, 8, 1 / 8)
    tagger.requires_grad_(False)
    for layer in lora_layers(tagger).values():
        layer.lora_A.requires_grad_(True)
        layer.lora_B.requires_grad_(True)
    if checkpointing:
        tagger.visual_encoder.gradient_checkpointing_enable({"use_reentrant": False})

    def loss(batch: int) -> Tensor:
        photo = torch.rand(batch, 3, 384, 384)
        with torch.no_grad():
            teacher = tagger(photo)
        student = tagger(photo)
        return (student.image_embeds - teacher.image_embeds).square().mean() + student.logits.float().mean()

    return [tagger.train()], loss


STAGES: dict[str, Any] = {"seesr": stage_seesr, "dape": stage_dape}


def measure(stage: str, batch: int, checkpointing: bool) -> tuple[float, float, float, float]:
    """Parameters and trained ones in millions, peak in GB without the frozen networks, TFLOP a sample."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        modules, loss = STAGES[stage](checkpointing)
        parameters = [p for module in modules for p in module.parameters()]
        trained = [p for p in parameters if p.requires_grad]
        moments = [torch.zeros_like(parameter) for parameter in trained for _ in range(2)]  # AdamW's
        with Alive([*parameters, *moments]) as alive, torch.autocast("cpu", torch.bfloat16):
            loss(batch).backward()
        for parameter in trained:
            parameter.grad = None
        with FlopCounterMode(display=False) as flops, torch.autocast("cpu", torch.bfloat16):
            loss(1).backward()
    count, learning = (sum(p.numel() for p in some) / 1e6 for some in (parameters, trained))
    return count, learning, alive.peak / 1e9, flops.get_total_flops() / 1e12


def frozen_flops() -> float:
    """TFLOP a sample of what stage 2 asks of its frozen networks: VAE encoder, text tower, RAM and DAPE."""
    with FakeTensorMode(), torch.no_grad():
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
        )
        width = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 23}
        text = CLIPTextModel(CLIPTextConfig(vocab_size=49408, max_position_embeddings=77, **width))
        tagger = Tagger(tags=[str(i) for i in range(4585)], thresholds=[0.5] * 4585)
        with FlopCounterMode(display=False) as flops, torch.autocast("cpu", torch.bfloat16):
            vae.encode(torch.rand(1, 3, CROP, CROP))
            text(torch.zeros(1, 77, dtype=torch.long))
            for _ in range(2):
                tagger(torch.rand(1, 3, 384, 384))
    return flops.get_total_flops() / 1e12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 2, 6])
    parser.add_argument("--stage", nargs="+", default=list(STAGES), choices=list(STAGES))
    arguments = parser.parse_args()
    print("stage    batch  checkpointing  peak GB  TFLOP/sample  parameters M  trained M")
    for stage in arguments.stage:
        for checkpointing in (False, True):
            for batch in arguments.batch:
                count, trained, peak, flops = measure(stage, batch, checkpointing)
                print(
                    f"{stage:<8}{batch:>6}{'yes' if checkpointing else 'no':>15}{peak:>9.1f}{flops:>14.2f}"
                    f"{count:>14.0f}{trained:>11.1f}",
                    flush=True,
                )
    if "seesr" in arguments.stage:
        print(f"frozen networks of stage 2: {frozen_flops():.2f} TFLOP a sample more")


if __name__ == "__main__":
    main()
