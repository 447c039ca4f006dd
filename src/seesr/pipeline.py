"""SeeSR's restoration of a photo, top to bottom (section 3; arXiv 2311.16518).

    photo → tagger (DAPE) → prompt and embedding ─┐
        └→ enlarge → LR embedding → denoise (UNet + RCA, ControlNet + RCA) → decode → fidelity → colour fix → result

The order of operations, the 8-bit roundings and the draws of noise are those of the published code, so that with
`profile="paper"` and the published weights the same seed gives the same picture.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiffusionPipeline
from diffusers.pipelines.pipeline_loading_utils import ALL_IMPORTABLE_CLASSES, LOADABLE_CLASSES
from PIL import Image
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTokenizer

from seesr import color
from seesr.checkpoints.registry import resolve
from seesr.enlarging import LATENT_FACTOR, enlarge_bicubic, enlarge_learned, output_size
from seesr.errors import SeesrError
from seesr.images import to_pil, to_tensor
from seesr.models.enlarger import Enlarger
from seesr.models.semantic_attention import SemanticControlNet, SemanticUNet
from seesr.models.tagger import Tag, Tagger
from seesr.outputs import Callback, Progress, SeeSROutput
from seesr.profiles import ENLARGER_ONLY, FAST, PAPER, Profile
from seesr.prompts import build_prompt, choose_tags
from seesr.sampling import Guidance, denoise, guide, make_scheduler, start_latents
from seesr.tiling import Tile, blend_tiles, plan_tiles

# diffusers saves and loads only classes that stand in its tables; ours go by their names in the top level of `seesr`
_OWN_COMPONENTS = ("Enlarger", "SemanticControlNet", "SemanticUNet", "Tagger")
LOADABLE_CLASSES["seesr"] = {name: ["save_pretrained", "from_pretrained"] for name in _OWN_COMPONENTS}
ALL_IMPORTABLE_CLASSES.update(LOADABLE_CLASSES["seesr"])

VAE_ENCODE_LIMIT = 1088
VAE_DECODE_LIMIT = 1968
"""Longest side, in pixels, that the VAE handles in one piece (as published); beyond it works in tiles."""


_NOT_FINITE = "the model's output is NaN or infinite; with --dtype fp32 too, its weights are damaged: fetch them again"


class SeeSRPipeline(DiffusionPipeline):
    """Restores real-world photos under the guidance of what is in them.

    Args:
        vae, text_encoder, tokenizer, scheduler: of Stable Diffusion 2-base, or small ones of the same kind.
        tagger: DAPE. unet, controlnet: with representation cross-attention.
        enlarger: optional learned enlarger that takes the place of the bicubic one.
        profiles: name → settings (`Profile.to_dict`) this model is best run with; "fast" and "paper" always exist.
        default_profile: the one used when none is asked for.
        residual_decoding: decode as enlarged + D(z0) - D(E(enlarged)), so that a small VAE costs no detail.

    A model may consist of the enlarger alone; then the profiles that need the diffusion part are refused.
    `fidelity` f blends the result towards the enlarged photo: (1 - f) of what the diffusion part changes is kept.
    """

    model_cpu_offload_seq = "tagger->text_encoder->enlarger->controlnet->unet->vae"
    _optional_components = ["vae", "text_encoder", "tokenizer", "tagger", "unet", "controlnet", "scheduler", "enlarger"]  # noqa: RUF012

    def __init__(
        self,
        vae: AutoencoderKL | None = None,
        text_encoder: CLIPTextModel | None = None,
        tokenizer: CLIPTokenizer | None = None,
        tagger: Tagger | None = None,
        unet: SemanticUNet | None = None,
        controlnet: SemanticControlNet | None = None,
        scheduler: DDPMScheduler | None = None,
        enlarger: Enlarger | None = None,
        profiles: dict[str, dict[str, Any]] | None = None,
        default_profile: str = "paper",
        residual_decoding: bool = False,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            tagger=tagger,
            unet=unet,
            controlnet=controlnet,
            scheduler=scheduler,
            enlarger=enlarger,
        )
        self.register_to_config(
            profiles=profiles or {}, default_profile=default_profile, residual_decoding=residual_decoding
        )
        if unet is None and enlarger is None:
            raise SeesrError("a model needs a UNet or an enlarger; this folder has neither")

    @classmethod
    def from_pretrained(cls, name: str, **kwargs: Any) -> "SeeSRPipeline":  # type: ignore[override]
        """Load a model by name.

        Args:
            name: "mini", a model folder, or a hub id.
            kwargs: of `DiffusionPipeline.from_pretrained`; `dtype` is float32 unless given.

        Raises:
            SeesrError: no such model, or its folder is damaged.
        """
        kwargs.setdefault("dtype", torch.float32)
        location = resolve(name)
        try:
            pipeline = super().from_pretrained(location, **kwargs)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            first_line = str(error).strip().partition("\n")[0]
            raise SeesrError(f"{name}: the model cannot be loaded ({first_line})") from error
        for part in (pipeline.enlarger, pipeline.vae, pipeline.unet, pipeline.controlnet):
            if part is not None:
                part.to(memory_format=torch.channels_last)  # the faster layout for convolutions without a backward pass
        return pipeline

    # ------------------------------------------------------------------------------------------------ settings

    def profile(self, name: str | None = None) -> Profile:
        """The settings called `name`, or the model's default ones.

        Raises:
            SeesrError: no such profile.
        """
        name = name or self.config.default_profile
        built_in = {"paper": PAPER, "fast": FAST if self.unet is not None else ENLARGER_ONLY}
        if name in self.config.profiles:
            return Profile.from_dict(dict(self.config.profiles[name]))
        if name not in built_in:
            raise SeesrError(f"no profile {name!r}; there are {', '.join(sorted({*built_in, *self.config.profiles}))}")
        return built_in[name]

    # ------------------------------------------------------------------------------------------------ the call

    @torch.inference_mode()
    def __call__(
        self,
        image: Image.Image | Sequence[Image.Image],
        scale: float = 4,
        prompt: str = "",
        negative_prompt: str | None = None,
        added_prompt: str | None = None,
        tags: Sequence[str] | None = None,
        exclude_tags: Sequence[str] = (),
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
        conditioning_scale: float | None = None,
        seed: int = 0,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: str = "pil",
        callback: Callback = lambda progress: None,
    ) -> SeeSROutput:
        """Restore one photo or several of any sizes; what is not given comes from the profile.

        Args:
            image: RGB pictures (others are converted; transparency is the caller's affair).
            scale: of width and height, more than 0; the result is exactly that much larger.
            prompt: words of the user's own, put after the tags. "" is honoured, as for the two next.
            negative_prompt, added_prompt: None for the profile's.
            tags: instead of those DAPE sees; [] for none. exclude_tags: left out, whatever their origin.
            seed: every photo starts afresh from it, so results do not depend on order.
            generator: on the CPU, one a photo, instead of `seed`.
            output_type: "pil", "np" or "pt".
            callback: told of progress.

        Raises:
            SeesrError: settings out of range, a profile this model has no parts for, or NaN from the model.
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
            conditioning_scale=conditioning_scale,
            negative_prompt=negative_prompt,
            added_prompt=added_prompt,
        )
        images = [image] if isinstance(image, Image.Image) else list(image)
        if not scale > 0:
            raise SeesrError(f"scale cannot be {scale}; it must be more than 0")
        if settings.num_inference_steps and self.unet is None:
            raise SeesrError("this model has no diffusion part yet: only its enlarger can be run (profile fast)")
        if output_type not in ("pil", "np", "pt"):
            raise SeesrError(f"output_type must be pil, np or pt, not {output_type!r}")
        if isinstance(generator, torch.Generator):
            generator = [generator]
        if generator is not None and len(generator) != len(images):
            raise SeesrError(f"{len(images)} photos need as many generators, not {len(generator)}")

        out = SeeSROutput()
        for i, photo in enumerate(images):
            noise_source = generator[i] if generator is not None else torch.Generator("cpu").manual_seed(seed)
            self._restore(
                photo.convert("RGB"), scale, prompt, tags, exclude_tags, settings, noise_source, callback, out
            )
        if output_type == "np":
            out.images = [np.asarray(picture) for picture in out.images]
        elif output_type == "pt":
            out.images = [to_tensor(picture)[0] for picture in out.images]
        return out

    def _restore(
        self,
        photo: Image.Image,
        scale: float,
        prompt: str,
        tags: Sequence[str] | None,
        exclude_tags: Sequence[str],
        settings: Profile,
        generator: torch.Generator,
        callback: Callback,
        out: SeeSROutput,
    ) -> None:
        seconds: dict[str, float] = {}

        # 1, 2. What is in the photo: tags for the text prompt, the embedding for RCA
        with _timed(seconds, "tags"):
            found, image_embeds = self.see(photo)
            chosen = choose_tags([tag.name for tag in found], tags, exclude_tags)
            positive = build_prompt(
                chosen, prompt, settings.added_prompt, cast(Any, self.tokenizer), settings.reserve_prompt
            )
        callback(Progress("tags", 1, 1))

        # 3. The photo at output size
        diffuse = settings.num_inference_steps > 0
        with _timed(seconds, "enlarge"):
            if self.enlarger is None:
                enlarged = enlarge_bicubic(photo, scale, settings.process_size)
                callback(Progress("enlarge", 1, 1))
            else:

                def progress(done: int, total: int) -> None:
                    callback(Progress("enlarge", done, total))

                enlarged = enlarge_learned(self.enlarger, photo, scale, settings.process_size, diffuse, progress)
        if not torch.isfinite(enlarged).all():
            raise SeesrError(_NOT_FINITE)

        # 4 to 10. Diffusion, in float32 between the networks
        restored = enlarged
        if diffuse:
            restored = self._diffuse(enlarged, positive, image_embeds, settings, generator, callback, seconds)
        with _timed(seconds, "finish"):
            picture = _finish(restored, enlarged, settings.color_fix if diffuse else "none")
            size = output_size(photo.width, photo.height, scale)
            if picture.size != size:
                picture = picture.resize(size, Image.Resampling.BICUBIC)

        out.images.append(picture)
        out.tags.append(found)
        out.prompts.append(positive if diffuse else "")
        out.negative_prompts.append(settings.negative_prompt if diffuse else "")
        out.timings.append(seconds)

    # ------------------------------------------------------------------------------------------------ the parts

    @torch.inference_mode()
    def see(self, photo: Image.Image) -> tuple[list[Tag], torch.Tensor | None]:
        """Tags of a photo that are on, and its representation embedding, (1, n, d); ([], None) without a tagger."""
        if self.tagger is None:
            return [], None
        pixels = to_tensor(photo).to(self._execution_device)
        pixels = self.tagger.preprocess(pixels).to(self.tagger.dtype)
        seen = self.tagger(pixels)
        return self.tagger.tags_on(seen.logits[0]), seen.image_embeds

    def encode_prompts(self, texts: list[str]) -> torch.Tensor:
        """(len(texts), 77, width): last hidden states of the text tower, no attention mask."""
        tokenizer, text_encoder = cast(Any, self.tokenizer), cast(Any, self.text_encoder)
        tokens = tokenizer(
            texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        return text_encoder(tokens.input_ids.to(self._execution_device))[0]

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        """(1, 3, H, W) in [0, 1] → (1, c, H/8, W/8), float32: mean of the VAE's posterior times its scaling factor."""
        vae = cast(AutoencoderKL, self.vae)
        _tile_vae(vae, max(image.shape[-2:]) > VAE_ENCODE_LIMIT)
        posterior = vae.encode((image * 2 - 1).to(self._execution_device, vae.dtype)).latent_dist
        return posterior.mode().float() * vae.config.scaling_factor

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """(1, c, h, w), float32 → (1, 3, 8h, 8w), float32, nominally in [0, 1] but not clamped."""
        vae = cast(AutoencoderKL, self.vae)
        _tile_vae(vae, max(latents.shape[-2:]) * LATENT_FACTOR > VAE_DECODE_LIMIT)
        return vae.decode((latents / vae.config.scaling_factor).to(vae.dtype)).sample.float() / 2 + 0.5

    def _diffuse(
        self,
        enlarged: torch.Tensor,  # (1, 3, H, W) in [0, 1]
        positive: str,
        image_embeds: torch.Tensor | None,
        settings: Profile,
        generator: torch.Generator,
        callback: Callback,
        seconds: dict[str, float],
    ) -> torch.Tensor:
        device = self._execution_device
        enlarged = enlarged.to(device)
        with _timed(seconds, "encode"):
            prompt_embeds = self.encode_prompts([settings.negative_prompt, positive])
            lr_latents = self.encode_image(enlarged)
        callback(Progress("encode", 1, 1))

        with _timed(seconds, "denoise"):
            scheduler = make_scheduler(settings.scheduler, dict(cast(Any, self.scheduler).config))
            scheduler.set_timesteps(settings.num_inference_steps, device=device)
            noise = torch.randn(lr_latents.shape, generator=generator).to(device)
            latents = start_latents(scheduler, lr_latents, noise, settings.start_point)
            height, width = latents.shape[-2:]
            tiles = plan_tiles(height, width, settings.latent_tile_size, settings.latent_tile_overlap)
            total = len(tiles) * len(scheduler.timesteps)
            done = 0

            def predict(latents: torch.Tensor, t: torch.Tensor, scale: float) -> torch.Tensor:
                embeds = prompt_embeds if scale > 1 else prompt_embeds[1:]  # [negative, positive] or [positive]
                predictions = blend_tiles(
                    tiles,
                    latents.expand(len(embeds), -1, -1, -1),
                    lambda group: self._predict_tiles(group, latents, t, embeds, image_embeds, enlarged, settings),
                    settings.tile_batch_size,
                    lambda tiles_done: callback(Progress("denoise", done + tiles_done, total)),
                )
                return guide(predictions, scale)

            def on_step(step: int, latents: torch.Tensor) -> None:
                nonlocal done
                done = (step + 1) * len(tiles)
                callback(Progress("denoise", done, total, latents))

            guidance = Guidance(settings.guidance_scale, settings.guidance_interval)
            latents = denoise(scheduler, latents, predict, guidance, generator, on_step)

        with _timed(seconds, "decode"):
            decoded = self.decode_latents(latents)
            if not torch.isfinite(decoded).all():
                raise SeesrError(
                    "the model's output is NaN or infinite; try --dtype fp32, else its weights are damaged"
                )
            if self.config.residual_decoding:
                decoded = enlarged + decoded - self.decode_latents(lr_latents)
            restored = torch.lerp(decoded, enlarged, settings.fidelity)
        callback(Progress("decode", 1, 1))
        return restored.cpu()

    def _predict_tiles(
        self,
        group: list[Tile],
        latents: torch.Tensor,  # (1, c, h, w)
        t: torch.Tensor,
        prompt_embeds: torch.Tensor,  # (k, 77, d), k = 2 with guidance, else 1
        image_embeds: torch.Tensor | None,  # (1, n, d)
        enlarged: torch.Tensor,  # (1, 3, 8h, 8w)
        settings: Profile,
    ) -> torch.Tensor:
        """Predictions for a group of n tiles, (n, k, c, tile, tile), in one call of ControlNet and UNet."""
        n, k = len(group), len(prompt_embeds)
        unet, controlnet = cast(SemanticUNet, self.unet), cast(SemanticControlNet, self.controlnet)
        dtype = unet.dtype
        cropped = torch.cat([tile.of(latents) for tile in group]).repeat(k, 1, 1, 1).to(dtype)  # (k*n, c, T, T)
        condition = torch.cat([tile.of(enlarged, LATENT_FACTOR) for tile in group]).repeat(k, 1, 1, 1)
        text = prompt_embeds.repeat_interleave(n, 0).to(dtype)  # (k*n, 77, d)
        seen = {"image_embeds": cast(torch.Tensor, image_embeds).to(dtype).expand(k * n, -1, -1)}
        down, mid = controlnet(
            cropped,
            t,
            encoder_hidden_states=text,
            controlnet_cond=condition.to(controlnet.dtype),
            conditioning_scale=settings.conditioning_scale,
            cross_attention_kwargs=seen,
            return_dict=False,
        )
        prediction = unet(
            cropped,
            t,
            encoder_hidden_states=text,
            cross_attention_kwargs=seen,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            return_dict=False,
        )[0]
        return prediction.unflatten(0, (k, n)).transpose(0, 1)


def _finish(restored: torch.Tensor, enlarged: torch.Tensor, color_fix: str) -> Image.Image:
    """Colour fix between 8-bit pictures, cut (not rounded) to 8 bit again, as published; without one just 8 bit."""
    if color_fix == "none":
        return to_pil(restored)
    fixed = color.fix_color(to_tensor(to_pil(restored)), to_tensor(to_pil(enlarged)), color_fix)
    return to_pil(fixed, truncate=True)


def _tile_vae(vae: AutoencoderKL, tiled: bool) -> None:
    if tiled:
        vae.enable_tiling()
    else:
        vae.disable_tiling()


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
