"""What the nodes do when they run: batches in and out, picture by picture."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seesr.errors import SeesrError
from seesr.photos.photo import read_photo
from seesr.photos.pictures import to_pil, to_tensor
from seesr.restoration.color_fix import fix_color
from seesr.restoration.inputs import read_inputs
from seesr.restoration.prompts import choose_tags
from seesr.restoration.tag_sheet import GROUND, draw_tags

from .choices import MODELS_DEFAULT
from .models import Model
from .pictures import image_of, one_size, only_here, photos_of, resized
from .progress import Bar, stop_if_interrupted


def read_photos(files: Sequence[Path]) -> tuple[list[Tensor], list[str]]:
    """Photos as IMAGEs, (1, H, W, 3) each, upright and in sRGB, and their names; what cannot be read is left out.

    Raises:
        SeesrError: none can be read.
    """
    photos, names, reason = [], [], "there is no file that is a photo"
    for file in files:
        stop_if_interrupted()
        try:
            photos.append(to_tensor(read_photo(file).rgb).movedim(1, -1))
            names.append(file.stem)
        except SeesrError as error:
            reason = str(error)
            logging.warning("SeeSR left out a photo: %s", reason)
    if not photos:
        raise SeesrError(f"no photo of the folder can be read: {reason}")
    return photos, names


def see_tags(model: Model, image: Tensor, leave_out: str, add: str) -> tuple[str, Tensor, Tensor]:
    """Tags of each picture, a line each, the embeddings, (B, n, d), and where each tag is seen, drawn: IMAGE.

    Args:
        image: IMAGE, (B, H, W, 3).
        leave_out, add: tags less, tags more: "a, b".

    Raises:
        SeesrError: the model has no tagger.
    """
    restorer = model.tagger()
    if restorer.tagger is None:
        raise SeesrError(f"{model.name} has no tagger; choose another model")
    lines, embeddings, sheets = [], [], []
    for photo in photos_of(image):
        stop_if_interrupted()
        found, embedding = restorer.see(read_inputs(photo, sixteen_bit=False)[0])
        assert embedding is not None  # there is a tagger
        lines.append(", ".join([*choose_tags([tag.name for tag in found], exclude=_words(leave_out)), *_words(add)]))
        embeddings.append(embedding.float().cpu())
        maps = restorer.where(embedding, [tag.name for tag in found])
        sheets.append(draw_tags(to_pil(photo[None]), found, maps))
    return "\n".join(lines), torch.cat(embeddings), image_of(one_size(sheets, GROUND))


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
    _check_count("embeddings", 1 if embedding is None else len(embedding), photos)
    _check_count("masks", 1 if mask is None or mask.ndim == 2 else len(mask), photos)
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
    _check_count("photos", len(references), pictures)
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


def _check_count(what: str, count: int, pictures: Sequence[Tensor]) -> None:
    if count not in (1, len(pictures)):
        raise SeesrError(f"{count} {what} do not go with {len(pictures)} pictures; give one, or one for each")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.replace("\n", ",").split(",") if word.strip()]
