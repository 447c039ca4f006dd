"""What a restoration needs of its networks: the protocols that full-size and small models both keep."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from seesr.restoration.prompts import Tokenizer

__all__ = ["VAE", "ControlNet", "Denoiser", "NetworkLike", "Scheduler", "TextEncoder", "Tokenizer"]


class NetworkLike(Protocol):
    """A `torch.nn.Module` that knows its config, its number format and its device."""

    config: Any

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def to(self, *arguments: Any, **options: Any) -> Any: ...


class VAE(NetworkLike, Protocol):
    """Pictures, (B, 3, 8h, 8w) in [-1, 1], to latents, (B, c, h, w), and back; config: `scaling_factor` and so on."""

    def encode(self, x: Tensor) -> Any: ...

    def decode(self, z: Tensor) -> Any: ...


class Denoiser(NetworkLike, Protocol):
    """The UNet: (latents, timestep, prompt, residuals of the ControlNet) → (prediction,)."""

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        *,
        cross_attention_kwargs: dict[str, Any],
        down_block_additional_residuals: Sequence[Tensor],
        mid_block_additional_residual: Tensor,
        return_dict: bool,
    ) -> Any: ...


class ControlNet(NetworkLike, Protocol):
    """(latents, timestep, prompt, condition) → residuals for the UNet's down blocks and for its middle."""

    controlnet_cond_embedding: Any

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        controlnet_cond: Tensor,
        *,
        conditioning_scale: float,
        cross_attention_kwargs: dict[str, Any],
        return_dict: bool,
    ) -> Any: ...


class TextEncoder(NetworkLike, Protocol):
    """(B, 77) tokens → (last hidden states, (B, 77, d), …); a mask of four axes takes the place of the causal one."""

    def __call__(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any: ...


class Scheduler(Protocol):
    """What is needed of a diffusers scheduler."""

    config: Any
    timesteps: Tensor
    alphas_cumprod: Tensor

    @property
    def init_noise_sigma(self) -> Any: ...

    def set_timesteps(self, *arguments: Any, **options: Any) -> None: ...

    def scale_model_input(self, sample: Tensor, timestep: Any) -> Tensor: ...

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **options: Any) -> Any: ...
