"""What the nodes do when they run: batches in and out, picture by picture."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seesr.errors import SeesrError
from seesr.restoration.color_fix import fix_color
from seesr.restoration.inputs import read_inputs
from seesr.restoration.prompts import choose_tags

from .choices import MODELS_DEFAULT
from .models import Model
from .pictures import image_of, only_here, photos_of, resized
from .progress import Bar, stop_if_interrupted


def see_tags(model: Model, image: Tensor, leave_out: str, add: str) -> tuple[str, Tensor]:
    """Tags of each picture, a line each, and the embeddings, (B, n, d).

    Args:
        image: IMAGE, (B, H, W, 3).
        leave_out, add: tags less, tags more: "a, b".

    Raises:
        SeesrError: the model has no tagger.
    """
    restorer = model.tagger()
    if restorer.tagger is None:
        raise SeesrError(f"{model.name} has no tagger; choose another model")
    lines, embeddings = [], []
    for photo in photos_of(image):
        stop_if_interrupted()
        found, embedding = restorer.see(read_inputs(photo, sixteen_bit=False)[0])
        assert embedding is not None  # there is a tagger
        lines.append(", ".join([*choose_tags([tag.name for tag in found], exclude=_words(leave_out)), *_words(add)]))
        embeddings.append(embedding.float().cpu())
    return "\n".join(lines), torch.cat(embeddings)


def restore(
    model: Model,
    image: Tensor,
    profile: str,
    given: dict[str, Any],
    tags: str,
    mask: Tensor | None = None,
    embedding: Tensor | None = None,
) -> tuple[Tensor, str, str]:
    """The pictures restored, what was seen in them and what the model was told, a line for each.

    Args:
        image: IMAGE, (B, H, W, 3).
        profile: its name, or `MODELS_DEFAULT`.
        given: settings put over the profile.
        tags: one line for all pictures or a line for each, instead of those seen; empty for those.
        mask: MASK; restored only there.
        embedding: (B or 1, n, d), instead of those seen.

    Raises:
        SeesrError: a setting that is wrong, or lines, masks or embeddings that do not go with the pictures.
    """
    photos = photos_of(image)
    name = None if profile == MODELS_DEFAULT else profile
    lines = read_lines(tags, len(photos))
    if embedding is not None and len(embedding) not in (1, len(photos)):
        raise SeesrError(f"{len(embedding)} embeddings do not go with {len(photos)} pictures")
    settings = model.settings(name, given)
    restorer = model.restorer(name, settings)
    model.make_room((image.shape[2], image.shape[1]), settings)
    bar = Bar(len(photos), settings.num_inference_steps, restorer)
    pictures, seen, prompts = [], [], []
    for number, photo in enumerate(photos):
        stop_if_interrupted()
        result = restorer(
            photo,
            profile=name,
            output_type="np",
            callback=bar.callback(number),
            image_embeds=None if embedding is None else embedding[number % len(embedding)][None],
            **given | {"tags": lines[number]},
        )
        pictures.append(result.images[0])
        seen.append(", ".join(tag.name for tag in result.tags[0]))
        prompts.append(result.prompts[0])
    restored = image_of(pictures)
    return restored if mask is None else only_here(restored, photos, mask), "\n".join(seen), "\n".join(prompts)


def fix_colors(image: Tensor, photo: Tensor, method: str) -> Tensor:
    """IMAGE with the colours of `photo`, one for all pictures or one for each; both (B, H, W, 3).

    Raises:
        SeesrError: there are more photos than one, and not as many as pictures.
    """
    pictures, references = photos_of(image), photos_of(photo)
    if len(references) not in (1, len(pictures)):
        raise SeesrError(f"{len(references)} photos do not go with {len(pictures)} pictures; give one, or one for each")
    fixed = []
    for number, picture in enumerate(pictures):
        stop_if_interrupted()
        size = picture.shape[-2], picture.shape[-1]
        reference = resized(references[number % len(references)][None], size)
        fixed.append(fix_color(picture[None], reference, method))  # type: ignore[arg-type]  # of METHODS
    return torch.cat(fixed).movedim(1, -1)


def read_lines(text: str, pictures: int) -> Sequence[list[str] | None]:
    """Tags for each picture, out of one line for all or a line for each; None where those seen are to be used.

    Raises:
        SeesrError: another number of lines.
    """
    if not text.strip():
        return [None] * pictures
    lines = text.split("\n")
    if len(lines) == pictures and pictures > 1:
        return [_words(line) for line in lines]
    lines = [line for line in lines if line.strip()]
    if pictures == 1:
        return [_words(",".join(lines))]
    if len(lines) != 1:
        raise SeesrError(f"{len(lines)} lines of tags do not go with {pictures} pictures; give one, or a line for each")
    return [_words(lines[0])] * pictures


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.replace("\n", ",").split(",") if word.strip()]
