"""SeeSR's restoration of a photo, top to bottom (section 3; arXiv 2311.16518).

    photo → tagger (DAPE) → prompt and embedding ─┐
        └→ enlarge → LR embedding → denoise (UNet + RCA, ControlNet + RCA) → decode → fidelity → colour fix → result

The order of operations, the 8-bit roundings and the draws of noise are those of the published code, so that with
`profile="paper"` and the published weights the same seed gives the same picture.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from seesr.errors import SeesrError
from seesr.models.enlarger import Enlarger
from seesr.models.tagging import PhotoTagger, Tag
from seesr.photos.pictures import Picture, Picture16, to_tensor
from seesr.restoration.color_fix import fix_colors
from seesr.restoration.enlarging import enlarge_bicubic, enlarge_learned
from seesr.restoration.outputs import Callback, Progress, SeeSROutput
from seesr.restoration.profiles import Profile, choose_profile
from seesr.restoration.prompts import build_prompt, choose_tags
from seesr.restoration.sizes import output_size
from seesr.restoration.work_plan import WorkPlan, usual_plan
from seesr.tiling.geometry import LATENT_FACTOR


class Restorer:
    """The restoration, without a say in where its networks come from: `SeeSRPipeline` has all, `LightRestorer` some.

    The networks are those of `SeeSRPipeline`; `config` has its `profiles`, `default_profile` and `residual_decoding`.
    """

    vae: Any
    text_encoder: Any
    tokenizer: Any
    tagger: PhotoTagger | None
    unet: Any
    controlnet: Any
    scheduler: Any
    enlarger: Enlarger | None
    config: Any
    _execution_device: torch.device

    @property
    def has_diffusion(self) -> bool:
        """Whether the model has a diffusion part, be it loaded or not."""
        return self.unet is not None

    # ------------------------------------------------------------------------------------------------ settings

    def profile(self, name: str | None = None) -> Profile:
        """The settings called `name`, or the model's default ones.

        Raises:
            SeesrError: no such profile.
        """
        return choose_profile(name or self.config.default_profile, self.config.profiles, self.has_diffusion)

    # ------------------------------------------------------------------------------------------------ the call

    @torch.inference_mode()
    def __call__(
        self,
        image: Picture | Sequence[Picture],
        scale: float = 4,
        prompt: str = "",
        negative_prompt: str | None = None,
        added_prompt: str | None = None,
        tags: Sequence[str] | None = None,
        exclude_tags: Sequence[str] = (),
        use_image_embeds: bool = True,
        profile: str | None = None,
        scheduler: str | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        start_point: str | None = None,
        fidelity: float | None = None,
        color_fix: str | None = None,
        process_size: int | None = None,
        latent_tile_size: int | None = None,
        latent_tile_overlap: int | None = None,
        tile_batch_size: int | None = None,
        tile_tags: bool | None = None,
        conditioning_scale: float | None = None,
        seed: int = 0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        memory: int | str | None = None,
        output_type: str = "pil",
        bits: int = 8,
        callback: Callback = lambda progress: None,
    ) -> SeeSROutput:
        """Restore one photo or several of any sizes; what is not given comes from the profile.

        Args:
            image: RGB pictures (others are converted; transparency is the caller's affair), of 8 bits or of 16
                (`seesr.photos.pictures.Picture16`).
            scale: of width and height, more than 0; the result is exactly that much larger.
            prompt: words of the user's own, put after the tags. "" is honoured, as for the two next.
            negative_prompt, added_prompt: None for the profile's.
            tags: instead of those DAPE sees; [] for none. exclude_tags: left out, whatever their origin.
            use_image_embeds: False gives RCA zeros in place of the representation embedding (ablation: tags only).
            seed: every photo starts afresh from it, so results do not depend on order.
            generator: on the CPU, one a photo, instead of `seed`.
            tile_tags: tags and embedding of the part under each tile, instead of the same for all.
            memory: limit, as "4GB" or in bytes, of the process on the CPU, of its tensors on a GPU; tiles are made
                small enough to keep to it (`seesr.restoration.memory`).
            output_type: "pil", "np" or "pt".
            bits: of a channel between the stages and in the result: 8, as published, or 16; 16 gives
                `seesr.photos.pictures.Picture16` for "pil", uint16 for "np".
            callback: told of progress.

        Raises:
            SeesrError: settings out of range, a profile this model has no parts for, more than `memory` needed, or NaN
                from the model.
        """
        settings = self.profile(profile).with_overrides(
            scheduler=scheduler,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            guidance_interval=guidance_interval,
            start_point=start_point,
            fidelity=fidelity,
            color_fix=color_fix,
            process_size=process_size,
            latent_tile_size=latent_tile_size,
            latent_tile_overlap=latent_tile_overlap,
            tile_batch_size=tile_batch_size,
            tile_tags=tile_tags,
            conditioning_scale=conditioning_scale,
            negative_prompt=negative_prompt,
            added_prompt=added_prompt,
        )
        images = [image] if isinstance(image, Image.Image | Picture16) else list(image)
        if not scale > 0:
            raise SeesrError(f"scale cannot be {scale}; it must be more than 0")
        if settings.num_inference_steps and self.unet is None:
            raise SeesrError("this model has no diffusion part yet: only its enlarger can be run (profile fast)")
        if bits not in (8, 16):
            raise SeesrError(f"bits must be 8 or 16, not {bits}")
        if output_type not in ("pil", "np", "pt"):
            raise SeesrError(f"output_type must be pil, np or pt, not {output_type!r}")
        if isinstance(generator, torch.Generator):
            generator = [generator]
        if generator is not None and len(generator) != len(images):
            raise SeesrError(f"{len(images)} photos need as many generators, not {len(generator)}")

        wishes = Wishes(prompt, tags, exclude_tags, use_image_embeds)
        out = SeeSROutput()
        for i, photo in enumerate(images):
            noise_source = generator[i] if generator is not None else torch.Generator("cpu").manual_seed(seed)
            if isinstance(photo, Picture16):
                photo = photo if bits == 16 else photo.rounded()
            elif photo.mode != "RGB":
                photo = photo.convert("RGB")
            plan, fitting = self._plan(photo, scale, settings, memory)
            self._restore(photo, scale, wishes, fitting, plan, bits == 16, noise_source, callback, out)
        if output_type == "np":
            out.images = [x.values if isinstance(x, Picture16) else np.asarray(x) for x in out.images]
        elif output_type == "pt":
            out.images = [to_tensor(picture)[0] for picture in out.images]
        return out

    def _plan(
        self, photo: Picture, scale: float, settings: Profile, memory: int | str | None
    ) -> tuple[WorkPlan, Profile]:
        """The pieces to work in, and the settings with tiles that keep to `memory`."""
        if memory is None:
            return usual_plan(settings), settings
        from seesr.restoration.memory import parse_bytes, plan_within

        return plan_within(parse_bytes(memory), self, self._execution_device, photo.size, scale, settings)

    def _restore(
        self,
        photo: Picture,
        scale: float,
        wishes: "Wishes",
        settings: Profile,
        plan: WorkPlan,
        sixteen_bit: bool,
        generator: torch.Generator,
        callback: Callback,
        out: SeeSROutput,
    ) -> None:
        seconds: dict[str, float] = {}

        # 1, 2. What is in the photo: tags for the text prompt, the embedding for RCA
        with _timed(seconds, "tags"):
            seen = self._look(photo, wishes, settings)
        callback(Progress("tags", 1, 1))

        # 3. The photo at output size
        diffuse = settings.num_inference_steps > 0
        with _timed(seconds, "enlarge"):
            if self.enlarger is None:
                bicubic = enlarge_bicubic(photo, scale, settings.process_size)
                enlarged = Picture16.of(bicubic) if sixteen_bit and isinstance(bicubic, Image.Image) else bicubic
                callback(Progress("enlarge", 1, 1))
            else:

                def progress(done: int, total: int) -> None:
                    callback(Progress("enlarge", done, total))

                sizes = scale, settings.process_size
                enlarged = enlarge_learned(
                    self.enlarger, photo, *sizes, diffuse, plan.enlarger_tile, progress, sixteen_bit
                )

        # 4 to 10. Diffusion and colour fix
        picture = enlarged
        if diffuse:
            looks = self._look_at_tiles(photo, enlarged, seen, wishes, settings, callback)
            picture = self._diffuse(enlarged, looks, settings, plan, generator, callback, seconds)
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
        tokens = tokenizer(
            texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        return text_encoder(tokens.input_ids.to(self._execution_device))[0]

    def _look(self, photo: Picture, wishes: "Wishes", settings: Profile) -> "Look":
        found, image_embeds = self.see(photo)
        if image_embeds is not None and not wishes.use_image_embeds:
            image_embeds = torch.zeros_like(image_embeds)
        chosen = choose_tags([tag.name for tag in found], wishes.tags, wishes.exclude_tags)
        prompt = build_prompt(chosen, wishes.prompt, settings.added_prompt, self.tokenizer, settings.reserve_prompt)
        return Look(found, prompt, image_embeds)

    def _look_at_tiles(
        self,
        photo: Picture,
        enlarged: Picture,
        whole: "Look",
        wishes: "Wishes",
        settings: Profile,
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
            looks.append(self._look(photo.crop(box), wishes, settings))
            callback(Progress("tags", done, len(tiles)))
        return looks

    def _diffuse(
        self,
        enlarged: Picture,
        looks: list["Look"],
        settings: Profile,
        plan: WorkPlan,
        generator: torch.Generator,
        callback: Callback,
        seconds: dict[str, float],
    ) -> Any:
        from seesr.restoration import diffusion  # slow to import, and not needed where only the enlarger runs

        with _timed(seconds, "encode"):
            embeds = {
                look.prompt: self.encode_prompts([settings.negative_prompt, look.prompt])
                for look in {look.prompt: look for look in looks}.values()
            }
            contexts = [diffusion.Context(embeds[look.prompt], look.image_embeds) for look in looks]
            lr_latents = diffusion.encode_picture(self.vae, enlarged, plan, self._execution_device, callback)
        with _timed(seconds, "denoise"):
            networks = self.unet, self.controlnet, dict(self.scheduler.config)
            latents = diffusion.denoise_tiles(
                *networks, lr_latents, enlarged, contexts, settings, plan, generator, callback
            )
        with _timed(seconds, "decode"):
            base = lr_latents if self.config.residual_decoding else None
            return diffusion.decode_picture(self.vae, latents, base, enlarged, settings.fidelity, plan, callback)


@dataclass(frozen=True)
class Wishes:
    """What the caller says of the photo's contents; as for `Restorer.__call__`."""

    prompt: str
    tags: Sequence[str] | None
    exclude_tags: Sequence[str]
    use_image_embeds: bool


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
