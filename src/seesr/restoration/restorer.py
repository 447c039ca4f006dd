"""SeeSR's restoration of a photo, top to bottom (section 3; arXiv 2311.16518).

    photo → tagger (DAPE) → prompt and embedding ─┐
        └→ enlarge → LR embedding → denoise (UNet + RCA, ControlNet + RCA) → decode → fidelity → colour fix → result

The order of operations, the 8-bit roundings and the draws of noise are those of the published code, so that with
`profile="paper"` and the published weights the same seed gives the same picture.
"""

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from PIL import Image

from seesr.errors import SeesrError, SeesrWarning
from seesr.models.tagging import PhotoTagger, Tag
from seesr.models.tiled_enlarger import TiledEnlarger
from seesr.photos.pictures import Picture, Picture16, to_tensor
from seesr.restoration.color_fix import fix_colors
from seesr.restoration.enlarging import enlarge_bicubic, enlarge_learned
from seesr.restoration.inputs import PhotoInput, read_inputs
from seesr.restoration.interfaces import VAE, ControlNet, Denoiser, Scheduler, TextEncoder, Tokenizer
from seesr.restoration.outputs import Callback, Progress, SeeSROutput
from seesr.restoration.profiles import choose_profile
from seesr.restoration.prompts import build_prompt, choose_tags
from seesr.restoration.remarks import remarks
from seesr.restoration.schedulers import make_scheduler
from seesr.restoration.settings import Settings
from seesr.restoration.signature import with_settings
from seesr.restoration.sizes import output_size, work_scale
from seesr.restoration.work_plan import WorkPlan, usual_plan
from seesr.tiling.geometry import LATENT_FACTOR

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from seesr.restoration.keywords import SettingsKeywords


_CALLER = 3  # frames between a warning and the user: this call and the decorator of inference mode


class Restorer:
    """Runs a restoration on the networks that a subclass supplies: `SeeSRPipeline` has all, `LightRestorer` some.

    The networks are those of `SeeSRPipeline`; `config` has its `profiles`, `default_profile` and `residual_decoding`.
    """

    vae: VAE | None
    text_encoder: TextEncoder | None
    tokenizer: Tokenizer | None
    tagger: PhotoTagger | None
    unet: Denoiser | None
    controlnet: ControlNet | None
    scheduler: Scheduler | None
    enlarger: TiledEnlarger | None
    config: Any
    _execution_device: torch.device
    _loaded_scheduler: type[Any] | None = None
    """Class of the scheduler that came with the model."""

    @property
    def has_diffusion(self) -> bool:
        """Whether the model has a diffusion part, be it loaded or not."""
        return self.unet is not None

    # ------------------------------------------------------------------------------------------------ settings

    def profile(self, name: str | None = None) -> Settings:
        """The settings called `name`, or the model's default ones.

        Raises:
            SeesrError: no such profile.
        """
        return choose_profile(name or self.config.default_profile, self.config.profiles, self.has_diffusion)

    def settings(self, profile: str | None = None, **given: "Unpack[SettingsKeywords]") -> Settings:
        """A profile with the settings `given` put over it; those that are None are left to the profile.

        Raises:
            SeesrError: no such profile or setting, or a value that it cannot have.
        """
        return self.profile(profile).with_overrides(**given)

    def remarks(self, profile: str | None, given: Mapping[str, Any]) -> list[str]:
        """Notes, a line each, on settings `given` that will change nothing with this model and profile.

        Raises:
            SeesrError: as `settings`.
        """
        base = self.profile(profile)
        vocabulary = self.tagger.config.tags if self.tagger is not None else ()
        return remarks(given, base, base.with_overrides(**given), vocabulary)

    # ------------------------------------------------------------------------------------------------ the call

    @overload
    def __call__(
        self,
        image: PhotoInput | Sequence[PhotoInput],
        *,
        profile: str | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        image_embeds: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: Literal[True] = True,
        callback: Callback | None = None,
        **settings: "Unpack[SettingsKeywords]",
    ) -> SeeSROutput: ...

    @overload
    def __call__(
        self,
        image: PhotoInput | Sequence[PhotoInput],
        *,
        profile: str | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        image_embeds: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: Literal[False],
        callback: Callback | None = None,
        **settings: "Unpack[SettingsKeywords]",
    ) -> tuple[Any, ...]: ...

    @with_settings
    @torch.inference_mode()
    def __call__(
        self,
        image: PhotoInput | Sequence[PhotoInput],
        *,
        profile: str | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        image_embeds: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        **settings: "Unpack[SettingsKeywords]",
    ) -> SeeSROutput | tuple[Any, ...]:
        """Restore one photo or several of any sizes; settings that are not given, or None, come from the profile.

        Warns (`SeesrWarning`) of settings that have no effect.

        Args:
            image: a picture of Pillow (EXIF's orientation is applied; transparency is the caller's affair), a path, a
                NumPy array (H, W, 3) of uint8, uint16 or floats in [0, 1], a tensor (3, H, W) of floats in [0, 1], a
                batch of arrays or tensors, or a list of any of these.
            profile: a named set of settings: "paper", "fast", or one of the model's own.
            generator: on the CPU, one a photo, instead of `seed`.
            image_embeds: representation embeddings, (1, n, d) or one a photo, (B, n, d), instead of what the tagger
                makes of the photo and of each tile.
            output_type: "pil", "np" or "pt".
            return_dict: False gives a plain tuple, the images first.
            callback: told of progress.

        Settings:

        Raises:
            SeesrError: settings out of range, a profile this model has no parts for, more than `memory` needed, or NaN
                from the model.
        """
        chosen = self.settings(profile, **settings)
        photos = read_inputs(image, sixteen_bit=chosen.bits == 16)
        if chosen.num_inference_steps and self.unet is None:
            raise SeesrError("this model has no diffusion part: only its enlarger can be run (`profile` fast)")
        if output_type not in ("pil", "np", "pt"):
            raise SeesrError(f"`output_type` must be pil, np or pt, not {output_type!r}")
        generators = [generator] if isinstance(generator, torch.Generator) else generator
        if generators is not None and len(generators) != len(photos):
            raise SeesrError(f"{len(photos)} photos need as many generators, not {len(generators)}")
        if image_embeds is not None and (image_embeds.ndim != 3 or len(image_embeds) not in (1, len(photos))):
            raise SeesrError(f"`image_embeds` cannot be of {tuple(image_embeds.shape)} for {len(photos)} photos")
        for note in self.remarks(profile, settings):
            warnings.warn(note, SeesrWarning, stacklevel=_CALLER)

        scheduler = self._scheduler(chosen, settings.get("scheduler")) if chosen.num_inference_steps else None
        out, tell = SeeSROutput(), callback or (lambda progress: None)
        for i, photo in enumerate(photos):
            source = generators[i] if generators is not None else torch.Generator("cpu").manual_seed(chosen.seed)
            plan, fitting, note = self._plan(photo, chosen)
            embeds = None if image_embeds is None else image_embeds[i % len(image_embeds)][None]
            self._restore(photo, fitting, plan, deepcopy(scheduler), source, embeds, tell, out)
            out.notes.append(note)
        if output_type == "np":
            out.images = [x.values if isinstance(x, Picture16) else np.asarray(x) for x in out.images]
        elif output_type == "pt":
            out.images = [to_tensor(picture)[0] for picture in out.images]
        return out if return_dict else out.to_tuple()

    def _scheduler(self, settings: Settings, given: str | None) -> Scheduler:
        """The scheduler to sample with: the pipeline's own where it was exchanged, else that of the settings.

        A scheduler of another class than the one that came with the model was put there on purpose: it is used unless
        the call names one. Of the model's own only the noise schedule is read; its class is the settings' affair.
        """
        assert self.scheduler is not None
        exchanged = self._loaded_scheduler is not None and type(self.scheduler) is not self._loaded_scheduler
        return (
            self.scheduler if exchanged and given is None else make_scheduler(settings.scheduler, self.scheduler.config)
        )

    def _plan(self, photo: Picture, settings: Settings) -> tuple[WorkPlan, Settings, str]:
        """The pieces to work in, the settings with tiles that keep to `memory`, and what that changes."""
        if settings.memory is None:
            return usual_plan(settings), settings, ""
        from seesr.restoration.memory import changes, parse_bytes, plan_within

        limit, scale = parse_bytes(settings.memory), settings.scale
        plan, fitting = plan_within(limit, self, self._execution_device, photo.size, scale, settings)
        return plan, fitting, changes(plan, fitting, settings, self, photo.size, scale)

    def working_bytes(self, photo: tuple[int, int], scale: float, settings: Settings) -> int:
        """Bytes of this machine's memory that restoring a photo of that size takes beside networks and pictures."""
        from seesr.restoration.memory import working_bytes

        device = self._execution_device
        return 0 if device.type == "cuda" else working_bytes(self, device, photo, scale, settings)

    def _restore(
        self,
        photo: Picture,
        settings: Settings,
        plan: WorkPlan,
        scheduler: Scheduler | None,
        generator: torch.Generator,
        image_embeds: torch.Tensor | None,
        callback: Callback,
        out: SeeSROutput,
    ) -> None:
        seconds: dict[str, float] = {}
        scale, sixteen_bit = settings.scale, settings.bits == 16

        # 1, 2. What is in the photo: tags for the text prompt, the embedding for RCA
        with _timed(seconds, "tags"):
            seen = self._look(photo, settings, image_embeds)
        callback(Progress("tags", 1, 1))

        # 3. The photo at output size
        diffuse = scheduler is not None
        with _timed(seconds, "enlarge"):
            if self.enlarger is None:
                bicubic = enlarge_bicubic(photo, work_scale(scale), settings.process_size)
                enlarged = Picture16.of(bicubic) if sixteen_bit and isinstance(bicubic, Image.Image) else bicubic
                callback(Progress("enlarge", 1, 1))
            else:

                def progress(done: int, total: int) -> None:
                    callback(Progress("enlarge", done, total))

                sizes = work_scale(scale), settings.process_size
                enlarged = enlarge_learned(
                    self.enlarger, photo, *sizes, diffuse, plan.enlarger_tile, progress, sixteen_bit
                )

        # 4 to 10. Diffusion and colour fix
        picture = enlarged
        if scheduler is not None:
            looks = self._look_at_tiles(photo, enlarged, seen, settings, image_embeds, callback)
            picture = self._diffuse(enlarged, looks, settings, plan, scheduler, generator, callback, seconds)
        with _timed(seconds, "finish"):
            if diffuse:
                picture = fix_colors(picture, enlarged, settings.color_fix, plan.strip_pixels)
            size = output_size(photo.width, photo.height, scale)
            if picture.size != size:
                picture = picture.resize(size, Image.Resampling.BICUBIC)

        out.images.append(picture)
        out.tags.append(seen.tags)
        out.prompts.append(seen.prompt if diffuse else "")
        out.negative_prompts.append(settings.negative_prompt if diffuse else "")
        out.timings.append(seconds)

    # ------------------------------------------------------------------------------------------------ the parts

    @torch.inference_mode()
    def see(self, photo: Picture) -> tuple[list[Tag], torch.Tensor | None]:
        """Tags of a photo that are on, and its representation embedding, (1, n, d); ([], None) without a tagger."""
        if self.tagger is None:
            return [], None
        pixels = to_tensor(photo).to(self._execution_device)
        pixels = self.tagger.preprocess(pixels).to(next(self.tagger.parameters()).dtype)
        seen = self.tagger(pixels)
        return self.tagger.tags_on(seen.logits[0]), seen.image_embeds

    def encode_prompts(self, texts: list[str]) -> torch.Tensor:
        """(len(texts), 77, width): last hidden states of the text tower, no attention mask."""
        tokenizer, text_encoder = self.tokenizer, self.text_encoder
        assert tokenizer is not None
        assert text_encoder is not None
        tokens = tokenizer(
            texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        states: torch.Tensor = text_encoder(tokens.input_ids.to(self._execution_device))[0]
        return states

    def _look(self, photo: Picture, settings: Settings, given: torch.Tensor | None) -> "Look":
        """given: the embedding that is to be used instead of the tagger's."""
        found, image_embeds = self.see(photo)
        if given is not None:
            image_embeds = given.to(self._execution_device)
        if image_embeds is not None and not settings.use_image_embeds:
            image_embeds = torch.zeros_like(image_embeds)
        chosen = choose_tags([tag.name for tag in found], settings.tags, settings.exclude_tags)
        prompt = build_prompt(chosen, settings.prompt, settings.added_prompt, self.tokenizer, settings.reserve_prompt)
        return Look(found, prompt, image_embeds)

    def _look_at_tiles(
        self,
        photo: Picture,
        enlarged: Picture,
        whole: "Look",
        settings: Settings,
        image_embeds: torch.Tensor | None,
        callback: Callback,
    ) -> list["Look"]:
        """One look for all tiles, or one at the part of the photo under each."""
        from seesr.restoration.diffusion import tiles_of

        tiles = tiles_of(enlarged, settings)
        if not settings.tile_tags or len(tiles) == 1:
            return [whole]
        looks = []
        for done, tile in enumerate(tiles, 1):
            box = photo_box(tile.scaled(LATENT_FACTOR).box, enlarged.size, photo.size)
            looks.append(self._look(photo.crop(box), settings, image_embeds))
            callback(Progress("tags", done, len(tiles)))
        return looks

    def _diffuse(
        self,
        enlarged: Picture,
        looks: list["Look"],
        settings: Settings,
        plan: WorkPlan,
        scheduler: Scheduler,
        generator: torch.Generator,
        callback: Callback,
        seconds: dict[str, float],
    ) -> Any:
        from seesr.restoration import diffusion  # slow to import, and not needed where only the enlarger runs

        assert self.vae is not None
        assert self.unet is not None
        assert self.controlnet is not None
        with _timed(seconds, "encode"):
            embeds = {
                look.prompt: self.encode_prompts([settings.negative_prompt, look.prompt])
                for look in {look.prompt: look for look in looks}.values()
            }
            contexts = [diffusion.Context(embeds[look.prompt], look.image_embeds) for look in looks]
            lr_latents = diffusion.encode_picture(self.vae, enlarged, plan, self._execution_device, callback)
        with _timed(seconds, "denoise"):
            networks = self.unet, self.controlnet, scheduler
            latents = diffusion.denoise_tiles(
                *networks, lr_latents, enlarged, contexts, settings, plan, generator, callback
            )
        with _timed(seconds, "decode"):
            base = lr_latents if self.config.residual_decoding else None
            return diffusion.decode_picture(self.vae, latents, base, enlarged, settings.fidelity, plan, callback)


@dataclass(frozen=True)
class Look:
    """What DAPE sees in a photo or a part of it, the prompt made of that, and the embedding, (1, n, d), for RCA."""

    tags: list[Tag]
    prompt: str
    image_embeds: Any


def photo_box(
    box: tuple[int, int, int, int], enlarged: tuple[int, int], photo: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The part of a photo that lies under `box` (left, top, right, bottom) of the enlarged one; sizes: (w, h)."""
    across, down = photo[0] / enlarged[0], photo[1] / enlarged[1]
    left, top, right, bottom = box
    return int(left * across), int(top * down), math.ceil(right * across), math.ceil(bottom * down)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
