"""Stage 1: DAPE, the tagger that sees in a degraded photo what RAM sees in the clean one (SeeSR, section 3.2).

The teacher is RAM on the clean photo, the student is RAM with LoRA on its degraded version. They are one network: the
factors are switched off for the teacher, so it costs a forward pass and no memory. Only the factors are trained.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seesr.data.samples import (
    SCALE,
    VALIDATION_SEED,
    Crops,
    DegradationMix,
    OnDevice,
    Pairs,
    PhotosConfig,
    Squares,
    enlarge,
    load_photos,
)
from seesr.errors import SeesrError
from seesr.loading import tagger_from_folder
from seesr.models.dape import add_lora, plain_ram
from seesr.models.lora import lora_layers
from seesr.models.tagging import TaggerOutput
from seesr.training import loop
from seesr.training.config import load_config
from seesr.training.loop_config import LoopConfig


@dataclass(kw_only=True)
class DapeConfig(PhotosConfig, LoopConfig):
    """Config of `seesr train dape`."""

    model: str  # folder of a tagger, or of a model that has one
    validation_photos: list[str]
    validation_samples: int = 64  # while training; all of them at the end
    size: int = 512  # photos are stretched whole to this square, a multiple of 4
    degradation: dict[str, float] = field(default_factory=lambda: {"seesr": 1.0})  # preset: weight
    enlarge: bool = True  # the student sees the degraded photo brought back to `size`; else as it is, as in restoration
    lora_rank: int = 8  # of new factors; a tagger that brings factors goes on with them
    lora_alpha: float = 1.0
    loss: Literal["both", "representation", "logits"] = "both"
    logits_weight: float = 1.0
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale_jitter != 1:
            raise SeesrError(f"scale_jitter is {self.scale_jitter}; this stage sees whole photos, leave it out")
        if self.size <= 0 or self.size % SCALE:
            raise SeesrError(f"size is {self.size}; give a multiple of {SCALE}")
        for key in ("lora_rank", "lora_alpha", "logits_weight"):
            if getattr(self, key) <= 0:
                raise SeesrError(f"{key} is {getattr(self, key)}; give a number above 0")


class DapeStage(loop.Stage):
    """Trains the LoRA factors of `modules["tagger"]`."""

    averaged = ("tagger",)

    def __init__(self, config: DapeConfig):
        self.config = config
        degrade = DegradationMix(config.degradation)
        photos, validation = (
            Squares(load_photos(sources, 1, memory_gb=config.memory_gb, whole=whole), config.size)
            for sources, whole in ((config.photos, config.on_device), (config.validation_photos, False))
        )
        pairs = Pairs(Crops(photos, config.size, config.seed, turn=False), degrade)
        self.samples = OnDevice(pairs) if config.on_device else pairs
        self.validation = Pairs(Crops(validation, config.size, VALIDATION_SEED, turn=False), degrade)
        self.tagger = cast(Any, tagger_from_folder(Path(config.model)))
        if not lora_layers(self.tagger):
            add_lora(self.tagger, config.lora_rank, config.lora_rank, config.lora_alpha / config.lora_rank)
            self.tagger.register_to_config(lora_rank=config.lora_rank, lora_alpha=config.lora_alpha)
        self.tagger.requires_grad_(False).to(memory_format=torch.channels_last)
        for name, layer in lora_layers(self.tagger).items():
            if not name.startswith("head") or config.loss != "representation":  # the head makes only logits
                layer.lora_A.requires_grad_(True)
                layer.lora_B.requires_grad_(True)
        if config.gradient_checkpointing:
            _checkpoint_gradients(self.tagger)
        self.modules = {"tagger": self.tagger}
        self.frozen = {}

    def dataset(self) -> OnDevice | Pairs:
        return self.samples

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [{"params": [p for p in self.tagger.parameters() if p.requires_grad], "lr": learning_rate}]

    def training_step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        teacher = self._teach(batch["target"])
        student = self.modules["tagger"](self.tagger.preprocess(self._shown(batch["lr"])))
        terms = distance(student, teacher)
        if self.config.loss == "both":
            loss = terms["representation"] + self.config.logits_weight * terms["logits"]
        else:
            loss = terms[self.config.loss]
        return {"loss": loss} | terms

    def _shown(self, lr: Tensor) -> Tensor:
        return enlarge(lr) if self.config.enlarge else lr

    @torch.no_grad()
    def _teach(self, target: Tensor) -> TaggerOutput:
        """What plain RAM, in evaluation mode, sees in (B, 3, H, W) in [0, 1]."""
        training = self.tagger.training
        with plain_ram(self.tagger.eval()):
            seen: TaggerOutput = self.tagger(self.tagger.preprocess(target))
        self.tagger.train(training)
        return seen

    def validate(self, final: bool) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Distances to the teacher, zero at best, of DAPE and (`ram_`) of plain RAM on the same degraded photos."""
        count = len(self.validation) if final else min(self.config.validation_samples, len(self.validation))
        values: dict[str, list[float]] = {}
        for number in range(count):
            sample = self.validation[number]
            lr, target = (sample[name][None].to(self.tagger.device) for name in ("lr", "target"))
            shown = self._shown(lr)
            teacher = self._teach(target)
            least = distance(teacher, teacher)["logits"]  # the entropy of the teacher's probabilities
            students = {"": self.tagger(self.tagger.preprocess(shown)), "ram_": self._teach(shown)}
            for prefix, student in students.items():
                terms = distance(student, teacher)
                values.setdefault(f"{prefix}representation", []).append(float(terms["representation"]))
                values.setdefault(f"{prefix}logits", []).append(float(terms["logits"] - least))
        return {name: fmean(found) for name, found in values.items()} | {"photos": count}, {}

    def save(self, folder: Path) -> None:
        source = Path(self.config.model)
        if not (source / "model_index.json").is_file():
            self.tagger.save_pretrained(folder)
            return
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("tagger"), dirs_exist_ok=True)
        self.tagger.save_pretrained(folder / "tagger")


def distance(student: TaggerOutput, teacher: TaggerOutput) -> dict[str, Tensor]:
    """The two terms of the loss: mean squared error of the representation embeddings, and the binary cross-entropy
    of every tag with the teacher's probability as its soft target, mean over the tags."""
    return {
        "representation": F.mse_loss(student.image_embeds.float(), teacher.image_embeds.float()),
        "logits": F.binary_cross_entropy_with_logits(student.logits.float(), teacher.logits.float().sigmoid()),
    }


def _checkpoint_gradients(tagger: nn.Module) -> None:
    encoder = getattr(tagger, "visual_encoder", None)
    if not getattr(encoder, "supports_gradient_checkpointing", False):
        raise SeesrError("gradient_checkpointing: the encoder of this tagger has none; set it to false")
    cast(Any, encoder).gradient_checkpointing_enable({"use_reentrant": False})


def train(config_path: str | Path, overrides: Iterable[str] = ()) -> dict[str, float]:
    """Run or continue the training that a config file describes; returns its last validation metrics.

    Raises:
        SeesrError: a mistake in the config, the photos, the model or a checkpoint; before the first step.
    """
    config = load_config(DapeConfig, Path(config_path), overrides)
    return loop.train(lambda: DapeStage(config), config)
