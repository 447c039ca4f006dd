"""The paper's networks at their full size, without weights: for what they need, told before anything is fetched.

Stable Diffusion 2-base's VAE, text tower and UNet, SeeSR's image cross-attention and ControlNet, RAM's Swin-L with
DAPE's LoRA; 2.25 G parameters. SD-Turbo's networks have the same sizes.
"""

from typing import Any

from diffusers import AutoencoderKL
from transformers import CLIPTextConfig, CLIPTextModel

from seesr.models.semantic_attention import SemanticControlNet, SemanticUNet
from seesr.models.tagger import Tagger

TAGS = 4585

_DENOISER: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
_TEXT: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
}


def full_size_diffusion() -> dict[str, Any]:
    """VAE, text_encoder, UNet and ControlNet, wherever and however the caller has modules made."""
    return {
        "vae": AutoencoderKL(**_VAE),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**_TEXT)),
        "unet": SemanticUNet(**_DENOISER),
        "controlnet": SemanticControlNet(**_DENOISER),
    }


def full_size_tagger() -> Tagger:
    """RAM with DAPE; no tag is ever on."""
    tagger: Tagger = Tagger(
        tags=[f"tag {i}" for i in range(TAGS)], thresholds=[1.0] * TAGS, lora_rank=8, head_lora_rank=16
    )
    return tagger
