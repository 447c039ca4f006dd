"""Tags of one's own: see what DAPE saw, leave a tag out, add words, or say what is there.

mini's small diffusion part hardly listens to words; the same call with "sd2" is where they decide what is painted.

python examples/own_tags.py [PHOTO]
"""

import sys

from PIL import Image

from seesr import SeeSRPipeline

photo = Image.open(sys.argv[1] if len(sys.argv) > 1 else "examples/cat.jpg")
pipeline = SeeSRPipeline.from_pretrained("mini")

seen, _ = pipeline.see(photo)  # tags with probabilities, and the representation embedding
print("seen:", ", ".join(f"{tag.name} {tag.probability:.2f}" for tag in seen))

common = {"profile": "diffusion", "num_inference_steps": 4}
for what, words in {
    "as seen": {},
    "one left out, words added": {"exclude_tags": [tag.name for tag in seen[:1]], "prompt": "tabby fur"},
    "my own": {"tags": ["cat", "wood"]},
    "none": {"tags": []},
}.items():
    result = pipeline(photo, **common, **words)
    print(f"{what}: prompt {result.prompts[0]!r}")
