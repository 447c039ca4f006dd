"""Predictions of ControlNet and UNet, tile by tile, and what of them stays the same over the steps."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seesr.models.word_masks import WordMasks
from seesr.restoration.feature_reuse import DeepFeatures, Remembered, deep_features
from seesr.restoration.grounding import Grounding
from seesr.restoration.interfaces import ControlNet, Denoiser
from seesr.restoration.settings import Settings
from seesr.restoration.step_cache import Allowance, embed_condition, given_embeddings, remembered_contexts
from seesr.tiling.geometry import Blend, Tile


@dataclass(frozen=True)
class Context:
    """What the networks are told of a tile, or of the whole photo."""

    text: Tensor
    """(2, 77, d): prompt embeddings, negative and positive."""
    image: Tensor
    """(1, n, d): representation embedding."""
    grounding: Grounding | None = None
    """Where the words of the positive prompt act; None: everywhere. Of all contexts, or of none."""


@dataclass(frozen=True)
class RegionWords:
    """The prompt of a part of the picture (`seesr.restoration.regions`).

    text: (2, 77, d), negative and positive. weights: (h, w) of the latents, in [0, 1], on their device.
    """

    text: Tensor
    weights: Tensor


class TilePredictor:
    """Predictions of ControlNet and UNet for groups of tiles; a context manager, within which it remembers.

    Args:
        condition: tile → what the ControlNet is shown of it, (1, c, …).
        contexts: one for all tiles, or one a tile.
        kept_bytes: most that what is constant over the steps may take.
        regions: tiles that they touch are predicted once more for each.
    """

    def __init__(
        self,
        unet: Denoiser,
        controlnet: ControlNet,
        condition: Callable[[Tile], Tensor],
        tiles: list[Tile],
        contexts: list[Context],
        settings: Settings,
        kept_bytes: int,
        regions: Sequence[RegionWords] = (),
    ) -> None:
        self.unet, self.controlnet, self.condition, self.settings = unet, controlnet, condition, settings
        self.tiles, self.regions, self.kept_bytes = tiles, regions, kept_bytes
        self.whole = Tile(0, 0, max(t.top + t.height for t in tiles), max(t.left + t.width for t in tiles))
        self.fresh, self.guided = True, False
        self.stack = ExitStack()
        self._start(contexts)

    def _start(self, contexts: list[Context]) -> None:
        """Nothing is remembered."""
        self.context_of = dict(zip(self.tiles, contexts if len(contexts) > 1 else contexts * len(self.tiles)))
        self.shared = len(contexts) == 1
        self.allowance = Allowance(self.kept_bytes)
        self.deep: DeepFeatures | None = None
        self.remembered: dict[Any, Remembered] = {}
        self.masks: dict[Any, WordMasks] = {}
        self.embeddings: dict[Tile, Tensor] = {}
        self.batches: dict[Any, tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> "TilePredictor":
        networks: list[Any] = [self.unet, self.controlnet]
        self.remember = self.stack.enter_context(remembered_contexts(networks, self.allowance))
        if self.settings.reuse > 1:
            self.deep = self.stack.enter_context(deep_features(self.unet))
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.close()

    def tell(self, contexts: list[Context]) -> None:
        """Go on with other contexts, and with a condition that may have changed: all that was remembered is dropped."""
        self.stack.close()
        self._start(contexts)
        self.__enter__()

    def begin(self, step: int, guided: bool) -> None:
        """Tell which step it is, counted from 0: with the setting `reuse` the networks run whole at some only."""
        self.fresh = step % self.settings.reuse == 0 or guided != self.guided
        self.guided = guided

    def __call__(self, group: list[Tile], latents: Tensor, t: Tensor, guided: bool) -> Tensor:
        """Predictions for n tiles, (n, k, c, T, T), in one call of the networks; k: negative, positive if `guided`.

        Each region that touches some of them takes one more call, with those.
        """
        predictions = self._predict(group, latents, t, guided, None)
        for region in self.regions:
            rows = [row for row, tile in enumerate(group) if tile.of(region.weights).any()]
            if rows:
                touched = [group[row] for row in rows]
                weights = torch.stack([tile.of(region.weights) for tile in touched])[:, None, None]
                own = self._predict(touched, latents, t, guided, region)
                predictions[rows] = predictions[rows].lerp(own, weights.to(own.dtype))
        return predictions

    def _predict(
        self, group: list[Tile], latents: Tensor, t: Tensor, guided: bool, region: RegionWords | None
    ) -> Tensor:
        """The same with one prompt: that of the tiles' contexts, or of a region."""
        n, k = len(group), 1 + guided
        dtype = self.unet.dtype
        cropped = torch.cat([tile.of(latents) for tile in group]).repeat(k, 1, 1, 1).to(dtype)  # (k*n, c, T, T)
        text, image = self._contexts(group, guided, region)
        told: dict[str, Any] = {"image_embeds": image}
        if region is None:
            told |= self._word_masks(group, k)
        key = tuple(group), k, id(region)
        known = None if self.fresh else self.remembered.get(key)
        if known is not None:
            down, mid = known.down, known.mid
        else:
            embeddings = torch.cat([self._embedding(tile) for tile in group]).repeat(k, 1, 1, 1)  # (k*n, C, T, T)
            with given_embeddings(self.controlnet):
                down, mid = self.controlnet(
                    cropped,
                    t,
                    encoder_hidden_states=text,
                    controlnet_cond=embeddings,
                    conditioning_scale=self.settings.conditioning_scale,
                    cross_attention_kwargs=told,
                    return_dict=False,
                )
        if self.deep is not None:
            self.deep.given = None if known is None else known.deep
        prediction = self.unet(
            cropped,
            t,
            encoder_hidden_states=text,
            cross_attention_kwargs=told,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            return_dict=False,
        )[0]
        if self.deep is not None and known is None:
            allowance = None if key in self.remembered else self.allowance
            if found := self.deep.remember(tuple(down), mid, allowance):
                self.remembered[key] = found
        return torch.unflatten(prediction, 0, (k, n)).transpose(0, 1)

    def seen(self, blend: Blend, latents: Tensor) -> Tensor | None:
        """(1, 1, h, w), in [0, 1]: where guidance applies, in all regions too; None: everywhere."""
        if any(context.grounding is None for context in self.context_of.values()):
            return None

        def seen_in(group: list[Tile]) -> Tensor:
            grounded = [(tile, self.context_of[tile].grounding) for tile in group]
            seen = [grounding.seen(tile, self._part(tile)) for tile, grounding in grounded if grounding is not None]
            return torch.stack(seen)[:, None, None].to(latents.device)

        seen = blend(latents[:, :1], seen_in, 1).clamp(0, 1)
        for region in self.regions:
            seen = torch.maximum(seen, region.weights)
        return seen

    def _part(self, tile: Tile) -> Tile:
        """What a tile's context was seen in."""
        return self.whole if self.shared else tile

    def _word_masks(self, group: list[Tile], k: int) -> dict[str, WordMasks]:
        """Where the words act, (k*n, 77, T, T); those of the negative prompt everywhere. Empty without grounding."""
        key = tuple(group), k
        if key in self.masks:
            return {"word_masks": self.masks[key]}
        grounded = [(tile, self.context_of[tile].grounding) for tile in group]
        masks = [grounding.masks(tile, self._part(tile)) for tile, grounding in grounded if grounding is not None]
        if not masks:
            return {}
        positive = torch.stack(masks)
        every = torch.cat([torch.ones_like(positive)] * (k - 1) + [positive]).to(self.unet.device)
        made = WordMasks(every)
        if self.allowance.take(every):
            self.masks[key] = made
        return {"word_masks": made}

    def _embedding(self, tile: Tile) -> Tensor:
        if tile in self.embeddings:
            return self.embeddings[tile]
        embedding = embed_condition(self.controlnet, self.condition(tile))
        if self.allowance.take(embedding):
            self.embeddings[tile] = embedding
        return embedding

    def _contexts(self, group: list[Tile], guided: bool, region: RegionWords | None) -> tuple[Tensor, Tensor]:
        """(k*n, 77, d) and (k*n, m, e): the same tensors whenever the same are asked for."""
        key = (len(group) if self.shared else tuple(group), guided, id(region))
        if key not in self.batches:
            contexts, k, dtype = [self.context_of[tile] for tile in group], 1 + guided, self.unet.dtype
            texts = [context.text if region is None else region.text for context in contexts]
            text = torch.stack([text[-k:] for text in texts], 1).flatten(0, 1).to(dtype)
            image = torch.cat([context.image for context in contexts]).repeat(k, 1, 1).to(dtype)
            self.batches[key] = self.remember(text), self.remember(image)
        return self.batches[key]
