"""The same degradation, stronger or weaker: one drawn plan scaled between nothing and what was drawn.

Scaling the plan rather than the preset keeps all else equal: a photo meets the same kernels, the same pattern of noise
and the same order of steps at every strength, so that a curve over strength is not blurred by other draws.
"""

import math
from dataclasses import replace

from seesr.degradation.kernels import Kernel
from seesr.degradation.noise import NoisePlan
from seesr.degradation.plan import DegradationPlan, Size, StagePlan
from seesr.degradation.sensor import SensorPlan
from seesr.errors import SeesrError


def soften(plan: DegradationPlan, strength: float, height: int, width: int) -> DegradationPlan:
    """`plan`, drawn for an HR image of this size in pixels, at `strength` from 0 to 1.

    1: as drawn, 0: only the reduction to the LR size. Between them widths of blur, noise and loss of JPEG quality are
    proportional to the strength, factors of intermediate resizes are taken to its power, and the cutoffs of sinc
    kernels go from pi, where they cut off nothing but diagonals, to what was drawn. Above 0 all steps take place,
    and some cost a little at any strength, such as the halved colour resolution of JPEG.

    Raises:
        SeesrError: a strength outside 0..1.
    """
    if not 0 <= strength <= 1:
        raise SeesrError(f"a degradation's strength cannot be {strength:g}; give a number from 0 to 1")
    return replace(
        plan,
        first=_stage(plan.first, strength, (height, width)) if plan.first and strength else None,
        second=_stage(plan.second, strength, plan.size) if strength else StagePlan(None, None, "area", None, None),
        sinc=_kernel(plan.sinc, strength) if plan.sinc and strength else None,
    )


def _stage(stage: StagePlan, strength: float, reference: Size) -> StagePlan:
    """`reference`: the size that stands for no change."""
    size = stage.size
    if size is not None:
        height, width = (max(1, round(full * (side / full) ** strength)) for side, full in zip(size, reference))
        size = (height, width)
    return replace(
        stage,
        kernel=_kernel(stage.kernel, strength) if stage.kernel else None,
        size=size,
        noise=_noise(stage.noise, strength) if stage.noise else None,
        quality=None if stage.quality is None else round(100 - strength * (100 - stage.quality)),
    )


def _noise(noise: NoisePlan | SensorPlan, strength: float) -> NoisePlan | SensorPlan:
    if isinstance(noise, NoisePlan):
        return replace(noise, strength=noise.strength * strength)
    return replace(
        noise,
        shot=noise.shot * strength**2,  # variances
        read=noise.read * strength**2,
        chroma=noise.chroma * strength,
        luma=noise.luma * strength,
        sharpening=noise.sharpening * strength,
    )


def _kernel(kernel: Kernel, strength: float) -> Kernel:
    if kernel.kind == "sinc":
        return replace(kernel, cutoff=(1 - strength) * math.pi + strength * kernel.cutoff)
    return replace(kernel, sigma=(kernel.sigma[0] * strength, kernel.sigma[1] * strength))
