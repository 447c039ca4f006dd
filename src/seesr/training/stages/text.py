"""The text tower of a model trained from scratch, pretrained so that words match what the tagger sees.

Trained together with a small UNet, a text tower ignores the words: what all prompts share helps the prediction at every
step, a word only where it occurs. Stable Diffusion's tower came from CLIP. Here the tower learns in CLIP's way (Radford
et al. 2021, arXiv 2103.00020) that a photo's tags and its representation embedding belong together, on the embeddings
that `prior` has encoded. It takes minutes; `prior` then keeps the tower frozen. Photos with the same tags are each
other's positives (Khosla et al. 2020, arXiv 2004.11362).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate
from transformers import CLIPTokenizer

from seesr.data.samples import VALIDATION_SEED
from seesr.errors import SeesrError
from seesr.models.text import text_tower, train_tokenizer
from seesr.training import loop
from seesr.training.config import load_config
from seesr.training.latents import Latents, newest, tokenize
from seesr.training.loop_config import LoopConfig

WIDTH = 256
VOCABULARY = 2048
LARGEST_SCALE = 20.0  # of the logits; with CLIP's 100 prompts may stay almost alike


@dataclass(kw_only=True)
class TextConfig(LoopConfig):
    """Config of `seesr train text`."""

    tagger: str  # folder of the tagger, whose tags the byte-pair encoding is learned from
    latents: str  # file of latents, which hold embeddings and tags; of several that match `*` the newest
    validation_latents: str


class TaggedEmbeddings(Dataset[dict[str, Tensor]]):
    """Endless samples of photos that have tags, these in random order.

    Sample number -> `text` (77,) token numbers, `embedding` (d,), the mean of the photo's, and `same`, a number that
    photos of the same tags share.
    """

    def __init__(self, latents: Latents, tokenizer: Any, seed: int):
        tagged = [number for number, text in enumerate(latents.tags) if text]
        if not tagged:
            raise SeesrError("none of the samples has a tag; give latents of other photos")
        self.tags = [latents.tags[number].split(", ") for number in tagged]
        self.embeddings = latents.image_embeds[tagged].float().mean(1)  # (n, d)
        sets = [tuple(sorted(tags)) for tags in self.tags]
        numbers = {found: number for number, found in enumerate(dict.fromkeys(sets))}
        self.same = torch.tensor([numbers[found] for found in sets])
        self.tokenizer, self.seed = tokenizer, seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, 9, index))
        number = int(rng.integers(len(self.tags)))
        text = ", ".join(rng.permutation(self.tags[number]))
        tokens = tokenize(self.tokenizer, [text])[0]
        return {"text": tokens, "embedding": self.embeddings[number], "same": self.same[number]}


class Towers(nn.Module):
    """Text and embedding as unit vectors, and the learned scale of their similarity.

    All positions of the text are compared, because cross-attention reads all of them. No projection of the states comes
    before the comparison, so what distinguishes prompts is large in the states that the UNet will read.
    """

    def __init__(self, text_encoder: nn.Module, embedding_width: int):
        super().__init__()
        self.text_encoder = text_encoder
        self.project = nn.Sequential(nn.LayerNorm(embedding_width), nn.Linear(embedding_width, WIDTH))
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, text: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 77) and (B, d) -> logits (B, B), a row for each text, and the text's states (B, 77, WIDTH)."""
        states = self.text_encoder(text)[0].float()
        ours = F.normalize(states[:, 1:].mean(1), dim=-1)
        theirs = F.normalize(self.project(embedding).float(), dim=-1)
        return self.log_scale.exp().clamp(max=LARGEST_SCALE) * ours @ theirs.T, states


def own_tokenizer(tags: Iterable[str], folder: Path) -> Any:
    """The byte-pair encoding of a run: learned from `tags` at its start, and later read from `folder`.

    Learned again, it could number tokens differently, and the tower would read other words.
    """
    if (folder / "merges.txt").is_file():
        return CLIPTokenizer.from_pretrained(folder)
    return train_tokenizer(tags, VOCABULARY, folder)


def contrastive_loss(logits: Tensor, same: Tensor) -> Tensor:
    """Cross entropy of (B, B) logits both ways; partners are all of the same number in `same`, (B,)."""
    partners = (same[:, None] == same[None]).float()
    partners = partners / partners.sum(1, keepdim=True)
    return (F.cross_entropy(logits, partners) + F.cross_entropy(logits.T, partners)) / 2


class TextStage(loop.Stage):
    """Trains `modules["towers"]`, of which the text encoder is kept."""

    averaged = ("towers",)

    def __init__(self, config: TextConfig):
        self.config = config
        tags = json.loads((Path(config.tagger) / "config.json").read_text())["tags"]
        self.tokenizer = own_tokenizer(tags, Path(config.output) / "tokenizer")
        found = Latents.load(newest(config.latents))
        self.samples = TaggedEmbeddings(found, self.tokenizer, config.seed)
        validation = Latents.load(newest(config.validation_latents))
        self.validation = TaggedEmbeddings(validation, self.tokenizer, VALIDATION_SEED)
        self.text_encoder = text_tower(self.tokenizer, WIDTH)
        self.towers = Towers(self.text_encoder, found.image_embeds.shape[-1])
        self.modules = {"towers": self.towers}
        self.frozen = {}

    def dataset(self) -> TaggedEmbeddings:
        return self.samples

    def training_step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        logits, _ = self.modules["towers"](batch["text"], batch["embedding"])
        return {"loss": contrastive_loss(logits, batch["same"]), "scale": self.towers.log_scale.exp()}

    @torch.no_grad()
    def validate(self, final: bool) -> tuple[dict[str, float], dict[str, Tensor]]:
        """`rank`: where a photo's own tags come among all, 0 the first and .5 by chance; `spread`: how far the states
        of different prompts lie apart, as a share of their length."""
        batch = default_collate([self.validation[number] for number in range(256)])
        batch = {name: value.to(self.towers.log_scale.device) for name, value in batch.items()}
        logits, states = self.towers(batch["text"], batch["embedding"])
        own = logits.diagonal()
        others = batch["same"][:, None] != batch["same"][None]
        rank = ((logits > own[None]) & others).sum(0) / others.sum(0)  # of all texts, for each photo
        spread = (states - states.mean(0)).norm(dim=-1).mean() / states.norm(dim=-1).mean()
        loss = contrastive_loss(logits, batch["same"])
        return {"loss": float(loss), "rank": float(rank.mean()), "spread": float(spread)}, {}

    def save(self, folder: Path) -> None:
        """`text_encoder` and `tokenizer`."""
        self.text_encoder.save_pretrained(folder / "text_encoder")
        self.tokenizer.save_pretrained(folder / "tokenizer")


def train(config_path: str | Path, overrides: Iterable[str] = ()) -> dict[str, float]:
    """Run or continue the training that a config file describes; returns its last validation metrics.

    Raises:
        SeesrError: a mistake in the config, the latents or a checkpoint; before the first step.
    """
    config = load_config(TextConfig, Path(config_path), overrides)
    return loop.train(lambda: TextStage(config), config)
