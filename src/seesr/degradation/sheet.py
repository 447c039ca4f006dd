"""Degraded photos to look at: one LR image, or a labelled sheet of the variants that a preset makes."""

import textwrap

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from seesr.degradation.kernels import Kernel
from seesr.degradation.plan import DegradationPlan, StagePlan, draw
from seesr.degradation.presets import preset
from seesr.degradation.process import apply
from seesr.degradation.sensor import SensorPlan
from seesr.errors import SeesrError

_SCALE = 4
_CROP = 512  # pixels of HR on the sheet
_CELL = 256  # pixels of the sheet per variant, of its longer side
_LABEL = 68  # pixels under each variant for its label
_COLUMNS = 46  # characters per line of a label


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
    zoom = _CELL * _SCALE / max(hr.shape)
    picture = (round(hr.shape[2] // _SCALE * zoom), round(hr.shape[1] // _SCALE * zoom))
    cell_height = picture[1] + _LABEL
    page = Image.new("RGB", (columns * _CELL, -(-n // columns) * cell_height), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=11)
    for i in range(n):
        plan = draw(preset(preset_name), seed + i, hr.shape[1], hr.shape[2], _SCALE)
        with torch.no_grad():
            lr = _to_image(apply(plan, hr)[0])
        x, y = i % columns * _CELL, i // columns * cell_height
        page.paste(lr.resize(picture, Image.Resampling.NEAREST), (x, y))
        label = textwrap.fill(f"{seed + i}: {plan_text(plan)}", _COLUMNS)
        pen.multiline_text((x + 3, y + picture[1] + 1), label, "black", font, spacing=1)
    return page


def plan_text(plan: DegradationPlan) -> str:
    """What was drawn, a short phrase for each step, in the order of application."""
    steps = ["sharpened"] if plan.usm else []
    if plan.first is not None:
        steps += _stage(plan.first) + _jpeg(plan.first.quality)
    steps += _stage(plan.second)
    end = [f"to {plan.size[1]}x{plan.size[0]} {plan.mode}"] if plan.second.size != plan.size else []
    if plan.sinc is not None:
        end.append(f"sinc {plan.sinc.cutoff:.2f}")
    jpeg = _jpeg(plan.second.quality)
    return ", ".join(steps + (end + jpeg if plan.jpeg_last else jpeg + end))


def _stage(stage: StagePlan) -> list[str]:
    steps = []
    if stage.kernel is not None:
        steps.append(_kernel(stage.kernel))
    if stage.size is not None:
        steps.append(f"{stage.size[1]}x{stage.size[0]} {stage.mode}")
    if isinstance(stage.noise, SensorPlan):
        steps.append(f"sensor {stage.noise.shot:.2g} chroma {stage.noise.chroma:.1f}")
    elif stage.noise is not None:
        steps.append(f"{stage.noise.kind} {stage.noise.strength:.2g}{' grey' if stage.noise.grey else ''}")
    return steps


def _kernel(kernel: Kernel) -> str:
    if kernel.kind == "sinc":
        return f"sinc {kernel.cutoff:.2f}"
    first, second = kernel.sigma
    return f"{kernel.kind} {first:.1f}" + (f"/{second:.1f}" if first != second else "")


def _jpeg(quality: int | None) -> list[str]:
    return [] if quality is None else [f"jpeg {quality}"]


def _to_tensor(image: Image.Image) -> Tensor:
    """(3, H, W) in [0, 1], cut at the right and bottom to multiples of the scale."""
    width, height = (side - side % _SCALE for side in image.size)
    if not (width and height):
        raise SeesrError(f"cannot degrade a photo of {image.width}x{image.height}; give one of at least 4x4 pixels")
    pixels = np.array(image.convert("RGB").crop((0, 0, width, height)))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def _to_image(image: Tensor) -> Image.Image:
    return Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())
