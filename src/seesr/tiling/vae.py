"""Pictures of any size into latents and back, in bounded memory and without seams.

Small pictures go through the autoencoder in one piece. Large ones go in tiles that give what one piece would give:
Stable Diffusion's VAE with statistics shared over all tiles (`seesr.tiling.vae_layers`), any other autoencoder with a
margin as wide as its convolutions reach. How far that is, is found by putting NaN into one latent pixel and looking
where it comes out: an autoencoder that mixes the whole picture shows it there, and is refused.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from seesr.errors import SeesrError
from seesr.tiling.geometry import LATENT_FACTOR, Tile, partition
from seesr.tiling.vae_layers import cut, decoder_layers, encoder_layers, run_tiles

Progressed = Callable[[int, int], None]

_LONGEST_PROBE = 1025


def encode(
    vae: Any,
    pixels: Callable[[Tile], Tensor],
    height: int,
    width: int,
    tile: int,
    kept_bytes: int,
    progress: Progressed,
) -> Tensor:
    """Mean of the posterior times the scaling factor, (1, c, height, width), float32.

    Args:
        pixels: tile in pixels → (1, 3, h, w) in [-1, 1], on the VAE's device and of its dtype.
        height, width: of the latents.
        tile: side of a tile in latent pixels; 0 for one piece.
        kept_bytes: as for `run_tiles`.
        progress: called with units of work done and of all.
    """
    fetch_offloaded(vae)
    whole = Tile(0, 0, height, width)
    if not tile:
        latents: Tensor = vae.encode(pixels(whole.scaled(LATENT_FACTOR))).latent_dist.mode().float()
        progress(1, 1)
        latents = latents * vae.config.scaling_factor
        return latents
    tiles = partition(height, width, tile)
    parts: Iterator[tuple[Tile, Tensor]]
    if isinstance(vae, AutoencoderKL):
        layers = encoder_layers(vae, height, width)
        moments = run_tiles(layers, tiles, height, width, LATENT_FACTOR, pixels, kept_bytes, progress)
        parts = ((place, values.chunk(2, 1)[0]) for place, values in moments)
    else:
        margin = encoder_margin(vae)
        parts = _with_margin(
            tiles,
            lambda area: vae.encode(pixels(area.scaled(LATENT_FACTOR))).latent_dist.mode(),
            *(margin, 1, height, width, progress),
        )
    result: Tensor | None = None
    for place, values in parts:
        if result is None:
            result = values.new_empty(1, values.shape[1], height, width, dtype=torch.float32)
        place.of(result).copy_(values)
    assert result is not None
    return result.mul_(vae.config.scaling_factor)


def decode(
    vae: Any, latents: Tensor, tile: int, kept_bytes: int, progress: Progressed
) -> Iterator[tuple[Tile, Tensor]]:
    """Yields the decoded picture in parts: where in the latents, and (1, 3, 8h, 8w), nominally in [-1, 1].

    Args:
        latents: (1, c, h, w), float32, as `encode` gives them. Others as there.
    """
    fetch_offloaded(vae)
    height, width = latents.shape[-2:]
    scaled = (latents / vae.config.scaling_factor).to(vae.dtype)
    if not tile:
        decoded = vae.decode(scaled).sample
        progress(1, 1)
        yield Tile(0, 0, height, width), decoded
        return
    tiles = partition(height, width, tile)
    if isinstance(vae, AutoencoderKL):
        layers = decoder_layers(vae, height, width)
        yield from run_tiles(layers, tiles, height, width, 1, lambda area: area.of(scaled), kept_bytes, progress)
    else:
        yield from _with_margin(
            tiles,
            lambda area: vae.decode(area.of(scaled)).sample,
            *(decoder_margin(vae), LATENT_FACTOR, height, width, progress),
        )


def fetch_offloaded(network: Any) -> None:
    """Bring a network to its device where accelerate keeps it elsewhere until `forward`, which tiles bypass."""
    hook = getattr(network, "_hf_hook", None)
    if hook is not None:
        hook.pre_forward(network)


def _with_margin(
    tiles: list[Tile],
    run: Callable[[Tile], Tensor],
    margin: int,
    factor: int,
    height: int,
    width: int,
    progress: Progressed,
) -> Iterator[tuple[Tile, Tensor]]:
    """Each tile's part of what `run` makes of it and its margin; the output has `factor` times the latents' size."""
    for done, tile in enumerate(tiles, 1):
        area = tile.grown(margin, height, width)
        values = cut(run(area), area.scaled(factor), tile.scaled(factor))
        progress(done, len(tiles))
        yield tile, values


# ---------------------------------------------------------------------------------------------------- how far it sees


@torch.inference_mode()
def encoder_margin(vae: Any) -> int:
    """Latent pixels beyond a tile that an encoder of convolutions alone reads."""
    f = LATENT_FACTOR

    def spread(length: int) -> Tensor:
        pixels = torch.zeros(1, 3, f, f * length, dtype=vae.dtype, device=vae.device)
        pixels[..., f * (length // 2) : f * (length // 2 + 1)] = math.nan
        latents: Tensor = vae.encode(pixels).latent_dist.mode()
        return latents.isnan().flatten(0, 2).any(0)

    return _reach(spread)


@torch.inference_mode()
def decoder_margin(vae: Any) -> int:
    """Latent pixels beyond a tile that a decoder of convolutions alone reads."""

    def spread(length: int) -> Tensor:
        latents = torch.zeros(1, vae.config.latent_channels, 1, length, dtype=vae.dtype, device=vae.device)
        latents[..., length // 2] = math.nan
        decoded = vae.decode(latents).sample.isnan().flatten(0, 2).any(0)  # (8*length,)
        return torch.unflatten(decoded, 0, (length, -1)).any(1)

    return _reach(spread)


def _reach(spread: Callable[[int], Tensor]) -> int:
    length = 33
    while length <= _LONGEST_PROBE:
        hit = spread(length).nonzero().flatten()
        first, last = int(hit.min()), int(hit.max())
        if first > 0 and last < length - 1:
            return max(length // 2 - first, last - length // 2)
        length = 2 * length - 1
    raise SeesrError("this model's autoencoder looks at the whole picture at once and cannot be run in tiles")
