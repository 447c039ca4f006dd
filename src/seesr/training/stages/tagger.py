"""A tagger for models trained from scratch: many labels a photo, from a teacher's probabilities or from labels.

It takes RAM's place in the paper, before stage 1 makes DAPE of it. The student is a small RAM, or an existing tagger.
Photos are seen whole, stretched to the tagger's square, mirrored at random.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from seesr.data.photos import StreamedPhotos
from seesr.data.samples import Crops, OnDevice, PhotosConfig, Squares, TrainingPhoto, load_photos
from seesr.data.shards import Entry
from seesr.errors import SeesrError
from seesr.loading import tagger_from_folder
from seesr.metrics.tags import Sight, score_tags
from seesr.models.tagger import Tagger
from seesr.training import loop
from seesr.training.config import load_config
from seesr.training.loop_config import LoopConfig


@dataclass(kw_only=True)
class SwinConfig:
    """A new tagger; see `seesr.models.tagger.Tagger`."""

    image_size: int = 192
    embed_dim: int = 48
    depths: tuple[int, int, int, int] = (2, 2, 4, 2)
    num_heads: tuple[int, int, int, int] = (2, 4, 8, 16)
    window_size: int = 6
    image_embed_dim: int = 256
    label_dim: int = 128
    head_dim: int = 256
    head_feed_forward_dim: int = 512


@dataclass(kw_only=True)
class TaggerConfig(PhotosConfig, LoopConfig):
    """Config of `seesr train tagger`. One of `teacher` and `labels` is given."""

    validation_photos: list[str]
    teacher: str | None = None  # folder of a tagger, or of a model that has one; the student learns its tags
    labels: str | None = None  # key in the photos' JSON files, of a label or a list of labels
    start: str | None = None  # folder of a tagger to start from; None: a new one
    swin: SwinConfig = field(default_factory=SwinConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.teacher is None) == (self.labels is None):
            raise SeesrError("give one of teacher (a tagger's folder) and labels (a key of the photos' JSON files)")
        if self.scale_jitter != 1:
            raise SeesrError(f"scale_jitter is {self.scale_jitter}; this stage sees whole photos, leave it out")


class Labelled(Dataset[dict[str, Any]]):
    """Whole photos with the truth about their tags: adds `truth`, (tags,) of zeros and ones."""

    def __init__(self, crops: Crops, tags: list[str], key: str):
        self.crops = crops
        self.tags = tags
        self.key = key

    def __getitem__(self, index: int) -> dict[str, Any]:
        photo, sample = self.crops.cut(index)
        labels = photo_labels(photo, self.key)
        return sample | {"truth": torch.tensor([float(tag in labels) for tag in self.tags])}


class TaggerStage(loop.Stage):
    """Trains `modules["tagger"]`, whole."""

    averaged = ("tagger",)

    def __init__(self, config: TaggerConfig):
        self.config = config
        photos, validation = (
            load_photos(sources, 1, memory_gb=config.memory_gb, whole=whole)
            for sources, whole in ((config.photos, config.on_device), (config.validation_photos, False))
        )
        self.teacher = cast(Any, tagger_from_folder(Path(config.teacher))) if config.teacher else None
        tags, thresholds = self._tags(photos)
        if config.start:
            self.tagger = cast(Any, tagger_from_folder(Path(config.start)))
            if self.tagger.config.tags != tags:
                raise SeesrError(f"{config.start} has other tags than the {'teacher' if self.teacher else 'photos'}")
        else:
            try:
                self.tagger = cast(Any, Tagger(tags, thresholds, drop_path_rate=0.0, **asdict(config.swin)))
            except ValueError as error:
                raise SeesrError(f"swin: no such tagger can be made ({error})") from error
            nn.init.normal_(self.tagger.label_embed)  # there are no words to embed: tags far apart from the first step
        size = self.tagger.config.image_size
        crops = Crops(Squares(photos, size), size, config.seed, turn=False)
        self.validation = Crops(Squares(validation, size), size, config.seed, turn=False)
        self.modules = {"tagger": self.tagger}
        self.frozen = {} if self.teacher is None else {"teacher": self.teacher.requires_grad_(False)}
        samples = self._with_truth(crops)
        self.samples = OnDevice(samples) if config.on_device else samples

    def _tags(self, photos: Sequence[TrainingPhoto]) -> tuple[list[str], list[float]]:
        if self.teacher is not None:
            return list(self.teacher.config.tags), list(self.teacher.config.thresholds)
        key = cast(str, self.config.labels)
        described = photos.entries if isinstance(photos, StreamedPhotos) else photos
        tags = sorted({label for photo in described for label in photo_labels(photo, key)})
        if not tags:
            raise SeesrError(f"no photo has a JSON file with {key!r}; check labels and photos")
        return tags, [0.5] * len(tags)

    def dataset(self) -> Dataset[dict[str, Any]]:
        return self.samples

    def _with_truth(self, photos: Crops) -> Dataset[dict[str, Any]]:
        return photos if self.teacher else Labelled(photos, self.tagger.config.tags, cast(str, self.config.labels))

    def training_step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        image = batch["hr"].float() / 255  # (B, 3, size, size)
        logits = self.modules["tagger"](self.tagger.preprocess(image)).logits
        return {"loss": F.binary_cross_entropy_with_logits(logits.float(), self._truth(image, batch))}

    @torch.no_grad()
    def _truth(self, image: Tensor, sample: dict[str, Tensor]) -> Tensor:
        """Probability of each tag, (B, tags)."""
        if self.teacher is None:
            return sample["truth"]
        logits: Tensor = self.teacher(self.teacher.preprocess(image)).logits
        return logits.float().sigmoid()

    def validate(self, final: bool) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Cross-entropy, and the mean average precision of the tags that occur (that the teacher switches on)."""
        truths, found = [], []
        samples = cast(Any, self._with_truth(self.validation))
        for number in range(len(self.validation.photos)):
            sample = {name: value[None].to(self.tagger.device) for name, value in samples[number].items()}
            image = sample["hr"].float() / 255
            truths.append(self._truth(image, sample)[0].cpu())
            found.append(self.tagger(self.tagger.preprocess(image)).logits[0].float().cpu())
        truth, logits = torch.stack(truths), torch.stack(found)  # (photos, tags)
        entropy = float(F.binary_cross_entropy_with_logits(logits, truth))
        thresholds = torch.tensor(self.tagger.config.thresholds)
        on = truth > thresholds
        metrics = {"cross_entropy": entropy, "photos": float(len(truth))}
        if on.any():
            seen = Sight(logits.sigmoid().numpy(), (logits.sigmoid() > thresholds).numpy())
            metrics["mAP"] = score_tags(self.tagger.config.tags, on.numpy(), seen).summary["mAP"]
        return metrics, {}

    def save(self, folder: Path) -> None:
        self.tagger.save_pretrained(folder)


def photo_labels(photo: TrainingPhoto | Entry, key: str) -> list[str]:
    """Labels of a photo: those in its JSON file under `key`, a text or a list of texts; none without one.

    Raises:
        SeesrError: something else stands there.
    """
    labels = photo.info.get(key, [])
    labels = [labels] if isinstance(labels, str) else labels
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise SeesrError(f"{photo.name}: {key!r} in its JSON file is no text and no list of texts")
    return labels


def train(config_path: str | Path, overrides: Iterable[str] = ()) -> dict[str, float]:
    """Run or continue the training that a config file describes; returns its last validation metrics.

    Raises:
        SeesrError: a mistake in the config, the photos, the teacher or a checkpoint; before the first step.
    """
    config = load_config(TaggerConfig, Path(config_path), overrides)
    return loop.train(lambda: TaggerStage(config), config)
