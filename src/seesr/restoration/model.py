"""A model's networks, what tagger and text encoder say, and what they are run with: settings, scheduler, memory."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from seesr.models.tagging import PhotoTagger, Tag
from seesr.models.tiled_enlarger import TiledEnlarger
from seesr.photos.pictures import Picture, to_tensor
from seesr.restoration.engines import enlarger_of
from seesr.restoration.interfaces import VAE, ControlNet, Denoiser, Scheduler, TextEncoder, Tokenizer
from seesr.restoration.profiles import choose_profile
from seesr.restoration.remarks import remarks
from seesr.restoration.schedulers import make_scheduler
from seesr.restoration.settings import Settings
from seesr.restoration.work_plan import WorkPlan, usual_plan

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from seesr.restoration.keywords import SettingsKeywords


class RestorationModel:
    """The networks of `SeeSRPipeline`; `config` has its `profiles`, `default_profile` and `residual_decoding`."""

    vae: VAE | None
    text_encoder: TextEncoder | None
    tokenizer: Tokenizer | None
    tagger: PhotoTagger | None
    unet: Denoiser | None
    controlnet: ControlNet | None
    scheduler: Scheduler | None
    enlarger: TiledEnlarger | None
    quick: TiledEnlarger | None
    config: Any
    _execution_device: torch.device
    _loaded_scheduler: type[Any] | None = None
    """Class of the scheduler that came with the model."""

    @property
    def has_diffusion(self) -> bool:
        """Whether the model has a diffusion part, be it loaded or not."""
        return self.unet is not None

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
        chosen = base.with_overrides(**given)
        notes = remarks(given, base, chosen, vocabulary)
        if given.get("detail") is not None:
            enlarger = enlarger_of(self, chosen.engine)
            if enlarger is None or enlarger.ends is None:
                notes += ["`detail` has no effect with an enlarger that has no calm end"]
        return notes

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

    @torch.inference_mode()
    def see(self, photo: Picture) -> tuple[list[Tag], torch.Tensor | None]:
        """Tags of a photo that are on, and its representation embedding, (1, n, d); ([], None) without a tagger."""
        if self.tagger is None:
            return [], None
        pixels = to_tensor(photo).to(self._execution_device)
        pixels = self.tagger.preprocess(pixels).to(next(self.tagger.parameters()).dtype)
        seen = self.tagger(pixels)
        return self.tagger.tags_on(seen.logits[0]), seen.image_embeds

    @torch.inference_mode()
    def look_where(self, photo: Picture) -> tuple[list[Tag], torch.Tensor]:
        """Tags of a photo that are on, and where in it each is seen: (tags, h, w), float32 in [0, 1], on the CPU.

        The maps' cells are the tagger's image tokens, 12 x 12 of the paper's, and cover the whole photo, whatever its
        shape; see `seesr.models.tagging.PhotoTagger.tag_maps`. (0, 1, 1) without a tagger.
        """
        found, image_embeds = self.see(photo)
        return found, self.where(image_embeds, [tag.name for tag in found])

    @torch.inference_mode()
    def where(self, image_embeds: torch.Tensor | None, tags: Sequence[str]) -> torch.Tensor:
        """Where tags are seen in the photo whose embedding `see` gave: as in `look_where`."""
        if self.tagger is None or image_embeds is None:
            return torch.zeros(0, 1, 1)
        if hasattr(self.tagger, "_hf_hook"):  # offloaded by diffusers, which is slow to import
            from seesr.tiling.vae import fetch_offloaded

            fetch_offloaded(self.tagger)
        return self.tagger.tag_maps(image_embeds, tags).cpu()

    def encode_prompts(self, texts: list[str], mask: torch.Tensor | None = None) -> torch.Tensor:
        """(len(texts), 77, width): last hidden states of the text tower.

        mask: (1, 1, 77, 77), added to the scores of its attention in place of the causal mask.
        """
        tokenizer, text_encoder = self.tokenizer, self.text_encoder
        assert tokenizer is not None
        assert text_encoder is not None
        tokens = tokenizer(
            texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
        )
        device = self._execution_device
        options = {} if mask is None else {"attention_mask": mask.to(device, text_encoder.dtype)}
        states: torch.Tensor = text_encoder(tokens.input_ids.to(device), **options)[0]
        return states
