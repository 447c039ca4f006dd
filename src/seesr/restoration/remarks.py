"""What was asked for and will have no effect, said in a line each before the work begins."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from seesr.restoration.settings import SPECS, Settings

_ALIKE = str.maketrans("cqzy", "kksi")


def remarks(given: Mapping[str, Any], base: Settings, settings: Settings, vocabulary: Sequence[str]) -> list[str]:
    """Notes on settings that change nothing.

    Args:
        given: what was asked for explicitly, by the settings' names; None: left to the profile.
        base: the profile. settings: the profile with what was given.
        vocabulary: the tags that the model can see; empty without a tagger.
    """
    changed = [
        name for name, value in given.items() if value is not None and getattr(settings, name) != getattr(base, name)
    ]
    notes = []
    if not settings.num_inference_steps:
        idle = [name for name in changed if SPECS[name].diffusion]
        notes += _without_effect(idle, "without denoising steps; choose another `profile` or `num_inference_steps`")
    else:
        if settings.guidance_scale <= 1:
            idle = [name for name in ("negative_prompt", "guidance_interval") if name in changed]
            notes += _without_effect(idle, "without guidance; `guidance_scale` above 1 switches it on")
        if settings.num_inference_steps == 1 and "refine" in changed:
            notes += _without_effect(["refine"], "with one step; `num_inference_steps` above 1 has a second")
        if not vocabulary:
            idle = [name for name in ("use_image_embeds", "ground_tags") if name in changed]
            notes += _without_effect(idle, "with a model that has no tagger")
    if settings.exclude_tags:
        notes += _unknown_tags(settings.exclude_tags, (*vocabulary, *(settings.tags or ())))
    return notes


def _unknown_tags(words: Sequence[str], known: Sequence[str]) -> list[str]:
    names = {tag.lower() for tag in known}
    by_sound = {_sound(tag): tag for tag in known}
    notes = []
    for word in words:
        if word.strip().lower() not in names:
            near = get_close_matches(_sound(word), by_sound, 1)
            hint = f"; did you mean {by_sound[near[0]]!r}?" if near else ""
            notes.append(f"`exclude_tags`: no tag is called {word!r}{hint}")
    return notes


def _sound(word: str) -> str:
    """A word with letters that sound alike made one, so that kat is nearer to cat than to hat."""
    return word.strip().lower().replace("ph", "f").translate(_ALIKE)


def _without_effect(names: list[str], why: str) -> list[str]:
    if not names:
        return []
    quoted = ", ".join(f"`{name}`" for name in names)
    return [f"{quoted} {'has' if len(names) == 1 else 'have'} no effect {why}"]
