"""From HR to LR: Real-ESRGAN's second-order degradation (arXiv 2107.10833, figure 2), one plan per sample.

Samples of a batch pass one by one: from the first resize on each has its own size, and a sample's result does not
depend on the others, to the last bit. On the CPU one thread does the work: the steps are too short to be shared, and
the number of threads would change how sums are rounded (one rounding changes the whole picture after Poisson noise).
For throughput run it in several data-loader workers.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from seesr.degradation.jpeg import jpeg_pillow, jpeg_torch
from seesr.degradation.kernels import blur, sharpen
from seesr.degradation.noise import add_noise
from seesr.degradation.plan import DegradationPlan, StagePlan, draw
from seesr.degradation.presets import DegradationConfig
from seesr.degradation.resize import resize
from seesr.degradation.sensor import SensorPlan, add_sensor_noise
from seesr.errors import SeesrError

_CODECS = {"pillow": jpeg_pillow, "torch": jpeg_torch}


def apply(plan: DegradationPlan, hr: Tensor) -> tuple[Tensor, Tensor]:
    """Carry out `plan` on hr (3, H, W) in [0, 1]; returns lr (3, H/scale, W/scale) in 8-bit steps, target (3, H, W)."""
    with _one_thread() if hr.device.type == "cpu" else nullcontext():
        return _apply(plan, hr)


def _apply(plan: DegradationPlan, hr: Tensor) -> tuple[Tensor, Tensor]:
    def compress(image: Tensor, stage: StagePlan) -> Tensor:
        if stage.quality is None:
            return image
        top, left = stage.grid
        padded = F.pad(image[None], (left, 0, top, 0), mode="replicate")[0] if top or left else image
        return _CODECS[plan.jpeg_codec](padded, stage.quality)[:, top:, left:]

    target = sharpen(hr) if plan.usm else hr
    image = target
    if plan.first is not None:
        image = compress(_blur_resize_noise(image, plan.first), plan.first)
    image = _blur_resize_noise(image, plan.second)
    if not plan.jpeg_last:
        image = compress(image, plan.second)
    image = resize(image, plan.size, plan.mode)
    if plan.sinc is not None:
        image = blur(image, plan.sinc.weights())
    if plan.jpeg_last:
        image = compress(image, plan.second)
    return (image.clamp(0, 1) * 255).round() / 255, target


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _blur_resize_noise(image: Tensor, stage: StagePlan) -> Tensor:
    if stage.kernel is not None:
        image = blur(image, stage.kernel.weights())
    if stage.size is not None:
        image = resize(image, stage.size, stage.mode)
    if stage.noise is not None:
        if isinstance(stage.noise, SensorPlan):
            image = add_sensor_noise(image, stage.noise)
        else:
            image = add_noise(image, stage.noise)
    return image


class Degradation:
    """Makes LR images from HR ones: `Degradation(preset("camera"))(hr, seeds)`.

    config: what may be drawn; scale: HR size / LR size.
    """

    def __init__(self, config: DegradationConfig, scale: int = 4) -> None:
        self.config = config
        self.scale = scale

    @torch.no_grad()
    def __call__(self, hr: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Degrade a batch.

        hr: (B, 3, H, W) float in [0, 1], H and W multiples of `scale`; seeds: (B,) integers. Works on hr's device.
        Returns lr (B, 3, H/scale, W/scale) in [0, 1] in 8-bit steps and the training target (B, 3, H, W): hr, sharpened
        if the config says so. A sample's result depends on its pixels, its seed and the config only.
        Raises SeesrError for other shapes.
        """
        if hr.ndim != 4 or hr.shape[1] != 3 or hr.shape[2] % self.scale or hr.shape[3] % self.scale:
            shape = tuple(hr.shape)
            raise SeesrError(
                f"cannot degrade {shape} by {self.scale}; give (B, 3, H, W), sides multiples of {self.scale}"
            )
        if seeds.shape != hr.shape[:1]:
            raise SeesrError(f"{tuple(seeds.shape)} seeds for {hr.shape[0]} images; give one seed for each image")
        pairs = [
            apply(draw(self.config, seed, hr.shape[2], hr.shape[3], self.scale), image)
            for image, seed in zip(hr.float(), seeds.tolist())
        ]
        lr, target = zip(*pairs)
        return torch.stack(lr), torch.stack(target)
