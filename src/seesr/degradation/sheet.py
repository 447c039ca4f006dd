"""Degraded photos to look at: one LR image, or a labelled sheet of the variants that a preset makes."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from seesr.degradation.kernels import Kernel
from seesr.degradation.plan import Plan, StagePlan, draw
from seesr.degradation.presets import preset
from seesr.degradation.process import apply
from seesr.errors import SeesrError

_SCALE = 4
_CROP = 512  # pixels of HR on the sheet
_CELL = 256  # pixels of the sheet per variant
_LINE = 13  # pixels per line of a label


def degrade_photo(image: Image.Image, preset_name: str, seed: int) -> Image.Image:
    """The LR image of a photo of any size and mode: RGB, a quarter of each side, rounded down.

    Raises SeesrError for an unknown preset or a photo of less than 4 pixels a side.
    """
    hr = _to_tensor(image)
    with torch.no_grad():
        lr, _ = apply(draw(preset(preset_name), seed, hr.shape[1], hr.shape[2], _SCALE), hr)
    return _to_image(lr)


def sheet(image: Image.Image, preset_name: str, seed: int, n: int = 16) -> Image.Image:
    """Contact sheet of the centre of a photo under the seeds seed .. seed + n - 1, four in a row.

    LR pixels are shown enlarged without smoothing; the label under each tells what was drawn for it.
    """
    width, height = image.size
    crop = (max(0, (width - _CROP) // 2), max(0, (height - _CROP) // 2))
    hr = _to_tensor(image.crop((*crop, min(width, crop[0] + _CROP), min(height, crop[1] + _CROP))))
    columns = min(4, n)
    cell_height = _CELL + 4 * _LINE
    page = Image.new("RGB", (columns * _CELL, -(-n // columns) * cell_height), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=11)
    for i in range(n):
        plan = draw(preset(preset_name), seed + i, hr.shape[1], hr.shape[2], _SCALE)
        with torch.no_grad():
            lr = _to_image(apply(plan, hr)[0])
        zoom = _CELL / max(lr.size)
        lr = lr.resize((round(lr.width * zoom), round(lr.height * zoom)), Image.Resampling.NEAREST)
        x, y = i % columns * _CELL, i // columns * cell_height
        page.paste(lr, (x, y))
        pen.multiline_text((x + 3, y + _CELL + 1), f"seed {seed + i}\n{describe(plan)}", "black", font, spacing=1)
    return page


def describe(plan: Plan) -> str:
    """What was drawn, in at most three short lines: first stage, second stage, end."""
    lines = [_stage(stage) for stage in (plan.first, plan.second) if stage is not None]
    end = [f"to {plan.size[1]}x{plan.size[0]} {plan.mode}"]
    if plan.sinc is not None:
        end.append(f"sinc {plan.sinc.cutoff:.2f}")
    if plan.second.quality is not None:
        end.insert(len(end) if plan.jpeg_last else 0, f"jpeg {plan.second.quality}")
    return "\n".join([line for line in lines if line] + [", ".join(end)])


def _stage(stage: StagePlan) -> str:
    parts = []
    if stage.kernel is not None:
        parts.append(_kernel(stage.kernel))
    if stage.size is not None:
        parts.append(f"{stage.size[1]}x{stage.size[0]} {stage.mode}")
    if stage.noise is not None:
        parts.append(f"{stage.noise.kind[:5]} {stage.noise.strength:.2g}{' grey' if stage.noise.grey else ''}")
    return ", ".join(parts)


def _kernel(kernel: Kernel) -> str:
    if kernel.kind == "sinc":
        return f"sinc {kernel.cutoff:.2f}"
    first, second = kernel.sigma
    return f"{kernel.kind} {first:.1f}" + (f"/{second:.1f}" if first != second else "")


def _to_tensor(image: Image.Image) -> Tensor:
    """(3, H, W) in [0, 1], cut at the right and bottom to multiples of the scale."""
    width, height = (side - side % _SCALE for side in image.size)
    if not (width and height):
        raise SeesrError(f"cannot degrade a photo of {image.width}x{image.height}; give one of at least 4x4 pixels")
    pixels = np.array(image.convert("RGB").crop((0, 0, width, height)))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def _to_image(image: Tensor) -> Image.Image:
    return Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())
