"""A scheduler of one's own: put any of diffusers' in the pipeline's place for it, and choose the steps.

A scheduler of another class than the model's is obeyed whatever the profile says. By name it is shorter:
`pipeline(photo, profile="diffusion", scheduler="euler")`. More steps cost time only; the seed makes runs comparable.

python examples/own_scheduler.py [PHOTO RESULT]
"""

import sys

from diffusers import DPMSolverMultistepScheduler
from PIL import Image

from seesr import SeeSRPipeline

PHOTO, RESULT = sys.argv[1:] or ("examples/cat.jpg", "restored.png")

pipeline = SeeSRPipeline.from_pretrained("mini")
pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, use_karras_sigmas=True)
steps: list[int] = []
result = pipeline(
    Image.open(PHOTO),
    profile="diffusion",  # the one of mini's profiles that denoises
    num_inference_steps=6,
    seed=1,
    callback=lambda progress: steps.append(progress.done) if progress.latents is not None else None,
)
result.images[0].save(RESULT)
print(f"{RESULT}: {len(steps)} steps of {type(pipeline.scheduler).__name__}")
