"""Pillow's bicubic filter, the baseline of every table."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from seesr.evaluation.baselines.interface import CPU, Case, Restored, restore_each


class Bicubic:
    """The `Method` called `bicubic`."""

    name = "bicubic"
    identity = "bicubic"

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def restore(self, cases: Sequence[Case], scale: int) -> list[Restored]:
        def enlarge(case: Case) -> Image.Image:
            size = (case.image.width * scale, case.image.height * scale)
            return case.image.resize(size, Image.Resampling.BICUBIC)

        return restore_each(self.name, cases, CPU, enlarge)
