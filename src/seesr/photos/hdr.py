"""Pictures whose levels are not sRGB's and whose file says so without an ICC profile: HDR, and a PNG's gamma.

PQ and HLG (ITU-R BT.2100) are tone mapped by the curve of BT.2390 (section 5.4.1), applied to the largest of the three
channels, from the picture's own peak to the white of sRGB at 203 cd/m² (BT.2408). Levels up to about a third of that
white stay as they are; what is brighter is rolled off.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seesr.photos.exif import Data
from seesr.photos.tiff import encode_srgb

Real = npt.NDArray[np.float64]

_WHITE = 203.0  # cd/m²
_PQ, _HLG = 16, 18
_TRANSFERS = {_PQ: "PQ", _HLG: "HLG"}
_PRIMARIES = {1: "BT.709", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_TO_XYZ = {  # linear light to XYZ; white D65, of 11 taken for D65 too
    1: np.array(
        [[0.4123908, 0.3575843, 0.1804808], [0.2126390, 0.7151687, 0.0721923], [0.0193308, 0.1191948, 0.9505322]]
    ),
    9: np.array([[0.6369580, 0.1446169, 0.1688810], [0.2627002, 0.6779981, 0.0593017], [0.0, 0.0280727, 1.0609851]]),
    12: np.array([[0.4865709, 0.2656677, 0.1982173], [0.2289746, 0.6917385, 0.0792869], [0.0, 0.0451134, 1.0439444]]),
}
_SDR = frozenset({1, 2, 4, 5, 6, 13, 14, 15})  # BT.709's, sRGB's and their like: shown as sRGB
_ROWS = 256
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128


@dataclass(frozen=True)
class Transfer:
    """What a file says its levels mean. primaries, transfer: numbers of ITU-T H.273; gamma: exponent, where 0 is none.

    full: levels reach from 0 to the largest (not "video" range).
    """

    primaries: int = 1
    transfer: int = 13
    full: bool = True
    gamma: float = 0.0

    @property
    def name(self) -> str:
        """As the user knows it."""
        if self.gamma:
            return f"gamma {self.gamma:.4g}"
        kind = _TRANSFERS.get(self.transfer, "linear" if self.transfer == 8 else "SDR")
        return f"{kind}, {_PRIMARIES.get(self.primaries, 'unknown primaries')}"

    @property
    def hdr(self) -> bool:
        """Whether it is to be tone mapped."""
        return self.transfer in _TRANSFERS

    @property
    def supported(self) -> bool:
        """Whether `to_srgb` knows it."""
        known = self.transfer in _SDR or self.transfer == 8 or self.hdr
        return known and self.primaries in {1, 2, 5, 6, 9, 11, 12}


def transfer_of(data: Data, format_name: str, info: dict[Any, Any]) -> Transfer | None:
    """What a PNG, AVIF or HEIC file says beside an ICC profile; None where that is sRGB, or nothing.

    Raises:
        ValueError: a damaged chunk.
    """
    if format_name == "PNG":
        return _of_png(data)
    if format_name in ("AVIF", "HEIF"):
        head = data[0 : 1 << 16]
        place = head.find(b"colrnclx")
        if place >= 0 and len(head) >= place + 15:
            primaries, transfer = struct.unpack(">HH", head[place + 8 : place + 12])
            found = Transfer(primaries, transfer)  # the decoder has spread the range
            return None if _plain(found) or info.get("icc_profile") else found
    return None


def _plain(found: Transfer) -> bool:
    return found.transfer in _SDR and found.primaries in (1, 2, 5, 6) and found.full and not found.gamma


def _of_png(data: Data) -> Transfer | None:
    place, gamma, known = 8, 0, False
    while place + 12 <= len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + min(size, 64)]
        if kind == b"cICP" and size == 4:  # counts for more than all others
            found = Transfer(body[0], body[1], bool(body[3]))
            return None if _plain(found) else found
        if kind == b"gAMA" and size == 4:
            gamma = int.from_bytes(body, "big")
        known = known or kind in (b"iCCP", b"sRGB")
        if kind == b"IDAT":
            break
        place += 12 + size
    if known or not gamma or abs(gamma - 45455) < 1500:
        return None
    return Transfer(gamma=100_000 / gamma) if 1_000 < gamma < 1_000_000 else None


def to_srgb(levels: npt.NDArray[np.uint16], found: Transfer) -> npt.NDArray[np.uint16]:
    """(h, w, 3) of 0..65535 with the given meaning → the same in sRGB."""
    step = _rows(levels.shape[0])
    peak = 0.0
    if found.hdr:
        peak = max(float(_light(levels[rows], found).max()) for rows in step)
    result = np.empty_like(levels)
    for rows in step:
        light = _light(levels[rows], found)
        if found.hdr:
            largest = light.max(-1, keepdims=True)
            light = light * (_tone_mapped(largest, peak) / np.maximum(largest, 1e-9)) / _WHITE
        result[rows] = (encode_srgb(light) * 65535).round()
    return result


def _rows(height: int) -> list[slice]:
    return [slice(top, top + _ROWS) for top in range(0, height, _ROWS)]


def _light(levels: npt.NDArray[np.uint16], found: Transfer) -> Real:
    """Linear light with BT.709's primaries: cd/m² of HDR, else 0..1."""
    signal = levels / 65535
    if not found.full:
        signal = ((signal * 255 - 16) / 219).clip(0, 1)
    decode: Callable[[Real], Real]
    if found.gamma:
        return signal**found.gamma
    if found.transfer == _PQ:
        decode = pq_to_light
    elif found.transfer == _HLG:
        decode = _hlg_to_light
    elif found.transfer == 8:
        decode = _same
    else:
        decode = _srgb_to_light
    light: Real = decode(signal)
    primaries = {11: 12}.get(found.primaries, found.primaries)
    if primaries in (9, 12):
        light = (light @ (np.linalg.inv(_TO_XYZ[1]) @ _TO_XYZ[primaries]).T).clip(0, None)
    return light


def _same(signal: Real) -> Real:
    return signal


def _srgb_to_light(signal: Real) -> Real:
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def pq_to_light(signal: Real) -> Real:
    """PQ signal, 0..1, to cd/m² (SMPTE ST 2084)."""
    power = np.maximum(signal, 0) ** (1 / _M2)
    return np.asarray(10_000 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1))


def light_to_pq(light: Real) -> Real:
    """cd/m² to PQ signal, 0..1."""
    power = (np.maximum(light, 0) / 10_000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _hlg_to_light(signal: Real) -> Real:
    """HLG signal to cd/m² on a screen of 1000 (BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luma = scene @ np.array([0.2627, 0.6780, 0.0593])
    light: Real = 1000 * scene * np.maximum(luma, 1e-9)[..., None] ** 0.2
    return light


def _tone_mapped(light: Real, peak: float) -> Real:
    """BT.2390's roll-off of cd/m² from `peak` to the white of sRGB."""
    if peak <= _WHITE:
        return light
    top = float(light_to_pq(np.array(peak)))
    target = float(light_to_pq(np.array(_WHITE))) / top
    knee = max(0.0, 1.5 * target - 0.5)
    level = light_to_pq(light) / top
    t = ((level - knee) / (1 - knee)).clip(0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * target
    return pq_to_light(np.where(level < knee, level, spline) * top)
