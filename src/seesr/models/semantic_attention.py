"""Representation cross-attention (RCA) on diffusers' UNet and ControlNet (SeeSR, section 3.3).

After each Transformer2D block that reads the text prompt stands a second one of the same width that reads the
representation embedding of the degraded photo. Nothing of diffusers is copied: a UNet block walks over its
`attentions`, so a list that hands out (text block, then image block) as one step is all the wiring there is. The
second blocks live in `image_attentions` beside `attentions`: the tensor names are those of the published checkpoints.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn

from seesr.models.int8 import Int8Storage
from seesr.models.word_masks import WordMasks

IMAGE_EMBED_DIM = 512
"""Width of the representation embedding in the published model."""


@dataclass(frozen=True)
class SemanticAttention:
    """One step of a UNet block: text cross-attention, then representation cross-attention."""

    text: nn.Module
    image: nn.Module

    def __call__(
        self,
        hidden_states: torch.Tensor,  # (B, C, h, w)
        encoder_hidden_states: torch.Tensor | None = None,  # (B, 77, text width)
        cross_attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor]:
        rest = dict(cross_attention_kwargs or {})
        image_embeds = rest.pop("image_embeds", None)  # (B, 145, 512)
        if image_embeds is None:
            raise ValueError("representation cross-attention needs cross_attention_kwargs={'image_embeds': (B, n, d)}")
        masks: WordMasks | None = rest.pop("word_masks", None)
        if masks is not None:
            height, width = hidden_states.shape[-2:]
            kwargs["encoder_attention_mask"] = masks.bias(height, width, hidden_states.dtype)  # (B, h * w, 77)
        hidden_states = self.text(
            hidden_states, encoder_hidden_states, cross_attention_kwargs=rest, return_dict=False, **kwargs
        )[0]
        seen: tuple[torch.Tensor] = self.image(hidden_states, image_embeds, return_dict=False)
        return seen


class PairedAttentions(nn.ModuleList):
    """A block's text transformers; iterating hands each out together with its image partner.

    The partners are registered once, as the block's `image_attentions`; here they are only referred to.
    """

    def __init__(self, text: nn.ModuleList, image: nn.ModuleList) -> None:
        super().__init__(text)
        self.__dict__["_image"] = image  # past nn.Module.__setattr__: not a child, so its tensors have one name

    def __iter__(self) -> Iterator[Any]:
        pairs = zip(super().__iter__(), self.__dict__["_image"], strict=True)
        return (SemanticAttention(text, image) for text, image in pairs)


def _image_partner(text: Transformer2DModel, image_embed_dim: int) -> Transformer2DModel:
    config = text.config
    return Transformer2DModel(
        num_attention_heads=config.num_attention_heads,
        attention_head_dim=config.attention_head_dim,
        in_channels=config.in_channels,
        num_layers=config.num_layers,
        cross_attention_dim=image_embed_dim,
        norm_num_groups=config.norm_num_groups,
        use_linear_projection=config.use_linear_projection,
        upcast_attention=config.upcast_attention,
        attention_type=config.attention_type,
    )


def _add_image_attentions(model: nn.Module, image_embed_dim: int) -> None:
    """Give every block of `model` that attends to text its `image_attentions`."""
    for block in list(model.modules()):
        attentions = getattr(block, "attentions", None)
        if isinstance(attentions, nn.ModuleList):
            partners = nn.ModuleList(_image_partner(text, image_embed_dim) for text in attentions)
            block.image_attentions = partners
            block.attentions = PairedAttentions(attentions, partners)


def image_attention_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name → parameter of all that RCA adds to `model`: what stage 2 trains in the UNet."""
    return {name: p for name, p in model.named_parameters() if ".image_attentions." in name}


def zero_init_image_attentions(model: nn.Module) -> None:
    """Zero the output projection of every image block, so that the untrained model is the base model exactly."""
    for name, parameter in image_attention_parameters(model).items():
        if ".proj_out." in name:
            nn.init.zeros_(parameter)


def draw_text_attentions_anew(model: nn.Module) -> list[nn.Parameter]:
    """Draw the attentions to the text anew, mute at first; returns their parameters."""
    parameters: list[nn.Parameter] = []
    for name, attention in model.named_modules():
        if not name.endswith(".attn2") or ".image_attentions." in name:
            continue
        for part, layer in attention.named_modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
                if part.startswith("to_out"):
                    nn.init.zeros_(layer.weight)
                    nn.init.zeros_(layer.bias)
        parameters += attention.parameters()
    return parameters


class SemanticUNet(Int8Storage, UNet2DConditionModel):  # type: ignore[misc]
    """diffusers' `UNet2DConditionModel` with RCA.

    Config: that of `UNet2DConditionModel` and `image_embed_dim`, the width of the representation embedding. `forward`
    is inherited; the embedding is passed as `cross_attention_kwargs={"image_embeds": (B, n, image_embed_dim)}`. A
    `WordMasks` beside it, as "word_masks", tells where each word of the text acts.
    """

    def __init__(
        self, image_embed_dim: int = IMAGE_EMBED_DIM, use_image_cross_attention: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.register_to_config(image_embed_dim=image_embed_dim, use_image_cross_attention=use_image_cross_attention)
        _add_image_attentions(self, image_embed_dim)

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        own = {"image_embed_dim", "use_image_cross_attention"}
        keys: set[str] = ConfigMixin._get_init_keys(UNet2DConditionModel)
        return keys | (own if input_class is SemanticUNet else set())


class SemanticControlNet(Int8Storage, ControlNetModel):  # type: ignore[misc]
    """diffusers' `ControlNetModel` with RCA; config and embedding as for `SemanticUNet`.

    The condition is the enlarged photo at output size, RGB in [0, 1], as in the paper; with `latent_condition` it is
    the photo's latents (`in_channels`, h, w), which spares a small model from learning a second encoder.
    """

    def __init__(
        self,
        image_embed_dim: int = IMAGE_EMBED_DIM,
        use_image_cross_attention: bool = True,
        latent_condition: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.register_to_config(
            image_embed_dim=image_embed_dim,
            use_image_cross_attention=use_image_cross_attention,
            latent_condition=latent_condition,
        )
        if latent_condition:
            self.controlnet_cond_embedding = nn.Conv2d(
                self.config.in_channels, self.config.block_out_channels[0], 3, padding=1
            )
        _add_image_attentions(self, image_embed_dim)

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        own = {"image_embed_dim", "use_image_cross_attention", "latent_condition"}
        keys: set[str] = ConfigMixin._get_init_keys(ControlNetModel)
        return keys | (own if input_class is SemanticControlNet else set())
