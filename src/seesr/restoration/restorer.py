"""SeeSR's restoration of a photo, top to bottom (section 3; arXiv 2311.16518).

    photo → tagger (DAPE) → prompt and embedding ─┐
        └→ enlarge → LR embedding → denoise (UNet + RCA, ControlNet + RCA) → decode → fidelity → colour fix → result

The order of operations, the 8-bit roundings and the draws of noise are those of the published code, so that with
`profile="paper"` and the published weights the same seed gives the same picture.
"""

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from PIL import Image

from seesr.errors import SeesrError, SeesrWarning
from seesr.photos.pictures import Picture, Picture16, to_tensor
from seesr.restoration.color_fix import fix_colors
from seesr.restoration.engines import enlarger_of
from seesr.restoration.enlarging import enlarge_bicubic, enlarge_learned
from seesr.restoration.grounding import ground, reading_mask
from seesr.restoration.inputs import PhotoInput, read_inputs
from seesr.restoration.interfaces import Scheduler
from seesr.restoration.looks import Look, photo_box
from seesr.restoration.model import RestorationModel
from seesr.restoration.outputs import Callback, Progress, SeeSROutput
from seesr.restoration.prompts import build_prompt, choose_tags
from seesr.restoration.regions import Region, overlap_note
from seesr.restoration.settings import Settings
from seesr.restoration.signature import with_settings
from seesr.restoration.sizes import output_size, work_scale
from seesr.restoration.work_plan import WorkPlan
from seesr.tiling.geometry import LATENT_FACTOR

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from seesr.restoration.keywords import SettingsKeywords
    from seesr.restoration.refinement import Refinement
    from seesr.restoration.tile_predictor import RegionWords


_CALLER = 3  # frames between a warning and the user: this call and the decorator of inference mode


class Restorer(RestorationModel):
    """Runs a restoration on the networks that a subclass supplies: `SeeSRPipeline` has all, `LightRestorer` some."""

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
        tag_maps: bool = False,
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
        tag_maps: bool = False,
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
        tag_maps: bool = False,
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
            tag_maps: also tell where in the photo each tag is seen.

        Settings:

        Raises:
            SeesrError: settings out of range, a profile this model has no parts for, more than `memory` needed, or NaN
                from the model.
        """
        chosen = self.settings(profile, **settings)
        photos = read_inputs(image, sixteen_bit=chosen.bits == 16)
        if chosen.num_inference_steps and self.unet is None:
            raise SeesrError("this model has no diffusion part: only its enlarger can be run (`profile` fast)")
        enlarger_of(self, chosen.engine)
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
            regions = [Region.parse(text) for text in chosen.regions if chosen.num_inference_steps]
            overlaps = overlap_note(regions, photo.size)
            plan, fitting, note = self._plan(photo, chosen)
            note = "; ".join(filter(None, [note, overlaps]))
            embeds = None if image_embeds is None else image_embeds[i % len(image_embeds)][None]
            look = self._restore(photo, fitting, plan, deepcopy(scheduler), source, embeds, tell, out)
            out.notes.append(note)
            if tag_maps:
                out.tag_maps.append(self.where(look.seen, [tag.name for tag in look.tags]))
        if output_type == "np":
            out.images = [x.values if isinstance(x, Picture16) else np.asarray(x) for x in out.images]
        elif output_type == "pt":
            out.images = [to_tensor(picture)[0] for picture in out.images]
        return out if return_dict else out.to_tuple()

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
    ) -> Look:
        seconds: dict[str, float] = {}
        scale, sixteen_bit = settings.scale, settings.bits == 16

        # 1, 2. What is in the photo: tags for the text prompt, the embedding for RCA
        with _timed(seconds, "tags"):
            seen = self._look(photo, settings, image_embeds)
        callback(Progress("tags", 1, 1))

        # 3. The photo at output size
        diffuse = scheduler is not None
        with _timed(seconds, "enlarge"):
            enlarger = enlarger_of(self, settings.engine)
            if enlarger is None:
                bicubic = enlarge_bicubic(photo, work_scale(scale), settings.process_size)
                enlarged = Picture16.of(bicubic) if sixteen_bit and isinstance(bicubic, Image.Image) else bicubic
                callback(Progress("enlarge", 1, 1))
            else:

                def progress(done: int, total: int) -> None:
                    callback(Progress("enlarge", done, total))

                sizes = work_scale(scale), settings.process_size
                enlarged = enlarge_learned(
                    enlarger, photo, *sizes, diffuse, plan.enlarger_tile, progress, sixteen_bit, settings.detail
                )

        # 4 to 10. Diffusion and colour fix
        picture = enlarged
        if scheduler is not None:
            looks = self._look_at_tiles(photo, enlarged, seen, settings, image_embeds, callback)
            picture = self._diffuse(
                enlarged, photo.size, looks, settings, plan, scheduler, generator, callback, seconds
            )
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
        return seen

    # ------------------------------------------------------------------------------------------------ the parts

    def _look(self, photo: Picture, settings: Settings, given: torch.Tensor | None) -> Look:
        """given: the embedding that is to be used instead of the tagger's."""
        found, seen = self.see(photo)
        chosen = choose_tags([tag.name for tag in found], settings.tags, settings.exclude_tags)
        prompt = build_prompt(chosen, settings.prompt, settings.added_prompt, self.tokenizer, settings.reserve_prompt)
        image_embeds = seen if given is None else given.to(self._execution_device)
        if image_embeds is not None and not settings.use_image_embeds:
            image_embeds = torch.zeros_like(image_embeds)
        grounding = None
        if settings.ground_tags and settings.num_inference_steps and self.tagger is not None and self.tokenizer:
            vocabulary = self.tagger.config.tags
            grounding = ground(prompt, chosen, vocabulary, lambda names: self.where(seen, names), self.tokenizer)
        return Look(found, prompt, image_embeds, seen, grounding)

    def _encode(self, look: Look, negative_prompt: str) -> torch.Tensor:
        """(2, 77, width): the negative prompt and that of a look."""
        if look.grounding is None:
            return self.encode_prompts([negative_prompt, look.prompt])
        mask = reading_mask(look.grounding.token_tags, look.grounding.end)
        return torch.cat([self.encode_prompts([negative_prompt]), self.encode_prompts([look.prompt], mask)])

    def _read_region(
        self, region: Region, photo: tuple[int, int], enlarged: Picture, settings: Settings
    ) -> "RegionWords":
        from seesr.restoration.tile_predictor import RegionWords

        text = build_prompt((), region.words, settings.added_prompt, self.tokenizer, reserve=True)
        width, height = (side // LATENT_FACTOR for side in enlarged.size)
        embeds = self.encode_prompts([settings.negative_prompt, text])
        return RegionWords(embeds, region.weights(photo, height, width).to(embeds.device))

    def _look_at_tiles(
        self,
        photo: Picture,
        enlarged: Picture,
        whole: Look,
        settings: Settings,
        image_embeds: torch.Tensor | None,
        callback: Callback,
    ) -> list[Look]:
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
        photo: tuple[int, int],
        looks: list[Look],
        settings: Settings,
        plan: WorkPlan,
        scheduler: Scheduler,
        generator: torch.Generator,
        callback: Callback,
        seconds: dict[str, float],
    ) -> Any:
        from seesr.restoration import diffusion  # slow to import, and not needed where only the enlarger runs
        from seesr.restoration.tile_predictor import Context

        assert self.vae is not None
        assert self.unet is not None
        assert self.controlnet is not None
        with _timed(seconds, "encode"):
            embeds = {
                look.prompt: self._encode(look, settings.negative_prompt)
                for look in {look.prompt: look for look in looks}.values()
            }
            contexts = [Context(embeds[look.prompt], look.image_embeds, look.grounding) for look in looks]
            regions = [self._read_region(Region.parse(text), photo, enlarged, settings) for text in settings.regions]
            lr_latents = diffusion.encode_picture(self.vae, enlarged, plan, self._execution_device, callback)
        with _timed(seconds, "denoise"):
            networks = self.unet, self.controlnet, scheduler
            base = lr_latents if self.config.residual_decoding else None
            refinement = self._refinement(enlarged, looks, base, settings, plan) if settings.refine else None
            latents = diffusion.denoise_tiles(
                *networks, lr_latents, enlarged, contexts, settings, plan, generator, callback, regions, refinement
            )
        with _timed(seconds, "decode"):
            return diffusion.decode_picture(self.vae, latents, base, enlarged, settings.fidelity, plan, callback)

    def _refinement(
        self, enlarged: Picture, looks: list[Look], base: torch.Tensor | None, settings: Settings, plan: WorkPlan
    ) -> "Refinement":
        """looks: one for the whole picture, or one a tile. base: as `lr_latents` of `decode_picture`."""
        from seesr.restoration import diffusion
        from seesr.restoration.refinement import Refinement

        assert self.vae is not None
        vae, device, quiet = self.vae, self._execution_device, lambda progress: None
        boxes = [tile.scaled(LATENT_FACTOR).box for tile in diffusion.tiles_of(enlarged, settings)]

        def see(shown: Picture) -> list[torch.Tensor | None]:
            parts = [shown] if len(looks) == 1 else [shown.crop(box) for box in boxes]
            replaced = [look.seen is not None and look.image_embeds is look.seen for look in looks]
            return [self.see(part)[1] if anew else None for part, anew in zip(parts, replaced, strict=True)]

        return Refinement(
            lambda clean: diffusion.decode_picture(vae, clean, base, enlarged, 1 - settings.refine, plan, quiet),
            lambda shown: diffusion.encode_picture(vae, shown, plan, device, quiet),
            see,
        )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
