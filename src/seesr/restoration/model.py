"""A model's networks, and what they are run with: settings, scheduler, the pieces that keep to the memory."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from seesr.models.tagging import PhotoTagger
from seesr.models.tiled_enlarger import TiledEnlarger
from seesr.photos.pictures import Picture
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
        return remarks(given, base, base.with_overrides(**given), vocabulary)

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
