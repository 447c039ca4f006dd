"""Make the example photos: pictures that scikit-image ships free of rights, made small and re-compressed.

    pip install scikit-image && python examples/make.py

What a phone messenger or an old web page does to a photo: scaled down, a little soft, JPEG with visible blocks.
"""

from io import BytesIO
from pathlib import Path

from PIL import Image, ImageFilter
from skimage import data

EXAMPLES = {  # name: (array, crop box, size, blur before scaling, JPEG quality)
    "cat": (data.chelsea(), (40, 0, 440, 300), (160, 120), 0.0, 60),
    "astronaut": (data.astronaut(), (96, 0, 416, 320), (128, 128), 1.5, 75),
    "coffee": (data.coffee(), (60, 20, 540, 380), (160, 120), 2.0, 85),
}


def main() -> None:
    for name, (array, box, size, blur, quality) in EXAMPLES.items():
        photo = Image.fromarray(array).crop(box).filter(ImageFilter.GaussianBlur(blur))
        small = photo.resize(size, Image.Resampling.BICUBIC)
        out = BytesIO()
        small.save(out, "JPEG", quality=quality)
        (Path(__file__).parent / f"{name}.jpg").write_bytes(out.getvalue())


if __name__ == "__main__":
    main()
