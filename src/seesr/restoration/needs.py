"""What a restoration takes of memory beside its networks: the one count for `--memory`, the refusal and `doctor`.

What a piece takes is found by running the very code on fake tensors, which have a shape and no numbers: it counts the
bytes of all tensors alive at one time. The networks may be loaded or on the meta device. Of autoencoder and denoiser
one small run tells of all sizes, as they take memory in proportion to the area.
"""

import copy
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch

from seesr.models.flat_sides import REACH
from seesr.photos.limits import picture_bytes
from seesr.restoration.engines import enlarger_of
from seesr.restoration.grounding import Grounding
from seesr.restoration.settings import Settings
from seesr.restoration.sizes import output_size, working_size
from seesr.restoration.work_plan import WorkPlan
from seesr.system.cache import remembered
from seesr.tiling.geometry import LATENT_FACTOR, Tile

OVERHEAD = 150_000_000  # on the CPU: kernels made at the first run, and the heap
_SPARE = 1.25  # of what tensors take: buffers of the convolution library, and what the allocator does not reuse
_STRIP_BYTES = 150  # per pixel that the colour fix has in hand
_ROW_BYTES = 20  # per pixel of the enlarger's rows: float32 thrice, and what is brought to 8 bits
_LATENT_COPIES = 16  # LR embedding, noise, sample, predictions, what schedulers remember; float32
_VAE_SIDE, _DENOISER_SIDE = 32, 16  # latent pixels of the small runs
_GRAIN = 16  # pixels to multiples of which the enlarger's tiles are rounded up, so that few sizes are ever counted


class Needs:
    """Bytes that restoring one photo takes, by the pieces it is worked in.

    Args:
        networks: with `enlarger`, `quick`, `vae`, `unet`, `controlnet`, `tagger`; None for those that the model lacks.
        photo: width and height.
        on_gpu: the networks work on a GPU, so pictures take none of its memory.
    """

    def __init__(
        self, networks: Any, photo: tuple[int, int], scale: float, settings: Settings, on_gpu: bool = False
    ) -> None:
        self.networks, self.photo, self.scale, self.settings, self.on_gpu = networks, photo, scale, settings, on_gpu
        self.worked = working_size(photo, scale, settings.process_size)
        self.diffuse = settings.num_inference_steps > 0 and networks.unet is not None
        self.latent = tuple(max(1, side // LATENT_FACTOR) for side in self.worked)  # width, height
        self.given = tuple(max(1, round(side / scale)) for side in self.worked)  # to the enlarger: width, height

    # ---------------------------------------------------------------------------------------------- whole pictures

    @cached_property
    def pictures(self) -> int:
        """Of the pictures between the stages, to the written file."""
        size = output_size(*self.photo, self.scale)
        shown = math.prod(self.worked) * 3 * self.settings.bits // 8 if self.diffuse and self.settings.refine else 0
        return 0 if self.on_gpu else picture_bytes(self.photo, size, self.worked, self.diffuse) + shown

    @cached_property
    def latents(self) -> int:
        """Of the latents and what the sampler remembers."""
        if not self.diffuse:
            return 0
        channels: int = self.networks.unet.config.in_channels
        return _LATENT_COPIES * channels * 4 * self.latent[0] * self.latent[1]

    # ------------------------------------------------------------------------------------------------------ pieces

    def enlarger(self, tile: int) -> int:
        """To enlarge one tile of at most `tile` squared pixels of the photo, with the row of tiles it is in."""
        network, (width, height) = enlarger_of(self.networks, self.settings.engine), self.given
        if network is None:
            return 0
        margins = 0, 2 * REACH  # where all sides are flat
        shapes = [network.tile_shape(height + margin, width + margin, tile)[:2] for margin in margins]
        longest = max(down * (width + margin) for margin, (down, _) in zip(margins, shapes))
        rows = 0 if self.on_gpu else _ROW_BYTES * network.scale**2 * longest
        down, across = (-(-side // _GRAIN) * _GRAIN for side in max(shapes, key=math.prod))
        once = _once(network, (down, across), lambda: peak(lambda: network.forward(zeros(network, 3, down, across))))
        return int(_SPARE * once) + rows

    def autoencoder(self, plan: WorkPlan) -> int:
        """To encode or decode one tile, or the whole picture where the plan works on it in one piece."""
        needed = 0
        for whole, per_position in zip((plan.encode_whole, plan.decode_whole), self._vae_peaks):
            width, height = self.latent
            if max(self.worked) > whole:
                width, height = min(plan.vae_tile, width), min(plan.vae_tile, height)
            needed = max(needed, int(_SPARE * per_position * width * height))
        return needed + self._attention_bytes

    def denoiser(self, tile: int, together: int) -> int:
        """For one step of `together` tiles of `tile` latent pixels a side."""
        width, height = self.latent
        area = width * height if width * height <= tile * tile else min(tile, width) * min(tile, height)
        return int(_SPARE * self._denoiser_peak * area * together)

    def color_fix(self, pixels: int) -> int:
        """For one strip."""
        return _STRIP_BYTES * min(pixels, self.worked[0] * self.worked[1])

    def working(self, plan: WorkPlan, settings: Settings, tiles: int) -> int:
        """Of the stage that takes most, worked on as `plan` and `settings` say, in `tiles` of the denoiser."""
        stages = [self.enlarger(plan.enlarger_tile)]
        if self.diffuse:
            together = min(settings.tile_batch_size, tiles)
            stages += [self.autoencoder(plan), self.denoiser(settings.latent_tile_size, together)]
            stages.append(0 if self.on_gpu else self.color_fix(plan.strip_pixels))
        return self.latents + max(stages)

    # -------------------------------------------------------------------------------------------------- small runs

    @cached_property
    def _vae_peaks(self) -> tuple[float, float]:
        """Bytes for each latent position, encoding and decoding a tile in the middle of a picture."""
        vae = self.networks.vae
        encoding = _once(vae, "encode", lambda: _vae_peaks(vae, _VAE_SIDE)[0])
        decoding = _once(vae, "decode", lambda: _vae_peaks(vae, _VAE_SIDE)[1])
        return encoding / _VAE_SIDE**2, decoding / _VAE_SIDE**2

    @cached_property
    def _attention_bytes(self) -> int:
        """What the middle attention of an `AutoencoderKL` reads of all tiles, and its keys and values."""
        from seesr.tiling.vae_layers import KEYS

        vae, positions = self.networks.vae, self.latent[0] * self.latent[1]
        channels: int = getattr(vae.config, "block_out_channels", (0,))[-1]
        each: int = next(vae.parameters()).element_size()
        return 3 * min(KEYS, positions) * channels * each

    @cached_property
    def _denoiser_peak(self) -> float:
        """Bytes for each latent position of one tile, with both prompts where there is guidance."""
        from seesr.restoration.tile_predictor import Context, TilePredictor

        unet, controlnet, side = self.networks.unet, self.networks.controlnet, _DENOISER_SIDE
        config, tile, guided = unet.config, Tile(0, 0, side, side), self.settings.guidance_scale > 1

        def condition(tile: Tile) -> torch.Tensor:
            if controlnet.config.latent_condition:
                return zeros(unet, config.in_channels, side, side)
            return zeros(unet, 3, side * LATENT_FACTOR, side * LATENT_FACTOR)

        def run() -> None:
            text = zeros(unet, 77, config.cross_attention_dim).expand(2, -1, -1)
            grounding = Grounding(torch.zeros(77, dtype=torch.long), 0, torch.ones(1, 1, 1)) if grounded else None
            context = Context(text, zeros(unet, tokens, config.image_embed_dim), grounding)
            with TilePredictor(unet, controlnet, condition, [tile], [context], self.settings, 0) as predictor:
                time = torch.ones((), device=unet.device, dtype=torch.long)
                predictor([tile], zeros(unet, config.in_channels, side, side), time, guided)

        grounded = self.settings.ground_tags and self.networks.tagger is not None
        tokens = embedding_tokens(self.networks.tagger)
        return _once(unet, (guided, tokens, grounded), lambda: peak(run)) / side**2


def embedding_tokens(tagger: Any) -> int:
    """Tokens of the representation embedding that `tagger` gives: 145 of the paper's; 1 without a tagger."""
    if tagger is None:
        return 1

    def count() -> int:
        from torch._subclasses.fake_tensor import FakeTensorMode  # here, as it brings in 800 modules

        side = tagger.config.image_size
        with torch.inference_mode(), FakeTensorMode(allow_non_fake_inputs=True):
            tokens: int = tagger(zeros(tagger, 3, side, side)).image_embeds.shape[1]
        return tokens

    return _once(tagger, "tokens", count)


_found: dict[Any, int] = {}


def _once(network: Any, key: Any, count: Callable[[], int]) -> int:
    """What `count` gives, remembered for networks of this class, config, shapes, number format and device."""
    parameter = next(network.parameters())
    shapes = tuple(each.shape for each in network.parameters())  # a foreign enlarger's config does not tell them
    whole = (_description(network), shapes, key, parameter.dtype, parameter.device)
    if whole not in _found:
        _found[whole] = remembered((torch.__version__, *whole), count)
    return _found[whole]


def _description(network: Any) -> str:
    """Class and config, the same in every process: diffusers' own entries name places, and defaults in any order."""
    config = getattr(network, "config", None)
    entries = config if isinstance(config, Mapping) else vars(config) if config is not None else {"": str(network)}
    return f"{type(network)} { ({name: entries[name] for name in sorted(entries) if not name.startswith('_')}) }"


def peak(run: Callable[[], Any]) -> int:
    """Most bytes of tensors alive at one time while `run` runs, on fake tensors."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from seesr.restoration.live_bytes import LiveBytes

    with torch.inference_mode(), FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as memory:
        run()
    most: int = memory.peak
    return most


def zeros(network: Any, *shape: int) -> torch.Tensor:
    """(1, *shape), where `network` is and of its dtype."""
    parameter = next(network.parameters())
    return torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device)


def _vae_peaks(vae: Any, side: int) -> tuple[int, int]:
    """Bytes for encoding and for decoding a tile in the middle of a picture; `side` in latent pixels."""
    from diffusers import AutoencoderKL

    from seesr.tiling.vae import decoder_margin, encoder_margin
    from seesr.tiling.vae_layers import decoder_layers, encoder_layers, run_tiles

    channels = vae.config.latent_channels
    if not isinstance(vae, AutoencoderKL):
        seen = _with_numbers(vae)
        ahead, after = 2 * encoder_margin(seen) + side, 2 * decoder_margin(seen) + side
        return (
            peak(lambda: vae.encode(zeros(vae, 3, ahead * LATENT_FACTOR, ahead * LATENT_FACTOR))),
            peak(lambda: vae.decode(zeros(vae, channels, after, after))),
        )
    whole, tile = 3 * side, [Tile(side, side, side, side)]

    def all_of(layers: list[Any], factor: int, depth: int) -> None:
        def cut_out(area: Tile) -> torch.Tensor:
            return zeros(vae, depth, area.height, area.width)

        list(run_tiles(layers, tile, whole, whole, factor, cut_out, 1 << 60, lambda done, total: None))

    return (
        peak(lambda: all_of(encoder_layers(vae, side, side), LATENT_FACTOR, 3)),
        peak(lambda: all_of(decoder_layers(vae, side, side), 1, channels)),
    )


def _with_numbers(vae: Any) -> Any:
    """A network on the meta device as one with zeros for weights, in which one can look how far a pixel reaches."""
    if vae.device.type != "meta":
        return vae
    filled = copy.deepcopy(vae).to_empty(device="cpu")
    for tensor in (*filled.parameters(), *filled.buffers()):
        tensor.data.zero_()
    return filled
