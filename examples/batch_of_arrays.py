"""A batch of arrays: NumPy in, NumPy out, as programs have pictures that come from a camera or a data set.

Every picture is restored as if it were alone, from the same seed, so company and order change nothing. A batch array
has pictures of one size; a list may mix sizes. Floats in [0, 1] work as well as uint8, and `output_type="pt"` gives
tensors.

python examples/batch_of_arrays.py [PHOTO]
"""

import sys

import numpy as np
from PIL import Image

from seesr import SeeSRPipeline

PHOTO = sys.argv[1] if len(sys.argv) > 1 else "examples/cat.jpg"

photo = np.asarray(Image.open(PHOTO).convert("RGB"))  # (H, W, 3), uint8
batch = np.stack([photo, photo[:, ::-1]])  # (2, H, W, 3): the photo and its mirror image

pipeline = SeeSRPipeline.from_pretrained("mini")
images = pipeline(batch, scale=2, output_type="np").images

for before, after in zip(batch, images):
    print(f"{before.shape} to {after.shape}, {after.dtype}, from {after.min()} to {after.max()}")

alone = pipeline(batch[0], scale=2, output_type="np").images[0]
print("alone it gives the same picture:", bool((alone == images[0]).all()))
