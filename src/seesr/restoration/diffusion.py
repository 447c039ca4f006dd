"""The diffusion part of a restoration: LR embedding, denoising in tiles, decoding (SeeSR, sections 3.3 and 3.4).

Latents, noise and scheduler are in float32 whatever the networks run in. Pictures come and go as 8-bit pictures, of
which only the part being worked on is ever held in floating point.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from seesr.errors import SeesrError
from seesr.photos.pictures import Picture, Picture16, to_picture, to_tensor
from seesr.restoration.interfaces import VAE, ControlNet, Denoiser, Scheduler
from seesr.restoration.outputs import Callback, Progress
from seesr.restoration.refinement import Refinement, clean_latents
from seesr.restoration.sampling import Guidance, denoise, guide, set_timesteps, start_latents
from seesr.restoration.settings import Settings
from seesr.restoration.tile_predictor import Context, RegionWords, TilePredictor
from seesr.restoration.work_plan import WorkPlan
from seesr.tiling import vae as vae_tiling
from seesr.tiling.geometry import LATENT_FACTOR, Blend, Tile, plan_tiles


def tiles_of(picture: Picture, settings: Settings) -> list[Tile]:
    """The tiles, in latent pixels, in which a picture at working size is denoised."""
    width, height = (side // LATENT_FACTOR for side in picture.size)
    sizes = settings.latent_tile_size, settings.latent_tile_overlap
    return plan_tiles(height, width, *sizes, settings.tile_blend)


def encode_picture(vae: VAE, picture: Picture, plan: WorkPlan, device: torch.device, callback: Callback) -> Tensor:
    """The LR embedding of a picture whose sides are multiples of 8: (1, c, h, w), float32."""

    def pixels(area: Tile) -> Tensor:
        part = to_tensor(picture.crop(area.box)).to(device)
        return (part * 2 - 1).to(vae.dtype)

    width, height = (side // LATENT_FACTOR for side in picture.size)
    tile = plan.vae_tile if max(picture.size) > plan.encode_whole else 0
    return vae_tiling.encode(vae, pixels, height, width, tile, plan.kept_bytes, _telling(callback, "encode"))


def decode_picture(
    vae: VAE,
    latents: Tensor,
    lr_latents: Tensor | None,
    enlarged: Picture,
    fidelity: float,
    plan: WorkPlan,
    callback: Callback,
) -> Any:
    """The restored picture, of 16 bits where `enlarged` is.

    Args:
        latents: (1, c, h, w), denoised.
        lr_latents: of `enlarged`, for residual decoding: enlarged + D(latents) - D(lr_latents); else None.
        fidelity: 0 for what the latents say, 1 for `enlarged`.

    Raises:
        SeesrError: NaN or infinite.
    """
    tile = plan.vae_tile if max(enlarged.size) > plan.decode_whole else 0

    def decoded(z: Tensor, share: int, shares: int) -> Iterator[tuple[Tile, Tensor]]:
        tell = _telling(callback, "decode")
        progress = lambda done, total: tell(share * total + done, shares * total)  # noqa: E731
        for place, values in vae_tiling.decode(vae, z, tile, plan.kept_bytes // shares, progress):
            yield place, values.float() / 2 + 0.5

    sixteen_bit = isinstance(enlarged, Picture16)
    restored: Any = Picture16.new(enlarged.size) if sixteen_bit else Image.new("RGB", enlarged.size)
    parts = decoded(latents, 0, 1 if lr_latents is None else 2)
    without = decoded(lr_latents, 1, 2) if lr_latents is not None else None
    for place, part in parts:
        if not torch.isfinite(part).all():
            raise SeesrError("the model's output is NaN or infinite; try `dtype` float32, else its weights are damaged")
        area = place.scaled(LATENT_FACTOR)
        pixels = to_tensor(enlarged.crop(area.box)).to(part.device)
        if without is not None:
            part = pixels + part - next(without)[1]
        restored.paste(to_picture(torch.lerp(part, pixels, fidelity), sixteen_bit), area.box)
    return restored


def denoise_tiles(
    unet: Denoiser,
    controlnet: ControlNet,
    scheduler: Scheduler,
    lr_latents: Tensor,
    enlarged: Picture,
    contexts: list[Context],
    settings: Settings,
    plan: WorkPlan,
    generator: torch.Generator,
    callback: Callback,
    regions: Sequence[RegionWords] = (),
    refinement: Refinement | None = None,
) -> Tensor:
    """Sample latents that restore `enlarged`, (1, c, h, w).

    Args:
        scheduler: its steps are set here.
        lr_latents: (1, c, h, w), from `encode_picture`.
        contexts: one for all tiles, or one for each of `tiles_of`.
        generator: on the CPU.
        regions: later ones lie over earlier ones.
        refinement: what the networks are told from the second step on; None: the same at all steps.
    """
    device = lr_latents.device
    set_timesteps(scheduler, settings.num_inference_steps, settings.start_timestep, device, settings.dense_ends)
    noise = torch.randn(lr_latents.shape, generator=generator).to(device)
    latents = start_latents(scheduler, lr_latents, noise, settings.start_point, settings.start_timestep)
    height, width = latents.shape[-2:]
    tiles = tiles_of(enlarged, settings)
    total, done = len(tiles) * len(scheduler.timesteps), 0
    shown, shown_latents = enlarged, lr_latents  # to the ControlNet
    predicted: Tensor | None = None

    def condition(tile: Tile) -> Tensor:
        if controlnet.config.latent_condition:
            return tile.of(shown_latents)
        return to_tensor(shown.crop(tile.scaled(LATENT_FACTOR).box)).to(device)

    def on_step(step: int, latents: Tensor) -> None:
        nonlocal done
        done = (step + 1) * len(tiles)
        callback(Progress("denoise", done, total, latents))

    blend = Blend(tiles, height, width, settings.tile_blend, device)
    kept = plan.kept_bytes
    with TilePredictor(unet, controlnet, condition, tiles, contexts, settings, kept, regions) as predictor:
        seen = predictor.seen(blend, latents) if settings.ground_tags else None

        def predict(latents: Tensor, t: Tensor, scale: float) -> Tensor:
            nonlocal shown, shown_latents, predicted
            guided = scale > 1
            if refinement is not None and predicted is not None:
                shown = refinement.decode(predicted)
                if controlnet.config.latent_condition:
                    shown_latents = refinement.encode(shown)
                predictor.tell(refinement.contexts(contexts, shown))
            predictor.begin(done // len(tiles), guided)
            predictions = blend(
                latents.expand(1 + guided, -1, -1, -1),
                lambda group: predictor(group, latents, t, guided),
                settings.tile_batch_size,
                lambda tiles_done: callback(Progress("denoise", done + tiles_done, total)),
            )
            guided_one = guide(predictions, scale if seen is None else 1 + (scale - 1) * seen)
            if refinement is not None:
                predicted = clean_latents(scheduler, latents, t, guided_one)
            return guided_one

        guidance = Guidance(settings.guidance_scale, settings.guidance_interval)
        return denoise(scheduler, latents, predict, guidance, generator, on_step)


def _telling(callback: Callback, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: callback(Progress(stage, done, total))
