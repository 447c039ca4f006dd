"""What the tagger saw and where, as one picture: a sheet of panels to look at (`seesr tags --map`).

The first panel shows at each place the tag that is seen there most strongly. Then comes a panel for each tag, the most
probable first: in colour where it is seen, with a line around where its map is above a half, dark where not.
"""

import colorsys
import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from seesr.models.tagging import Tag

_SIDES = (380, 300, 230)  # pixels of a panel's longer side: few panels, some, many
_GAP, _MARGIN = 18, 26  # between panels, around them
_ABOVE, _BELOW = 8, 14  # a label: from the panel to the text, from the text to the next panel
_FONT, _LEAST_FONT = 17, 13
GROUND, _TEXT, _FAINT = (18, 20, 24), (236, 238, 242), (140, 146, 156)
_HUES = ("#ff9f40", "#4cc2ff", "#7ee081", "#ff6f91", "#c79bff", "#ffe066", "#35d6c0", "#ff7d5c", "#8fa8ff", "#e88be0")
_LINE = 0.5  # of a map: where the line around it runs
_FAINTEST = 0.25  # of a map: below it no tag counts as the strongest
_ASPECT = 1.5  # of the sheet, as near as panels allow


def draw_tags(photo: Image.Image, tags: Sequence[Tag], maps: torch.Tensor) -> Image.Image:
    """A sheet of a photo's tags.

    Args:
        photo: RGB, of any size.
        tags: with probabilities; may be none.
        maps: (tags, h, w) in [0, 1], of the whole photo.
    """
    order = sorted(range(len(tags)), key=lambda i: -tags[i].probability)
    panels = len(order) + 1 if len(order) != 1 else 1  # with one tag the first panel would say the same again
    side = _SIDES[0] if panels <= 4 else _SIDES[1] if panels <= 12 else _SIDES[2]
    share = side / max(photo.size)
    width, height = (max(1, round(length * share)) for length in photo.size)
    small = photo.resize((width, height), Image.Resampling.LANCZOS)
    font = ImageFont.load_default(_FONT)
    wide = max(width, 150)  # room for the label of an upright photo
    row = height + _ABOVE + _FONT + _BELOW
    columns = _columns(panels, wide + _GAP, row + _GAP)
    rows = math.ceil(panels / columns)
    size = 2 * _MARGIN + columns * (wide + _GAP) - _GAP, 2 * _MARGIN + rows * (row + _GAP) - _GAP
    sheet = Image.new("RGB", size, GROUND)
    draw = ImageDraw.Draw(sheet)
    grown = [_grown(maps[i], (width, height)) for i in order]
    colors = [_color(place) for place in range(len(order))]

    def put(place: int, panel: Image.Image, name: str, value: str, color: tuple[int, int, int] | None) -> None:
        left, top = (_MARGIN + place % columns * (wide + _GAP), _MARGIN + place // columns * (row + _GAP))
        sheet.paste(panel, (left + (wide - width) // 2, top))
        _label(draw, (left, top + height + _ABOVE), wide, name, value, color, font)

    if not order:
        put(0, small, "no tag seen", "", None)
    first = panels - len(order)
    if order and first:
        strengths = [tags[i].probability for i in order]
        put(0, _strongest(small, grown, strengths, colors), "strongest at each place", "", None)
    for place, i in enumerate(order):
        panel = _spotlight(small, grown[place], colors[place])
        put(first + place, panel, tags[i].name, f"{tags[i].probability:.2f}", colors[place])
    return sheet


def _columns(panels: int, across: int, down: int) -> int:
    """The number of columns that brings the sheet nearest to its aspect."""

    def off(columns: int) -> float:
        rows = math.ceil(panels / columns)
        empty = columns * rows - panels
        return abs(math.log(columns * across / (rows * down) / _ASPECT)) + empty / panels

    return min(range(1, panels + 1), key=off)


def _grown(tag_map: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """(h, w) → (height, width), float32 in [0, 1]."""
    cells = Image.fromarray(tag_map.float().cpu().numpy())
    return np.asarray(cells.resize(size, Image.Resampling.BICUBIC)).clip(0, 1)


def _color(place: int) -> tuple[int, int, int]:
    if place < len(_HUES):
        code = int(_HUES[place][1:], 16)
        return code >> 16, code >> 8 & 255, code & 255
    red, green, blue = colorsys.hls_to_rgb(place * 0.618 % 1, 0.7, 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)


def _dark(photo: Image.Image, share: float) -> np.ndarray:
    """The photo in dim grey, (h, w, 3) of floats."""
    grey = np.asarray(photo.convert("L"), dtype=np.float32)[..., None]
    return np.asarray(GROUND, dtype=np.float32) * (1 - share) + grey * share


def _outlined(picture: np.ndarray, inside: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """`picture` with a line along the border of `inside`, (h, w) of bool."""
    mask = Image.fromarray(inside.astype(np.uint8) * 255)
    edge = np.asarray(mask.filter(ImageFilter.MaxFilter(3)), dtype=np.int16) - np.asarray(
        mask.filter(ImageFilter.MinFilter(3)), dtype=np.int16
    )
    line = np.asarray(Image.fromarray(edge.astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6)), dtype=np.float32)
    share = (line / 255)[..., None]
    return picture * (1 - share) + np.asarray(color, dtype=np.float32) * share


def _spotlight(photo: Image.Image, tag_map: np.ndarray, color: tuple[int, int, int]) -> Image.Image:
    light = (tag_map * 1.25).clip(0, 1)[..., None]
    picture = _dark(photo, 0.4) * (1 - light) + np.asarray(photo, dtype=np.float32) * light
    return _picture(_outlined(picture, tag_map > _LINE, color))


def _strongest(
    photo: Image.Image, maps: list[np.ndarray], strengths: list[float], colors: list[tuple[int, int, int]]
) -> Image.Image:
    seen = np.stack([tag_map * strength for tag_map, strength in zip(maps, strengths)])  # (tags, h, w)
    first = seen.argmax(0)
    there = np.take_along_axis(np.stack(maps), first[None], 0)[0]
    first = np.where(there < _FAINTEST, -1, first)
    picture = _dark(photo, 0.75)
    for number, color in enumerate(colors):
        here = first == number
        share = np.where(here, 0.25 + 0.4 * there, 0)[..., None]
        picture = picture * (1 - share) + np.asarray(color, dtype=np.float32) * share
        picture = _outlined(picture, here, color)
    return _picture(picture)


def _picture(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def _label(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    width: int,
    name: str,
    value: str,
    color: tuple[int, int, int] | None,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """A dot in the tag's colour, its name, and at the right its probability; long names smaller, then cut."""
    left, top = place
    middle = top + _FONT // 2 + 2
    right = left + width
    if value:
        draw.text((right, middle), value, _FAINT, font, anchor="rm")
        right -= round(draw.textlength(value, font)) + 10
    if color:
        radius = _FONT // 3
        draw.ellipse((left, middle - radius, left + 2 * radius, middle + radius), color)
        left += 2 * radius + 8
    size = _FONT
    while draw.textlength(name, font) > right - left and size > _LEAST_FONT:
        size -= 1
        font = ImageFont.load_default(size)
    if draw.textlength(name, font) > right - left:
        while name and draw.textlength(name + "…", font) > right - left:
            name = name[:-1]
        name = name.rstrip() + "…"
    draw.text((left, middle), name, _TEXT if color else _FAINT, font, anchor="lm")
