"""The hard prompt: tags, the user's words and the added quality words as one text within CLIP's 77 tokens."""

from collections.abc import Iterable
from typing import Any, Protocol

ADDED_PROMPT = "clean, high-resolution, 8k"
NEGATIVE_PROMPT = "dotted, noise, blur, lowres, smooth"


class Tokenizer(Protocol):
    """What is needed of a transformers tokenizer."""

    model_max_length: int

    def __call__(self, text: Any, **options: Any) -> Any: ...


def choose_tags(found: Iterable[str], tags: Iterable[str] | None = None, exclude: Iterable[str] = ()) -> list[str]:
    """The tags to prompt with: those found in the photo, or the user's own instead, less the excluded ones.

    Comparison ignores case. An empty `tags` means no tags at all; None means those found.
    """
    left_out = {tag.strip().lower() for tag in exclude}
    chosen = found if tags is None else (tag.strip() for tag in tags)
    return [tag for tag in chosen if tag and tag.lower() not in left_out]


def join_prompt(tags: Iterable[str], prompt: str, added_prompt: str) -> str:
    """`a, b, prompt,added`: the published form, in which empty parts keep their place."""
    return f"{', '.join(tags)}, {prompt},{added_prompt}"


def build_prompt(
    tags: Iterable[str], prompt: str, added_prompt: str, tokenizer: Tokenizer | None, reserve: bool
) -> str:
    """The positive prompt.

    Args:
        reserve: drop tags from the end of the list until everything fits CLIP's limit, so that the user's and the added
            words are read; and leave no empty parts. Without it the published form is built, whose end CLIP cuts off
            where there are many tags.
    """
    tags = list(tags)
    if not reserve:
        return join_prompt(tags, prompt, added_prompt)

    def text(count: int) -> str:
        parts = [*tags[:count], prompt.strip(), added_prompt.strip()]
        return ", ".join(part for part in parts if part)

    count = len(tags)
    if tokenizer is not None:
        while count and len(tokenizer(text(count))["input_ids"]) > tokenizer.model_max_length:
            count -= 1
    return text(count)
