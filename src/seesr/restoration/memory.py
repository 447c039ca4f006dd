"""Keeping to a limit of memory: which tiles, how many at once, and whether a photo can be restored at all.

What pieces and pictures take is counted by `seesr.restoration.needs`. The limit is that of the process on the CPU, and
of its tensors on a GPU. Tiles get smaller than usual only where they have to, since smaller tiles of the enlarger and
of the denoiser make another picture; `changes` says so.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psutil
import torch

from seesr.errors import SeesrError
from seesr.models.tiled_enlarger import TILE
from seesr.restoration.engines import enlarger_of
from seesr.restoration.needs import OVERHEAD, Needs
from seesr.restoration.settings import Settings
from seesr.restoration.sizes import output_size
from seesr.restoration.work_plan import WorkPlan, usual_plan
from seesr.tiling.geometry import LATENT_FACTOR, plan_tiles

ENLARGER_TILES = (TILE, 384, 320, 256, 192, 128, 96, 64)
VAE_TILES = (128, 96, 64, 48, 32)
LATENT_TILES = (96, 80, 64, 48, 32, 24, 16)
MIN_STRIP_PIXELS, MAX_STRIP_PIXELS = 1 << 16, 1 << 22

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def parse_bytes(text: str | int) -> int:
    """`4GB`, `1.5G`, `800MB` or a number of bytes.

    Raises:
        SeesrError: none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", str(text).strip().lower())
    if not match or not float(match[1]):
        raise SeesrError(f"`memory` cannot be {text!r}; give a size such as 4GB or 800MB")
    return int(float(match[1]) * _UNITS[match[2]])


def plan_within(
    limit: int, networks: Any, device: torch.device, photo: tuple[int, int], scale: float, settings: Settings
) -> tuple[WorkPlan, Settings]:
    """Pieces that keep a restoration within `limit` bytes; of the settings, only the denoiser's tiles change.

    Args:
        networks: as for `Needs`.
        photo: width and height.
        settings: its tiles are not made larger, nor more of them worked on at once.

    Raises:
        SeesrError: the smallest pieces take more.
    """
    needs = Needs(networks, photo, scale, settings, device.type == "cuda")
    base, pictures = loaded_bytes(device), needs.pictures + needs.latents
    left = limit - base - pictures
    plan, floor = WorkPlan(), 0

    if enlarger_of(networks, settings.engine) is not None:
        tile, floor = _largest(ENLARGER_TILES, needs.enlarger, left)
        plan = replace(plan, enlarger_tile=tile)
    if needs.diffuse:

        def tiled(side: int) -> WorkPlan:
            whole = side * LATENT_FACTOR
            return replace(plan, vae_tile=side, encode_whole=whole, decode_whole=whole)

        side, least = _largest(VAE_TILES, lambda side: needs.autoencoder(tiled(side)), left)
        plan, floor = tiled(side), max(floor, least)

        sides = [side for side in LATENT_TILES if side < settings.latent_tile_size]
        once: Callable[[int], int] = lambda side: needs.denoiser(side, 1)  # noqa: E731
        side, least = _largest((settings.latent_tile_size, *sides), once, left)
        batch = max(1, min(settings.tile_batch_size, left // max(1, once(side))))
        if side < settings.latent_tile_size:
            overlap = min(settings.latent_tile_overlap, side // 3)
            settings = replace(settings, latent_tile_size=side, latent_tile_overlap=overlap)
        settings = replace(settings, tile_batch_size=batch)
        floor = max(floor, least, needs.color_fix(MIN_STRIP_PIXELS))

        used = max(needs.autoencoder(plan), needs.denoiser(side, batch))
        strip = min(MAX_STRIP_PIXELS, max(MIN_STRIP_PIXELS, left // max(1, needs.color_fix(1))))
        plan = replace(plan, kept_bytes=max(0, left - used), strip_pixels=strip)
    if floor > left:
        raise SeesrError(
            f"{_text(limit)} of memory are not enough: program and model take {_text(base)}, the pictures at "
            f"{'x'.join(map(str, output_size(*photo, scale)))} pixels {_text(pictures)}, the smallest tiles "
            f"{_text(floor)}; allow {_text(base + pictures + floor)} or enlarge less"
        )
    return plan, settings


def changes(
    plan: WorkPlan, fitting: Settings, wished: Settings, networks: Any, photo: tuple[int, int], scale: float
) -> str:
    """What of the picture a limit has changed, as a note for the user; "" if nothing."""
    needs, smaller = Needs(networks, photo, scale, wished), []
    enlarger = enlarger_of(networks, wished.engine)
    width, height = needs.given
    if enlarger and enlarger.tile_shape(height, width, plan.enlarger_tile) != enlarger.tile_shape(height, width):
        smaller.append("enlarger's")
    columns, rows = needs.latent
    pieces = {
        tuple(plan_tiles(rows, columns, each.latent_tile_size, each.latent_tile_overlap, each.tile_blend))
        for each in (fitting, wished)
    }
    if needs.diffuse and len(pieces) > 1:
        smaller.append("denoiser's")
    if not smaller:
        return ""
    return f"to keep to `memory` the {' and '.join(smaller)} tiles are smaller than usual, which changes fine detail"


def working_bytes(networks: Any, device: torch.device, photo: tuple[int, int], scale: float, settings: Settings) -> int:
    """Bytes that a restoration takes beside networks and pictures where nobody sets a limit; on a GPU, its own."""
    needs = Needs(networks, photo, scale, settings, device.type == "cuda")
    columns, rows = needs.latent
    sizes = settings.latent_tile_size, settings.latent_tile_overlap, settings.tile_blend
    return needs.working(usual_plan(settings), settings, len(plan_tiles(rows, columns, *sizes)))


def loaded_bytes(device: torch.device) -> int:
    """Bytes that the program and its networks take as it stands, and on the CPU what the first run adds."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return int(psutil.Process().memory_info().rss) + OVERHEAD


def _largest(sides: tuple[int, ...], cost: Callable[[int], int], left: int) -> tuple[int, int]:
    """(largest side whose cost is within `left`, else the smallest; cost of the smallest if none is, else of it)."""
    needed = 0
    for side in sides:
        needed = cost(side)
        if needed <= left:
            break
    return side, needed


def _text(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
