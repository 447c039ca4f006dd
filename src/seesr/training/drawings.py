"""Drawn pictures for training: text, thin straight lines at any angle, charts and flat shapes, on paper or on a photo.

Crops of photos hold too little of what a viewer checks first: letters, straight edges and empty areas.
Everything is drawn at `OVERSAMPLING` times the size and reduced, so that lines can be thinner than a pixel and end
anywhere.
"""

import math
import string
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

OVERSAMPLING = 3
ON_PHOTO = 0.35  # of the drawings, those drawn over the photo instead of paper
_CHARACTERS = string.ascii_letters + string.digits + "    ..,:;!?&%-"

Color = tuple[int, int, int]


def with_drawings(hr: Tensor, seeds: Tensor, share: float) -> Tensor:
    """Replace a `share` of the photos by drawings, or draw over them; each sample's seed decides.

    Args:
        hr: (B, 3, H, W) in [0, 1]. seeds: (B,).

    Returns:
        The same shape and range.
    """
    return torch.stack([_with_drawing(image, int(seed), share) for image, seed in zip(hr, seeds.cpu())])


def _with_drawing(image: Tensor, seed: int, share: float) -> Tensor:
    rng = np.random.default_rng((9, seed))
    if rng.random() >= share:
        return image
    height, width = image.shape[1:]
    photo = None
    if rng.random() < ON_PHOTO:
        pixels = (image * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        photo = Image.fromarray(pixels).resize((width * OVERSAMPLING, height * OVERSAMPLING), Image.Resampling.BICUBIC)
    picture = drawing(rng, height, width, photo)
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).to(image) / 255


def drawing(rng: np.random.Generator, height: int, width: int, under: Image.Image | None = None) -> Image.Image:
    """An RGB picture of this size in pixels; `under`: the picture to draw over, `OVERSAMPLING` times as large."""
    size = (width * OVERSAMPLING, height * OVERSAMPLING)
    canvas = under or Image.fromarray(_paper(rng, size[1], size[0]))
    kinds = (_text, _lines, _shapes, _grid)
    for kind in rng.choice(len(kinds), size=int(rng.integers(1, 3)), replace=False, p=(0.4, 0.25, 0.2, 0.15)):
        canvas = kinds[kind](rng, canvas)
    return canvas.resize((width, height), Image.Resampling.BOX)


def _paper(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """One colour, or a slow change from one to another: uint8 (height, width, 3)."""
    first = np.array(_color(rng), float)
    second = np.array(_color(rng), float) if rng.random() < 0.4 else first
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    along = (x * math.cos(angle) + y * math.sin(angle))[..., None]  # (height, width, 1)
    along = (along - along.min()) / (np.ptp(along) + 1e-6)
    pixels: np.ndarray = (first + along * (second - first)).round().astype(np.uint8)
    return pixels


def _color(rng: np.random.Generator) -> Color:
    """Black, white, grey or any colour."""
    kind = rng.random()
    if kind < 0.55:
        grey = int(rng.choice([rng.integers(0, 40), rng.integers(215, 256), rng.integers(256)]))
        return grey, grey, grey
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue


def _ink(rng: np.random.Generator, canvas: Image.Image) -> Color:
    """A colour that can be seen on what is there."""
    mean = float(np.asarray(canvas.resize((8, 8), Image.Resampling.BOX).convert("L")).mean())
    for _ in range(8):
        color = _color(rng)
        if abs(0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] - mean) > 60:
            break
    return color


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text(rng: np.random.Generator, canvas: Image.Image) -> Image.Image:
    size = OVERSAMPLING * int(math.exp(rng.uniform(math.log(14), math.log(80))))  # of the letters, in pixels
    font, ink = _font(size), _ink(rng, canvas)
    turn = rng.uniform(-8, 8) if rng.random() < 0.5 else rng.choice([0.0, 90.0, rng.uniform(-90, 90)])
    layer = Image.new("L", (2 * canvas.width, 2 * canvas.height))
    pen = ImageDraw.Draw(layer)
    stroke = int(rng.integers(0, max(1, size // 14) + 1))
    left, line = int(rng.integers(size)), int(size * rng.uniform(1.1, 1.6))
    for top in range(0, layer.height, line):
        words = "".join(rng.choice(list(_CHARACTERS), size=layer.width // max(1, size // 2)))
        pen.text((left, top), words, fill=255, font=font, stroke_width=stroke)
    layer = layer.rotate(float(turn), Image.Resampling.BILINEAR)
    corner = (canvas.width // 2, canvas.height // 2)
    layer = layer.crop((*corner, corner[0] + canvas.width, corner[1] + canvas.height))
    canvas.paste(ink, mask=layer)
    return canvas


def _lines(rng: np.random.Generator, canvas: Image.Image) -> Image.Image:
    pen, reach = ImageDraw.Draw(canvas), canvas.width + canvas.height
    parallel = rng.random() < 0.4
    angle, ink = rng.uniform(0, math.pi), _ink(rng, canvas)
    for _ in range(int(rng.integers(3, 16))):
        if not parallel:
            angle, ink = rng.uniform(0, math.pi), _ink(rng, canvas)
        x, y = rng.uniform(0, canvas.width), rng.uniform(0, canvas.height)
        dx, dy = reach * math.cos(angle), reach * math.sin(angle)
        pen.line((x - dx, y - dy, x + dx, y + dy), fill=ink, width=int(rng.integers(2, 5 * OVERSAMPLING)))
    return canvas


def _shapes(rng: np.random.Generator, canvas: Image.Image) -> Image.Image:
    """Flat areas with and without an outline, as in drawings and signs."""
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(2, 7))):
        x, y = rng.uniform(0, canvas.width), rng.uniform(0, canvas.height)
        radius = rng.uniform(0.05, 0.4) * canvas.width
        outline = _color(rng) if rng.random() < 0.6 else None
        width = int(rng.integers(2, 4 * OVERSAMPLING))
        if rng.random() < 0.5:
            other = radius * rng.uniform(0.4, 1)
            pen.ellipse((x - radius, y - other, x + radius, y + other), _color(rng), outline, width)
        else:
            turns = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 7))))
            corners = [(x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns]
            pen.polygon(corners, _color(rng), outline, width)
    return canvas


def _grid(rng: np.random.Generator, canvas: Image.Image) -> Image.Image:
    """A chart: rules at equal distances, bars or a curve."""
    pen, ink = ImageDraw.Draw(canvas), _ink(rng, canvas)
    step, width = OVERSAMPLING * int(rng.integers(8, 40)), int(rng.integers(2, 2 * OVERSAMPLING))
    for place in range(int(rng.integers(step)), max(canvas.size), step):
        pen.line((0, place, canvas.width, place), ink, width)
        if rng.random() < 0.7:
            pen.line((place, 0, place, canvas.height), ink, width)
    color = _color(rng)
    if rng.random() < 0.5:
        for left in range(step // 4, canvas.width, step):
            pen.rectangle((left, rng.uniform(0, canvas.height), left + step // 2, canvas.height), color)
    else:
        count = canvas.width // (2 * OVERSAMPLING) + 2
        heights = canvas.height / 2 + np.cumsum(rng.normal(0, step / 6, count))
        pen.line([(2 * OVERSAMPLING * i, float(y)) for i, y in enumerate(heights)], color, width + 2)
    return canvas
