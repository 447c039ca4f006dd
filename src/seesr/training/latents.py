"""What the diffusion part of a small model learns from, computed once: latents, representation embeddings, tags.

Everything before the UNet is frozen when it learns, so a training step need not repeat it. From the restorations of
`seesr.training.restorations` come, for each sample, the latents of the clean and of the enlarged photo, DAPE's
embedding of the degraded photo (soft prompt) and the plain tagger's tags of the clean one (hard prompt).
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save as serialize
from torch import Tensor
from torch.utils.data import Dataset

from seesr.errors import SeesrError
from seesr.models.dape import plain_ram
from seesr.system.atomic import write_whole
from seesr.training import restorations

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Latents:
    """n samples; latents are scaled to unit variance by the autoencoder's factor."""

    clean: Tensor  # (n, c, h, w) float16
    enlarged: Tensor  # (n, c, h, w) float16
    image_embeds: Tensor  # (n, tokens, d) float16, of the degraded photos
    tags: list[str]  # of the clean photos, joined by ", "

    def __len__(self) -> int:
        return len(self.tags)

    def save(self, file: Path) -> None:
        """Raises SeesrError: the file cannot be written."""
        tensors = {"clean": self.clean, "enlarged": self.enlarged, "image_embeds": self.image_embeds}
        content = serialize(tensors, {"tags": json.dumps(self.tags)})
        write_whole(file, lambda stream: stream.write(content))

    @staticmethod
    def load(file: Path) -> "Latents":
        """Raises SeesrError: no such file."""
        if not file.is_file():
            raise SeesrError(f"there are no latents {file}")
        with safe_open(file, "pt") as tensors:
            tags = json.loads(tensors.metadata()["tags"])
            found = {name: tensors.get_tensor(name) for name in ("clean", "enlarged", "image_embeds")}
            return Latents(**found, tags=tags)


@torch.no_grad()
def encode(folder: Path, vae: Any, tagger: Any, dtype: torch.dtype = torch.float32) -> Latents:
    """Latents, embeddings and tags of a folder of restorations, one sample after the other.

    Args:
        vae, tagger: in float32; `dtype` is the number format they are run in.
    """
    samples = restorations.read(folder, ("hr", "lr", "enlarged"))
    run = partial(torch.autocast, vae.device.type, dtype=dtype, enabled=dtype != torch.float32)
    parts: dict[str, list[Tensor]] = {"clean": [], "enlarged": [], "image_embeds": []}
    tags: list[str] = []
    total = len(samples["hr"])
    for number in range(total):
        pixels = {name: values[number : number + 1].to(vae.device).float() / 255 for name, values in samples.items()}
        with run():
            for name, source in (("clean", "hr"), ("enlarged", "enlarged")):
                mean = vae.encode(pixels[source] * 2 - 1).latent_dist.mode().float()
                parts[name].append((mean * vae.config.scaling_factor).half().cpu())
            seen = tagger(tagger.preprocess(pixels["lr"]))
            with plain_ram(tagger):
                logits = tagger(tagger.preprocess(pixels["hr"])).logits[0]
        parts["image_embeds"].append(seen.image_embeds.half().cpu())
        tags.append(", ".join(tag.name for tag in tagger.tags_on(logits)))
        if number % 200 == 199:
            logger.info("%d of %d samples encoded", number + 1, total)
    return Latents(**{name: torch.cat(values) for name, values in parts.items()}, tags=tags)


class LatentCrops(Dataset[dict[str, Tensor]]):
    """Endless random squares of latents.

    Sample number -> `clean`, `enlarged` (c, size, size), `image_embeds` (tokens, d), `text` (77,) token numbers of the
    tags, all of one sample, and its `seed`.

    tokens: (n, 77), or (n, k, 77) where each sample has k texts, one of which is drawn.
    """

    def __init__(self, latents: Latents, tokens: Tensor, size: int, seed: int):
        if size > min(latents.clean.shape[-2:]):
            raise SeesrError(f"size is {size}, more than that of the latents, {tuple(latents.clean.shape[-2:])}")
        self.latents, self.tokens, self.size, self.seed = latents, tokens, size, seed

    def to(self, device: torch.device) -> None:
        """Keep the latents on `device`, and cut there from now on."""
        held = {name: getattr(self.latents, name).to(device) for name in ("clean", "enlarged", "image_embeds")}
        self.latents, self.tokens = replace(self.latents, **held), self.tokens.to(device)

    def place(self, index: int) -> tuple[int, int, int]:
        """Which sample's latents, and where the square lies in them: top, left."""
        rng = np.random.default_rng((self.seed, 4, index))
        number = int(rng.integers(len(self.latents)))
        top, left = (int(rng.integers(side - self.size + 1)) for side in self.latents.clean.shape[-2:])
        return number, top, left

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        number, top, left = self.place(index)
        window = (number, slice(None), slice(top, top + self.size), slice(left, left + self.size))
        return {
            "clean": self.latents.clean[window].float(),
            "enlarged": self.latents.enlarged[window].float(),
            "image_embeds": self.latents.image_embeds[number].float(),
            "text": self._text(number, index),
            "seed": torch.tensor(int(np.random.default_rng((self.seed, 6, index)).integers(2**62))),
        }

    def _text(self, number: int, index: int) -> Tensor:
        if self.tokens.ndim == 2:
            return self.tokens[number]
        return self.tokens[number, int(np.random.default_rng((self.seed, 8, index)).integers(self.tokens.shape[1]))]


def newest(pattern: str) -> Path:
    """The matching file that was written last; the pattern itself if none matches."""
    files = sorted(Path(pattern).parent.glob(Path(pattern).name), key=lambda file: file.stat().st_mtime)
    return files[-1] if files else Path(pattern)


def tokenize(tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """(n, 77) token numbers."""
    found = tokenizer(
        list(texts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    tokens: Tensor = found.input_ids
    return tokens


def parts_of_tags(tags: Sequence[str], drop: float, seed: int, count: int = 16) -> list[str]:
    """`count` texts for each entry of `tags`, in order: its tags, each left out with probability `drop`; without
    `drop`, one text each.

    A full list that occurs only once identifies its photo and is learned by heart; parts of it occur in several.
    """
    rng = np.random.default_rng((seed, 7))
    found = []
    for text in tags:
        words = text.split(", ")
        for kept in rng.random((count if drop else 1, len(words))) >= drop:
            found.append(", ".join(word for word, keep in zip(words, kept) if keep))
    return found
