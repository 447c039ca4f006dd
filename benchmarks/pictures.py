"""Make the pictures that show what the embedded model does: README's side-by-sides and the stored crop of its test.

    python benchmarks/pictures.py

Run it after the shipped weights have changed, and look at the result.
"""

import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "restoration"), str(ROOT / "tests")]

from test_mini import STORED, restored_crop  # noqa: E402

from seesr import SeeSRPipeline  # noqa: E402
from seesr.photos.photo import read_photo  # noqa: E402
from seesr.photos.pictures import side_by_side  # noqa: E402


def main() -> None:
    pipeline = SeeSRPipeline.from_pretrained("mini")
    for photo in sorted((ROOT / "examples").glob("*.jpg")):
        before = read_photo(photo).rgb
        sheet = side_by_side(before, pipeline(before).images[0])
        sheet.save(ROOT / "docs" / "images" / f"{photo.stem}.webp", quality=88, method=6)
        print(f"docs/images/{photo.stem}.webp")
    restored_crop().save(STORED)
    Image.open(STORED).verify()


if __name__ == "__main__":
    main()
