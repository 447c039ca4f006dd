"""Losses between a restored picture and its target, all computed from one pass through DISTS' VGG16.

DISTS (Ding et al. 2020, arXiv 2004.07728) compares textures by statistics and tolerates their resampling; the distance
of channel-normalised features (the form of LPIPS, Zhang et al. 2018, arXiv 1801.03924, without its learned heads) holds
structure in place. LPIPS with AlexNet is a test metric and is not used. The hinge losses are those of Lim & Ye 2017
(arXiv 1705.02894).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesr.metrics.backbones import VGG16_CHANNELS
from seesr.metrics.dists import Dists
from seesr.metrics.texture import FLAT, local_deviation
from seesr.training.discriminator import frozen_scores
from seesr.training.feature_distances import TrainingPool, stage_distances

DETAILED = 6.0
"""Local deviation in levels of 255 from which on a target has detail; between `FLAT` and it the losses pass over."""


@dataclass(kw_only=True)
class LossWeights:
    """Weights of the terms that the enlarger minimises."""

    l1: float = 1.0
    taught: float = 0.0  # L1 to a teacher's picture where the target has detail, to the target where it has none
    flat: float = 0.0  # texture where the target has none, see `texture_in_flats`
    dists: float = 0.5
    features: float = 1.0
    adversarial: float = 0.05  # of the heads on VGG features
    adversarial_pixels: float = 0.0  # of the U-Net, whose gradient in the picture is a fiftieth of theirs
    adversarial_from: int = 0  # step; before it the discriminator alone learns

    @property
    def perceptual(self) -> bool:
        """Whether any term reads VGG's features or a discriminator."""
        return bool(self.dists or self.features or self.judged)

    @property
    def judged(self) -> bool:
        """Whether discriminators take part."""
        return bool(self.adversarial or self.adversarial_pixels)


class Perception(NamedTuple):
    """How two batches of pictures differ, and the features they were compared by."""

    dists: Tensor  # ()
    features: Tensor  # (), mean squared distance of normalised features
    of_restored: list[Tensor]  # (B, C_k, H_k, W_k) for each of the five stages
    of_target: list[Tensor]

    def normalised(self) -> tuple[list[Tensor], list[Tensor]]:
        """The features as discriminators read them: unit vectors over the channels."""
        return [normalise(features) for features in self.of_restored], [normalise(f) for f in self.of_target]


class PerceptualLoss(nn.Module):
    """DISTS and normalised feature distance of (B, 3, H, W) pictures in [0, 1], each a mean over the batch.

    Gradients reach the first of the two only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dists = Dists(pool=TrainingPool)

    def forward(self, restored: Tensor, target: Tensor) -> Perception:
        vgg, channels = self.dists.vgg, [3, *VGG16_CHANNELS]
        of_restored = vgg(restored)
        with torch.no_grad():
            of_target = vgg(target)
        similarity = torch.zeros(len(restored), device=restored.device)
        distances = []
        pairs = zip([restored, *of_restored], [target, *of_target])
        weights = zip(torch.split(self.dists.alpha, channels), torch.split(self.dists.beta, channels))
        for (x, y), (alpha, beta) in zip(pairs, weights):
            similar, distance = stage_distances(x, y, alpha, beta)
            similarity = similarity + similar
            distances.append(distance)
        return Perception((1 - similarity).mean(), torch.stack(distances[1:]).mean(), of_restored, of_target)


def normalise(features: Tensor) -> Tensor:
    """(B, C, H, W) with unit length over the channels at every position, in float32."""
    features = features.float()
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + 1e-8)


def discriminator_hinge(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Hinge loss of discriminators, the mean over their score maps of any shape."""
    return torch.stack([F.relu(1 - r.float()).mean() + F.relu(1 + f.float()).mean() for r, f in zip(real, fake)]).mean()


def generator_hinge(fake: list[Tensor]) -> Tensor:
    """What the generator minimises against the same discriminators."""
    return -torch.stack([f.float().mean() for f in fake]).mean()


def pixel_terms(restored: Tensor, target: Tensor, weights: LossWeights, taught: Tensor | None) -> dict[str, Tensor]:
    """The terms that need no features, those whose weight is not 0."""
    terms = {"l1": F.l1_loss(restored, target)}
    if weights.flat or (weights.taught and taught is not None):
        spread = local_deviation(target)  # (B, 1, H - 6, W - 6), in levels
        if weights.flat:
            terms["flat"] = texture_in_flats(restored, spread)
        if weights.taught and taught is not None:
            detailed = ((F.pad(spread, (3, 3, 3, 3), mode="replicate") - FLAT) / (DETAILED - FLAT)).clamp(0, 1)
            terms["taught"] = F.l1_loss(restored, torch.lerp(target, taught, detailed))
    return terms


def texture_in_flats(restored: Tensor, spread: Tensor) -> Tensor:
    """How much more `restored` varies than its target where the target is flat: mean over windows, as a share of 255.

    Args:
        restored: (B, 3, H, W) in [0, 1]. spread: `local_deviation` of the target.
    """
    flat = ((DETAILED - spread) / (DETAILED - FLAT)).clamp(0, 1)
    return (flat * F.relu(local_deviation(restored) - spread)).mean() / 255


def restoration_loss(
    restored: Tensor,
    target: Tensor,
    weights: LossWeights,
    step: int,
    perceive: PerceptualLoss,
    discriminator: nn.Module,
    taught: Tensor | None = None,
) -> dict[str, Tensor]:
    """All terms between restored pictures and their targets, (B, 3, H, W) in [0, 1].

    Returns `loss`, which trains generator and discriminator at once; `generator`, the part of it that trains the
    generator; and each term. The discriminator's term has no gradient in the generator, nor the generator's in the
    discriminator, so one backward pass and one optimiser serve both. `taught`: a teacher's restorations of the same
    pictures, of the same shape.
    """
    terms = pixel_terms(restored.float(), target, weights, taught)
    pixels = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
    if not weights.perceptual:
        return {"loss": pixels, "generator": pixels} | terms
    perception = perceive(restored, target)
    terms |= {"dists": perception.dists, "features": perception.features}
    generator = pixels + weights.dists * terms["dists"] + weights.features * terms["features"]
    if not weights.judged:
        return {"loss": generator, "generator": generator} | terms
    of_restored, of_target = perception.normalised()
    *of_features, of_pixels = frozen_scores(discriminator, restored, of_restored)
    terms |= {
        "adversarial": generator_hinge(of_features),
        "adversarial_pixels": generator_hinge([of_pixels]),
    }
    fake = discriminator(restored.detach(), [features.detach() for features in of_restored])
    terms["discriminator"] = discriminator_hinge(discriminator(target, of_target), fake)
    if step >= weights.adversarial_from:
        generator = generator + weights.adversarial * terms["adversarial"]
        generator = generator + weights.adversarial_pixels * terms["adversarial_pixels"]
    return {"loss": generator + terms["discriminator"], "generator": generator} | terms
