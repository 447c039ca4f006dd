"""Checkpoints of a run: the whole state, which resumes it exactly, and a light one for other machines.

A checkpoint is a folder that appears under its name only when complete, so a run killed at any moment resumes from
the last one. Below `output`: `checkpoints/step-…/` and, if asked for, `light/`.
"""

import json
import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from seesr.errors import SeesrError
from seesr.system.atomic import write_folder
from seesr.training.averaging import WeightAverage
from seesr.training.light import load_light, save_light

logger = logging.getLogger(__name__)


@dataclass
class Counters:
    """Where a training stands."""

    step: int = 0
    samples: int = 0  # seen
    skipped: int = 0  # steps without a finite gradient
    rewarm_from: int | None = None  # step at which the optimiser last started afresh


class Checkpoints:
    """The checkpoints below `output`.

    modules: as the stage made them, not wrapped; keep: how many whole checkpoints stay; light: whether to write the
    light one too.
    """

    def __init__(
        self,
        output: Path,
        accelerator: Accelerator,
        modules: dict[str, nn.Module],
        average: WeightAverage,
        *,
        keep: int,
        light: bool,
    ):
        self.folder, self.light_folder = output / "checkpoints", output / "light"
        self.accelerator, self.modules, self.average = accelerator, modules, average
        self.keep, self.light = keep, light

    def save(self, counters: Counters) -> None:
        """Write the state of all processes; older checkpoints than the last `keep` go."""

        def write(partial: Path) -> None:
            self.accelerator.save_state(str(partial))
            if self.accelerator.is_main_process:
                save_file(self.average.shadow, partial / "average.safetensors")
                (partial / "state.json").write_text(json.dumps(asdict(counters)))

        write_folder(self.folder / f"step-{counters.step:08d}", write, self.accelerator)
        if self.accelerator.is_main_process:
            for old in self._whole()[: -self.keep]:
                shutil.rmtree(old)
            if self.light:
                state = asdict(counters)
                write_folder(self.light_folder, lambda partial: save_light(partial, self.modules, self.average, state))
        self.accelerator.wait_for_everyone()

    def resume(self) -> Counters:
        """Load the newest state, a whole one rather than a light one of the same step; without any, start from zero.

        Raises:
            SeesrError: a checkpoint of another model, or a damaged one.
        """
        whole, light_step = self._whole(), self._light_step()
        if whole and int(whole[-1].name.removeprefix("step-")) >= light_step:
            counters = self._load_whole(whole[-1])
            logger.info("resuming from %s, %d samples seen", whole[-1], counters.samples)
            return counters
        if light_step < 0:
            return Counters()
        counters = Counters(**load_light(self.light_folder, self.modules, self.average))
        counters.rewarm_from = counters.step
        logger.info("resuming from %s, step %d, with a new optimiser", self.light_folder, counters.step)
        return counters

    def _whole(self) -> list[Path]:
        return sorted(self.folder.glob("step-" + "[0-9]" * 8))

    def _light_step(self) -> int:
        """Step of the light checkpoint, -1 where there is none."""
        index = self.light_folder / "index.json"
        if not index.is_file():
            return -1
        try:
            return int(json.loads(index.read_text())["counters"]["step"])
        except (ValueError, KeyError, TypeError):
            raise SeesrError(f"{index} is damaged; copy it again or remove its folder") from None

    def _load_whole(self, folder: Path) -> Counters:
        try:
            self.accelerator.load_state(str(folder))
            shadow = load_file(folder / "average.safetensors")
            for name, value in self.average.shadow.items():
                value.copy_(shadow[name])
            return Counters(**json.loads((folder / "state.json").read_text()))
        except (RuntimeError, KeyError, ValueError, TypeError, OSError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise SeesrError(f"{folder} is no checkpoint of this model ({reason}); choose another output") from error
