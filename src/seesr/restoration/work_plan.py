"""In which pieces a restoration works: what is in one piece up to which size, and how large the tiles are beyond."""

from dataclasses import dataclass

from seesr.models.tiled_enlarger import TILE
from seesr.restoration.settings import Settings
from seesr.tiling.geometry import LATENT_FACTOR

VAE_ENCODE_LIMIT = 1088
VAE_DECODE_LIMIT = 1968
"""Longest side, in pixels, that the VAE handles in one piece in the published code."""

_VAE_TILE = 512
_STRIP_PIXELS = 1 << 22
_KEPT_BYTES = 1 << 29


@dataclass(frozen=True)
class WorkPlan:
    """Sizes of the pieces. The tiles of the denoiser are in the settings, `seesr.restoration.settings.Settings`.

    enlarger_tile: side of a square of as many pixels of the photo as the enlarger's tiles have at most.
    vae_tile: the same of the autoencoder's, in latent pixels.
    encode_whole, decode_whole: longest side, in pixels, that the autoencoder handles in one piece.
    strip_pixels: of the result that the colour fix holds in floating point.
    kept_bytes: most that may be spent on remembering what would otherwise be computed again.
    """

    enlarger_tile: int = TILE
    vae_tile: int = _VAE_TILE // LATENT_FACTOR
    encode_whole: int = VAE_ENCODE_LIMIT
    decode_whole: int = VAE_DECODE_LIMIT
    strip_pixels: int = _STRIP_PIXELS
    kept_bytes: int = _KEPT_BYTES


def usual_plan(settings: Settings) -> WorkPlan:
    """The plan where nobody sets a limit to memory."""
    side = settings.vae_tile_size
    if not side:
        return WorkPlan()
    return WorkPlan(vae_tile=side // LATENT_FACTOR, encode_whole=side, decode_whole=side)
