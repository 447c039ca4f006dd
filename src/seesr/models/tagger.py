"""The tagger: Recognize Anything (RAM, arXiv 2306.03514), which SeeSR fine-tunes into DAPE (section 3.2).

A Swin encoder (transformers') turns the photo into tokens; their mean is put in front, and a linear layer makes the
*representation embedding* (SeeSR's soft prompt). A Query2Label head (arXiv 2107.10834) asks for each tag by its label
embedding through cross-attention and answers with one logit a tag (SeeSR's hard prompt). Tag names, thresholds and
the way the photo is resized are part of the config. With `lora_rank` > 0 the LoRA factors of DAPE are part of the model
(`seesr.models.dape`) and can be switched off, which gives plain RAM.
"""

import math
from collections.abc import Sequence
from copy import deepcopy

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional as F
from transformers import SwinConfig, SwinModel

from seesr.models.dape import add_lora
from seesr.models.tagging import PhotoTagger, TaggerOutput


class CrossAttention(nn.Module):
    """Multi-head attention of the tag queries to the image tokens. `query` and `key` are what DAPE adapts."""

    def __init__(self, width: int, image_embed_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(image_embed_dim, width)
        self.value = nn.Linear(image_embed_dim, width)

    def forward(self, tags: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        out = F.scaled_dot_product_attention(
            self._split(self.query(tags)), self._split(self.key(tokens)), self._split(self.value(tokens))
        )
        return out.transpose(1, 2).flatten(2)  # (B, tags, width)

    def weights(self, tags: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """How much each tag attends to each token: (B, heads, tags, n), summing to 1 over the tokens."""
        query, key = self._split(self.query(tags)), self._split(self.key(tokens))
        return (query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])).softmax(-1)

    def gather(self, weights: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """What `forward` gives, of its `weights`: (B, tags, width)."""
        return (weights @ self._split(self.value(tokens))).transpose(1, 2).flatten(2)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)  # (B, heads, n, d)


class Query2LabelLayer(nn.Module):
    """Cross-attention and feed-forward, each followed by residual and LayerNorm; no self-attention between tags."""

    def __init__(self, width: int, image_embed_dim: int, heads: int, feed_forward_dim: int) -> None:
        super().__init__()
        self.attention = CrossAttention(width, image_embed_dim, heads)
        self.attention_out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.expand = nn.Linear(width, feed_forward_dim)
        self.reduce = nn.Linear(feed_forward_dim, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, tags: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.finish(tags, self.attention(tags, tokens))

    def finish(self, tags: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """The rest of the layer, once the tags have attended to the tokens."""
        tags = self.attention_norm(tags + self.attention_out(attended))
        tags = self.norm(tags + self.reduce(F.gelu(self.expand(tags))))
        return tags


class Tagger(PhotoTagger, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """RAM, and DAPE where `lora_rank` > 0.

    Config:
        tags, thresholds: names and the probability above which a tag is on, in the same order.
        image_size: side of the square the photo is resized to; a multiple of 32 x window_size.
        resize_antialias: whether that bilinear resize filters; False is what the published weights were run with.
        embed_dim, depths, num_heads, window_size, drop_path_rate: the Swin encoder.
        image_embed_dim: width of the representation embedding.
        label_dim, head_dim, head_layers, head_heads, head_feed_forward_dim: the tag head.
        lora_rank, lora_alpha: DAPE's LoRA; its scale is alpha / rank. Rank 0: plain RAM.
        head_lora_rank: rank in the tag head, where the published DAPE has twice `lora_rank` (`seesr.checkpoints.ram`
            tells why); None: the same as `lora_rank`.
    """

    _supports_gradient_checkpointing = False

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        tags: list[str],
        thresholds: list[float],
        image_size: int = 384,
        resize_antialias: bool = False,
        embed_dim: int = 192,
        depths: list[int] | tuple[int, ...] = (2, 2, 18, 2),
        num_heads: list[int] | tuple[int, ...] = (6, 12, 24, 48),
        window_size: int = 12,
        drop_path_rate: float = 0.1,
        image_embed_dim: int = 512,
        label_dim: int = 512,
        head_dim: int = 768,
        head_layers: int = 2,
        head_heads: int = 4,
        head_feed_forward_dim: int = 3072,
        lora_rank: int = 0,
        lora_alpha: float = 1.0,
        head_lora_rank: int | None = None,
    ) -> None:
        super().__init__()
        if len(tags) != len(thresholds):
            raise ValueError(f"{len(tags)} tags but {len(thresholds)} thresholds")
        swin = SwinConfig(
            image_size=image_size,
            embed_dim=embed_dim,
            depths=list(depths),
            num_heads=list(num_heads),
            window_size=window_size,
            drop_path_rate=drop_path_rate,
        )
        self.visual_encoder = SwinModel(swin, add_pooling_layer=False)
        self.image_proj = nn.Linear(embed_dim * 2 ** (len(depths) - 1), image_embed_dim)
        self.label_embed = nn.Parameter(torch.empty(len(tags), label_dim).normal_(std=0.02))
        self.wordvec_proj = nn.Linear(label_dim, head_dim)
        self.head = nn.ModuleList(
            Query2LabelLayer(head_dim, image_embed_dim, head_heads, head_feed_forward_dim) for _ in range(head_layers)
        )
        self.fc = nn.Linear(head_dim, 1)
        if lora_rank:
            add_lora(self, lora_rank, head_lora_rank or lora_rank, lora_alpha / lora_rank)

    def forward(self, pixel_values: torch.Tensor) -> TaggerOutput:
        """`pixel_values`: (B, 3, image_size, image_size) from `preprocess`."""
        tokens = self.visual_encoder(pixel_values).last_hidden_state  # (B, n, encoder width)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)  # (B, 1 + n, encoder width)
        image_embeds = self.image_proj(tokens)  # (B, 1 + n, image_embed_dim)
        queries = F.relu(self.wordvec_proj(self.label_embed))  # (tags, head_dim)
        queries = queries.expand(image_embeds.shape[0], -1, -1)
        for layer in self.head:
            queries = layer(queries, image_embeds)
        return TaggerOutput(image_embeds, self.fc(queries).squeeze(-1))

    def evidence(self, image_embeds: torch.Tensor, tags: Sequence[int]) -> torch.Tensor:
        """Attention times its gradient, summed over heads and layers (arXiv 2103.15679): how much a tag's logit owes
        to what it reads at each place. (1, 1 + h * w, d) -> (len(tags), h, w), float32; the mean token is left out.

        Attention alone would also show where a tag looks and finds nothing. Tags do not attend to each other, so one
        backward pass gives each its own gradient.
        """
        side = math.isqrt(image_embeds.shape[1] - 1)
        read = []
        with torch.inference_mode(False), torch.enable_grad():
            tokens = image_embeds.detach().clone()  # outside of inference mode
            head, fc = self.head, self.fc
            if fc.weight.is_inference():  # moved within inference mode, as diffusers' offloading does
                head, fc = deepcopy(head), deepcopy(fc)
            with torch.no_grad():
                queries = F.relu(self.wordvec_proj(self.label_embed[list(tags)]))[None]  # (1, tags, head_dim)
            queries.requires_grad_()
            for layer in head:
                assert isinstance(layer, Query2LabelLayer)
                weights = layer.attention.weights(queries, tokens)  # (1, heads, tags, 1 + n)
                queries = layer.finish(queries, layer.attention.gather(weights, tokens))
                read.append(weights)
            gradients = torch.autograd.grad(fc(queries).sum(), read)
        shares = [(weights.detach() * gradient)[0].float() for weights, gradient in zip(read, gradients)]
        for_it = torch.stack(shares).clamp(min=0).mean(1).sum(0)  # (tags, 1 + n)
        return torch.unflatten(for_it[:, 1:], 1, (side, side))
