"""Keeping to a limit of memory: which tiles, how many at once, and whether a photo can be restored at all.

What a tile takes is found by running the very code on fake tensors, which have a shape and no numbers: it counts the
bytes of all tensors alive at one time. It is proportional to a tile's area, so one small run a network tells of all
sizes. The limit is that of the process on the CPU, and of its tensors on a GPU.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from seesr.errors import SeesrError
from seesr.models.enlarger import SCALE
from seesr.restoration.live_bytes import LiveBytes
from seesr.restoration.profiles import Profile
from seesr.restoration.sizes import output_size, work_scale, working_size
from seesr.restoration.work_plan import WorkPlan
from seesr.tiling.geometry import LATENT_FACTOR, Tile

ENLARGER_TILES = (384, 256, 192, 128, 96, 64)
VAE_TILES = (128, 96, 64, 48, 32)
LATENT_TILES = (96, 80, 64, 48, 32, 24, 16)
MIN_STRIP_PIXELS, MAX_STRIP_PIXELS = 1 << 16, 1 << 22

_SPARE = 1.25  # of what tensors take: buffers of the convolution library, and what the allocator does not reuse
_OVERHEAD = 150_000_000  # on the CPU: kernels made at the first run, and the heap
_STRIP_BYTES = 150  # per pixel that the colour fix has in hand
_ROW_BYTES = 20  # per pixel of the enlarger's rows: float32 thrice, and what is brought to 8 bits
_LATENT_COPIES = 16  # LR embedding, noise, sample, predictions, what schedulers remember; float32
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def parse_bytes(text: str | int) -> int:
    """`4GB`, `1.5G`, `800MB` or a number of bytes.

    Raises:
        SeesrError: none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", str(text).strip().lower())
    if not match or not float(match[1]):
        raise SeesrError(f"memory cannot be {text!r}; give a size such as 4GB or 800MB")
    return int(float(match[1]) * _UNITS[match[2]])


@dataclass(frozen=True)
class Need:
    """Bytes that a restoration takes besides tiles. base: program and networks. pictures: those of this photo."""

    base: int
    pictures: int


def plan_within(
    limit: int, networks: Any, device: torch.device, photo: tuple[int, int], scale: float, settings: Profile
) -> tuple[WorkPlan, Profile]:
    """Pieces that keep a restoration within `limit` bytes; of the settings, only the denoiser's tiles change.

    Args:
        networks: with `enlarger`, `vae`, `unet`, `controlnet` (None: there is none).
        photo: width and height.
        settings: its tiles are not made larger, nor more of them worked on at once.

    Raises:
        SeesrError: the smallest pieces take more.
    """
    diffuse = settings.num_inference_steps > 0
    on_gpu = device.type == "cuda"
    need = _need(networks, device, photo, scale, settings)
    left = limit - need.base - need.pictures
    width, height = working_size(photo, scale, settings.process_size)
    rows = (
        0 if on_gpu else _ROW_BYTES * SCALE * SCALE * width / work_scale(scale)
    )  # per row of what the enlarger is given
    plan, floor = WorkPlan(), 0

    if networks.enlarger is not None:
        per_pixel = _SPARE * _peak(lambda: networks.enlarger(_zeros(networks.enlarger, 3, 64, 64))) / 64**2
        tile, least = _largest(ENLARGER_TILES, lambda side: per_pixel * side * side + rows * side, left)
        plan, floor = replace(plan, enlarger_tile=tile), max(floor, least)
    if diffuse:
        per_position = _SPARE * max(_vae_peaks(networks.vae, VAE_TILES[-1])) / VAE_TILES[-1] ** 2
        keys = _attention_bytes(networks.vae, height // LATENT_FACTOR * (width // LATENT_FACTOR))
        tile, least = _largest(VAE_TILES, lambda side: per_position * side * side + keys, left)
        kept = max(0, int(left - per_position * tile * tile - keys))
        whole = tile * LATENT_FACTOR
        plan = replace(plan, vae_tile=tile, encode_whole=whole, decode_whole=whole)
        floor = max(floor, least)

        once = _SPARE * _denoiser_peak(networks.unet, networks.controlnet, settings) / LATENT_TILES[-1] ** 2
        sides = [side for side in LATENT_TILES if side < settings.latent_tile_size]
        tile, least = _largest((settings.latent_tile_size, *sides), lambda side: once * side * side, left)
        batch = max(1, min(settings.tile_batch_size, int(left / (once * tile * tile))))
        overlap = min(settings.latent_tile_overlap, tile // 3)
        settings = replace(settings, latent_tile_size=tile, latent_tile_overlap=overlap, tile_batch_size=batch)
        kept = min(kept, max(0, int(left - batch * once * tile * tile)))
        floor = max(floor, least)

        strip = min(MAX_STRIP_PIXELS, max(MIN_STRIP_PIXELS, left // _STRIP_BYTES))
        plan = replace(plan, kept_bytes=kept, strip_pixels=strip)
        floor = max(floor, MIN_STRIP_PIXELS * _STRIP_BYTES)
    if floor > left:
        raise SeesrError(
            f"{_text(limit)} of memory are not enough: program and model take {_text(need.base)}, the pictures at "
            f"{'x'.join(map(str, output_size(*photo, scale)))} pixels {_text(need.pictures)}, the smallest tiles "
            f"{_text(floor)}; allow {_text(need.base + need.pictures + floor)} or enlarge less"
        )
    return plan, settings


def picture_bytes(photo: tuple[int, int], scale: float, settings: Profile) -> int:
    """Bytes of all that grows with the picture: Pillow has 4 a pixel; one result is being finished and written."""
    width, height = working_size(photo, scale, settings.process_size)
    worked, result, seen = width * height, *(a * b for a, b in (output_size(*photo, scale), photo))
    pictures = 3 * 4 * result + (4 + 4 * 3) * seen  # result, finished, written; the photo and its float tensor
    return pictures + 2 * 4 * worked if settings.num_inference_steps else pictures


# ------------------------------------------------------------------------------------------------------ what is taken


def _need(networks: Any, device: torch.device, photo: tuple[int, int], scale: float, settings: Profile) -> Need:
    latents = 0
    if settings.num_inference_steps:
        width, height = (side // LATENT_FACTOR for side in working_size(photo, scale, settings.process_size))
        latents = _LATENT_COPIES * networks.unet.config.in_channels * 4 * width * height
    if device.type == "cuda":
        return Need(int(torch.cuda.memory_allocated(device)), latents)
    base = psutil.Process().memory_info().rss + _OVERHEAD
    return Need(base, picture_bytes(photo, scale, settings) + latents)


def _largest(sides: tuple[int, ...], cost: Callable[[int], float], left: float) -> tuple[int, int]:
    """(largest side whose cost is within `left`, else the smallest; cost of the smallest)."""
    fitting = [side for side in sides if cost(side) <= left]
    return (fitting or [sides[-1]])[0], int(cost(sides[-1]))


def _zeros(network: Any, *shape: int) -> torch.Tensor:
    parameter = next(network.parameters())
    return torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device)


def _peak(run: Callable[[], Any]) -> int:
    with torch.inference_mode(), FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as memory:
        run()
    return memory.peak


def _vae_peaks(vae: Any, side: int) -> tuple[int, int]:
    """Bytes for encoding and for decoding a tile in the middle of a picture; `side` in latent pixels."""
    from diffusers import AutoencoderKL

    from seesr.tiling.vae import decoder_margin, encoder_margin
    from seesr.tiling.vae_layers import decoder_layers, encoder_layers, run_tiles

    channels = vae.config.latent_channels
    if not isinstance(vae, AutoencoderKL):
        ahead, after = 2 * encoder_margin(vae) + side, 2 * decoder_margin(vae) + side
        return (
            _peak(lambda: vae.encode(_zeros(vae, 3, ahead * LATENT_FACTOR, ahead * LATENT_FACTOR))),
            _peak(lambda: vae.decode(_zeros(vae, channels, after, after))),
        )
    whole = 3 * side
    tile = [Tile(side, side, side, side)]

    def encode(area: Tile) -> torch.Tensor:
        return _zeros(vae, 3, area.height, area.width)

    def decode(area: Tile) -> torch.Tensor:
        return _zeros(vae, channels, area.height, area.width)

    def all_of(layers: list[Any], factor: int, cut_out: Callable[[Tile], torch.Tensor]) -> None:
        list(run_tiles(layers, tile, whole, whole, factor, cut_out, 1 << 60, lambda done, total: None))

    return (
        _peak(lambda: all_of(encoder_layers(vae, side, side), LATENT_FACTOR, encode)),
        _peak(lambda: all_of(decoder_layers(vae, side, side), 1, decode)),
    )


def _attention_bytes(vae: Any, positions: int) -> int:
    """What the middle attention of an `AutoencoderKL` reads of all tiles, and its keys and values."""
    from seesr.tiling.vae_layers import KEYS

    channels = getattr(vae.config, "block_out_channels", (0,))[-1]
    return 3 * min(KEYS, positions) * channels * next(vae.parameters()).element_size()


def _denoiser_peak(unet: Any, controlnet: Any, settings: Profile) -> int:
    """Bytes for one tile of the smallest size."""
    from seesr.restoration.diffusion import Context, TilePredictor

    side, config = LATENT_TILES[-1], unet.config
    tile, guided = Tile(0, 0, side, side), settings.guidance_scale > 1

    def condition(tile: Tile) -> torch.Tensor:
        if controlnet.config.latent_condition:
            return _zeros(unet, config.in_channels, side, side)
        return _zeros(unet, 3, side * LATENT_FACTOR, side * LATENT_FACTOR)

    def run() -> None:
        text = _zeros(unet, 77, config.cross_attention_dim).expand(2, -1, -1)
        context = Context(text, _zeros(unet, 145, config.image_embed_dim))
        with TilePredictor(unet, controlnet, condition, [tile], [context], settings, 0) as predictor:
            time = torch.ones((), device=unet.device, dtype=torch.long)
            predictor([tile], _zeros(unet, config.in_channels, side, side), time, guided)

    return _peak(run)


def _text(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
