"""TIFF files by their tags: what a sample means decides, not the mode Pillow takes for it (TIFF 6.0).

Pictures of 8 bits or fewer that Pillow reads rightly are left to it; the others are decoded by tifffile and brought to
16 bits here: 9 to 16, 32 bits, floating point, planar, white is zero.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seesr.photos.exif import IMAGE, Data, numbers, read_block

Samples = npt.NDArray[np.uint16]
LEVELS = 65535

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3, _LAB: 3}
_PHOTOMETRIC = {
    4: "a transparency mask",
    9: "ICC L*a*b* colours",
    10: "ITU L*a*b* colours",
    32803: "undeveloped sensor data",
    32844: "LogL samples",
    32845: "LogLuv samples",
    34892: "undeveloped sensor data",
    51177: "a depth map",
    52527: "a semantic mask",
}
_UINT, _INT, _FLOAT = 1, 2, 3


class NotSupported(ValueError):
    """The file is sound, but holds what is not read; the message says what, as in "32-bit complex samples"."""


@dataclass(frozen=True)
class TiffFacts:
    """What the tags of a TIFF's first picture say; numbers as in TIFF 6.0."""

    width: int
    height: int
    photometric: int
    bits: int
    sample_format: int
    samples: int
    planar: bool
    extra: tuple[int, ...]
    compression: int

    @property
    def colors(self) -> int:
        """Samples of a pixel that are colours."""
        return _COLORS.get(self.photometric, self.samples)

    @property
    def fine(self) -> bool:
        """More than 8 bits a sample, so that Pillow is not asked."""
        return self.bits > 8


def tiff_facts(data: Data) -> TiffFacts:
    """What the tags say.

    Raises:
        NotSupported: the samples mean what is not read.
        DamagedBlock: no TIFF. ValueError: contradictory tags.
    """
    layout, parts = read_block(data)
    tags = parts[IMAGE]

    def all_of(tag: int, default: int) -> list[int]:
        return [int(number) for number in numbers(tags[tag], layout)] if tag in tags else [default]

    bits = all_of(258, 1)
    formats = all_of(339, 1)
    samples = all_of(277, 1)[0]
    facts = TiffFacts(
        width=all_of(256, 0)[0],
        height=all_of(257, 0)[0],
        photometric=all_of(262, 1 if samples < 3 else 2)[0],
        bits=bits[0],
        sample_format=formats[0],
        samples=samples,
        planar=all_of(284, 1)[0] == 2 and samples > 1,
        extra=tuple(all_of(338, 0)) if 338 in tags else (),
        compression=all_of(259, 1)[0],
    )
    if facts.photometric not in _COLORS:
        raise NotSupported(_PHOTOMETRIC.get(facts.photometric, f"colours of the kind {facts.photometric}"))
    if len(set(bits)) > 1 or len(set(formats)) > 1:
        raise NotSupported("channels of different depths")
    if facts.sample_format == _INT:
        raise NotSupported("signed samples")
    if facts.sample_format in (5, 6):
        raise NotSupported("complex samples")
    if facts.sample_format == _FLOAT and facts.bits not in (16, 32, 64):
        raise NotSupported(f"{facts.bits}-bit floating-point samples")
    if facts.sample_format != _FLOAT and facts.bits > 32:
        raise NotSupported(f"{facts.bits}-bit samples")
    if facts.fine and facts.photometric in (_PALETTE, _YCBCR):
        raise NotSupported(f"{facts.bits}-bit {'palette' if facts.photometric == _PALETTE else 'YCbCr'} samples")
    if facts.fine and facts.photometric == _LAB and (facts.bits, facts.sample_format) != (16, _UINT):
        raise NotSupported(f"{facts.bits}-bit L*a*b* colours")
    if facts.samples < facts.colors:
        raise ValueError(f"{facts.samples} samples for {facts.colors} colours")
    return facts


def read_fine_tiff(path: Path, facts: TiffFacts) -> tuple[Samples, Samples | None, str]:
    """The first picture of a TIFF with more than 8 bits.

    Returns:
        Colours, (h, w, 1, 3 or 4), black 0 (of CMYK: no ink 0); transparency, (h, w), not multiplied into
        them, or None; "L", "RGB", "CMYK", or "sRGB" for colours that were converted to it.

    Raises:
        Exception: of nearly any kind, where the file is damaged.
    """
    import tifffile

    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True  # it tells of every damaged tag
    try:
        with tifffile.TiffFile(path) as file:
            values = np.asarray(file.pages.first.asarray())
    finally:
        logger.disabled = before
    if values.size != facts.width * facts.height * facts.samples:
        raise ValueError("size and samples contradict each other")
    if facts.planar:
        values = values.reshape(facts.samples, facts.height, facts.width).transpose(1, 2, 0)
    values = values.reshape(facts.height, facts.width, facts.samples)
    if facts.photometric == _LAB:
        return _from_lab(values[..., :3]), None, "sRGB"
    levels = _to_levels(values, facts)
    colors = levels[..., : facts.colors]
    if facts.photometric == _WHITE_IS_ZERO:
        colors = LEVELS - colors
    alpha = None
    behind = [i for i, kind in enumerate(facts.extra) if kind in (1, 2) and facts.colors + i < facts.samples]
    if behind:
        alpha = levels[..., facts.colors + behind[0]]
        if facts.extra[behind[0]] == 1:
            colors = _divided(colors, alpha)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[facts.colors]
    return np.ascontiguousarray(colors), alpha, mode


def _to_levels(values: npt.NDArray[np.generic], facts: TiffFacts) -> Samples:
    """Samples as 0..65535: whole numbers by the range of their bits, floating point from 0..1; more is cut off."""
    if facts.sample_format == _FLOAT:
        real = np.nan_to_num(values.astype(np.float64), posinf=1.0, neginf=0.0).clip(0, 1)
        return (real * LEVELS).round().astype(np.uint16)
    if facts.bits == 16:
        return values.astype(np.uint16)
    top = 2.0**facts.bits - 1
    return (values.astype(np.float64).clip(0, top) * (LEVELS / top)).round().astype(np.uint16)


def _divided(colors: Samples, alpha: Samples) -> Samples:
    """Colours into which transparency was multiplied, without it."""
    share = np.maximum(alpha, 1)[..., None] / LEVELS
    return (colors / share).round().clip(0, LEVELS).astype(np.uint16)


SRGB_TO_XYZ = np.array(  # at D50
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)


def _from_lab(values: npt.NDArray[np.generic]) -> Samples:
    """16-bit CIE L*a*b* (L* 0..65535 for 0..100; a* and b* signed, 256 for 1), D50, to sRGB."""
    lightness = values[..., 0].astype(np.float64) * (100 / LEVELS)
    a, b = (values[..., i].astype(np.uint16).view(np.int16) / 256 for i in (1, 2))
    y = (lightness + 16) / 116
    curve = np.stack([y + a / 500, y, y - b / 200], -1)
    xyz = np.where(curve > 6 / 29, curve**3, 3 * (6 / 29) ** 2 * (curve - 4 / 29)) * [0.9642, 1, 0.8249]
    return (encode_srgb(xyz @ np.linalg.inv(SRGB_TO_XYZ).T) * LEVELS).round().astype(np.uint16)


def encode_srgb(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Linear light to sRGB's levels, both in [0, 1]; more is cut off (IEC 61966-2-1)."""
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
