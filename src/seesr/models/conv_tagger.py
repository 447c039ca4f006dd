"""A small tagger: EfficientNet-Lite (Tan and Le, arXiv 1905.11946; no squeeze-and-excitation, ReLU6), classes as tags.

The embedded model cannot carry RAM's 1.5 GB, so it asks an ImageNet classifier instead. The last block's feature map,
brought to zero mean and unit variance a channel, is the *representation embedding* (SeeSR's soft prompt), its mean
in front. A tag is a group of classes ("dog" is 118 breeds); its probability is the sum of theirs, so one photo is
"animal" and "dog" at once (SeeSR's hard prompt). What no class stands for ("sky") has an output of its own.

Batch normalisation is folded into the convolutions: nothing behaves differently in training. DAPE's LoRA sits on the
1x1 convolutions (`seesr.models.dape`).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesr.models.dape import add_lora
from seesr.models.network import Network, keeps_config
from seesr.models.tagging import PhotoTagger, TaggerOutput

KERNELS = (3, 3, 5, 3, 5, 5, 3)  # of the depthwise convolutions, by stage (arXiv 1905.11946, table 1)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)
REDUCTION = 32  # side of the input / side of the feature map


class SameConv2d(nn.Conv2d):
    """Convolution padded as in TensorFlow's "same", where the weights come from: an odd pixel more at the far sides."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, out_channels, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return F.conv2d(x, self.weight, self.bias, padding=kernel // 2, groups=self.groups)
        down, right = (max(kernel - ((side - 1) % stride + 1), 0) for side in x.shape[-2:])
        x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        return F.conv2d(x, self.weight, self.bias, stride, groups=self.groups)


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel, reduce by 1x1 without activation (MobileNetV2, arXiv 1801.04381)."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = channels * expansion
        self.expand = nn.Conv2d(channels, width, 1) if expansion > 1 else None
        self.filter = SameConv2d(width, width, kernel, stride, groups=width)
        self.reduce = nn.Conv2d(width, out_channels, 1)
        self.residual = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:  # (B, channels, h, w) -> (B, out_channels, h/stride, w/stride)
        y: Tensor = F.relu6(self.expand(x)) if self.expand is not None else x
        y = self.reduce(F.relu6(self.filter(y)))
        return x + y if self.residual else y


class ConvTagger(PhotoTagger, Network):
    """EfficientNet-Lite as a tagger, and its DAPE where `lora_rank` > 0.

    Config:
        tags, thresholds: names and the probability above which a tag is on, in the same order.
        classes: for each tag, the indices of the classes it stands for; none for the tags with an output of their own,
            which come last.
        num_classes: of the classifier.
        image_size: side of the square the photo is resized to; a multiple of 32.
        resize_antialias: whether that bilinear resize filters.
        stem_channels, channels, repeats, head_channels: widths and number of blocks of the seven stages; the defaults
            are EfficientNet-Lite2.
        image_embed_dim: width of the representation embedding, the last of `channels`.
        lora_rank, lora_alpha: DAPE's LoRA; its scale is alpha / rank. Rank 0: the plain tagger.
    """

    pixel_mean = (127 / 255,) * 3
    pixel_std = (128 / 255,) * 3

    members: Tensor

    @keeps_config
    def __init__(
        self,
        tags: list[str],
        thresholds: list[float],
        classes: list[list[int]],
        num_classes: int = 1000,
        image_size: int = 256,
        resize_antialias: bool = True,
        stem_channels: int = 32,
        channels: list[int] | tuple[int, ...] = (16, 24, 48, 88, 120, 208, 352),
        repeats: list[int] | tuple[int, ...] = (1, 3, 3, 4, 4, 5, 1),
        head_channels: int = 1280,
        image_embed_dim: int = 352,
        lora_rank: int = 0,
        lora_alpha: float = 1.0,
    ) -> None:
        super().__init__()
        if not len(tags) == len(thresholds) == len(classes):
            raise ValueError(f"{len(tags)} tags, {len(thresholds)} thresholds, {len(classes)} groups of classes")
        if image_embed_dim != channels[-1]:
            raise ValueError(f"image_embed_dim is {image_embed_dim}, the last stage has {channels[-1]} channels")
        if image_size % REDUCTION:
            raise ValueError(f"image_size is {image_size}; it must be a multiple of {REDUCTION}")
        groups = [group for group in classes if group]
        if groups != classes[: len(groups)]:
            raise ValueError("tags without classes must come last")
        self.stem = SameConv2d(3, stem_channels, 3, stride=2)
        blocks = []
        stages = zip(pairwise((stem_channels, *channels)), repeats, KERNELS, STRIDES, EXPANSIONS, strict=True)
        for (width, out_width), count, kernel, stride, expansion in stages:
            blocks.append(InvertedResidual(width, out_width, kernel, stride, expansion))
            blocks += [InvertedResidual(out_width, out_width, kernel, 1, expansion) for _ in range(count - 1)]
        self.blocks = nn.Sequential(*blocks)
        self.embed_scale = nn.Parameter(torch.ones(image_embed_dim))  # 1 / standard deviation of each channel
        self.embed_shift = nn.Parameter(torch.zeros(image_embed_dim))
        self.head = nn.Conv2d(channels[-1], head_channels, 1)
        self.classifier = nn.Linear(head_channels, num_classes)
        self.scenes = nn.Linear(head_channels, len(tags) - len(groups)) if len(tags) > len(groups) else None
        members = torch.zeros(len(groups), num_classes, dtype=torch.bool)
        for row, group in zip(members, groups):
            row[group] = True
        self.register_buffer("members", members, persistent=False)  # (groups, classes)
        if lora_rank:
            add_lora(self, lora_rank, lora_rank, lora_alpha / lora_rank)

    def forward(self, pixel_values: Tensor) -> TaggerOutput:
        """`pixel_values`: (B, 3, image_size, image_size) from `preprocess`."""
        features = self.blocks(F.relu6(self.stem(pixel_values)))  # (B, d, size/32, size/32)
        tokens = features.flatten(2).transpose(1, 2) * self.embed_scale + self.embed_shift  # (B, n, d)
        image_embeds = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)  # (B, 1 + n, d)
        pooled = F.relu6(self.head(features)).mean((2, 3))  # (B, head_channels)
        logits = self.fold(self.classifier(pooled))
        if self.scenes is not None:
            logits = torch.cat([logits, self.scenes(pooled).float()], 1)  # (B, tags)
        return TaggerOutput(image_embeds, logits)

    def evidence(self, image_embeds: Tensor, tags: Sequence[int]) -> Tensor:
        """Class activation maps (arXiv 1512.04150) of groups of classes: the gradient of a tag's logit at the pooled
        features, times the features of each place. (1, 1 + h * w, d) -> (len(tags), h, w), float32.
        """
        side = math.isqrt(image_embeds.shape[1] - 1)
        tokens = (image_embeds[:, 1:] - self.embed_shift) / self.embed_scale  # (1, n, d): the last block's output
        features = F.relu6(self.head(tokens.transpose(1, 2).unflatten(2, (side, side)))).float()  # (1, channels, h, w)
        weight, bias = self.classifier.weight.float(), self.classifier.bias.float()
        scores = F.linear(features.mean((2, 3)), weight, bias).expand_as(self.members)  # (groups, classes)
        inside = scores.masked_fill(~self.members, -torch.inf).softmax(1)
        outside = scores.masked_fill(self.members, -torch.inf).softmax(1)
        gradients = (inside - outside) @ weight  # (groups, channels)
        if self.scenes is not None:
            gradients = torch.cat([gradients, self.scenes.weight.float()])
        return torch.einsum("tc,chw->thw", gradients[list(tags)], features[0])

    def fold(self, class_logits: Tensor) -> Tensor:
        """Logits of exclusive classes, (B, classes) -> logit of each group, (B, groups): log p / (1 - p), float32.

        p is the sum of the softmax over the tag's classes, so the logit is the difference of two log-sum-exps.
        """
        scores = class_logits.float()[:, None]  # (B, 1, classes)
        inside = scores.masked_fill(~self.members, -torch.inf).logsumexp(-1)
        outside = scores.masked_fill(self.members, -torch.inf).logsumexp(-1)
        return inside - outside
