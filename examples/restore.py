"""Five lines to restore a photo: load the embedded model, give it a picture, save the result.

python examples/restore.py [PHOTO RESULT]
"""

import sys

from PIL import Image

from seesr import SeeSRPipeline

PHOTO, RESULT = sys.argv[1:] or ("examples/cat.jpg", "restored.png")

pipeline = SeeSRPipeline.from_pretrained("mini")  # or "sd2", or a folder
result = pipeline(Image.open(PHOTO), scale=4)
result.images[0].save(RESULT)
print(f"{RESULT}: saw {', '.join(tag.name for tag in result.tags[0]) or 'nothing'}")
