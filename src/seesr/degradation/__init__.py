"""Real-ESRGAN's two-stage degradation in torch, seeded per sample, with typed configs and presets."""

from seesr.degradation.jpeg import jpeg_pillow, jpeg_torch
from seesr.degradation.kernels import Kernel, sharpen
from seesr.degradation.plan import DegradationPlan, draw
from seesr.degradation.presets import PRESETS, DegradationConfig, preset
from seesr.degradation.process import Degradation, apply
from seesr.degradation.sheet import degrade_photo, sheet

__all__ = [
    "PRESETS",
    "Degradation",
    "DegradationConfig",
    "DegradationPlan",
    "Kernel",
    "apply",
    "degrade_photo",
    "draw",
    "jpeg_pillow",
    "jpeg_torch",
    "preset",
    "sharpen",
    "sheet",
]
