"""Schedulers by name: short names, and the class names of diffusers."""

from typing import TYPE_CHECKING, Any

from seesr.errors import SeesrError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seesr.restoration.interfaces import Scheduler

SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddpm": ("DDPMScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {}),
    "dpm++-sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
"""Short names; any scheduler class of diffusers that is made for these models goes by its class name too."""


def known_scheduler(name: str) -> str:
    """The scheduler's name as it is written here; short names are looked up without diffusers.

    Raises:
        SeesrError: no such scheduler.
    """
    if name.lower() in SCHEDULERS:
        return name.lower()
    _scheduler_class(name)
    return name


def make_scheduler(name: str, config: "Mapping[str, Any]") -> "Scheduler":
    """The scheduler called `name` with the noise schedule of `config` (a diffusers scheduler config).

    Raises:
        SeesrError: no such scheduler.
    """
    class_name, extra = SCHEDULERS.get(known_scheduler(name), (name, {}))
    config = {key: value for key, value in config.items() if not key.startswith("_")}
    config.setdefault("clip_sample", False)  # a PNDM config, as Stable Diffusion ships, does not say; DDPM would clip
    made: Scheduler = _scheduler_class(class_name).from_config(config | extra)
    return made


def _scheduler_class(class_name: str) -> Any:
    found = None
    if class_name.endswith("Scheduler"):
        import diffusers  # here, as its import takes longer than a small photo's restoration without diffusion

        found = getattr(diffusers, class_name, None)
    if found is None:
        raise SeesrError(f"no scheduler {class_name!r}; there are {', '.join(SCHEDULERS)} and diffusers' class names")
    return found
