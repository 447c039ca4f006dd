"""The pictures of the page in README.md and docs/web.md: the page itself in a Chromium, on a desk and on a phone.

    PYTHONPATH=tests/helpers python benchmarks/page_pictures.py

Needs the extra `web` and an installed Chromium. Writes docs/images/web-NAME.webp.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from browser import Browser
from PIL import Image

from seesr.apps.web.jobs import Limits
from seesr.apps.web.server import Access, running
from seesr.devices import choose_dtype
from seesr.loading import load_pipeline

PROJECT = Path(__file__).resolve().parents[1]
DONE = "!document.getElementById('download').hidden && document.getElementById('before').naturalWidth > 0"


class Screen(NamedTuple):
    """How the page is seen, and what is shown on it."""

    name: str
    photo: str  # of examples/
    width: int  # CSS pixels
    height: int
    dark: bool
    touch: bool
    saved_width: int  # pixels of the file


SCREENS = (
    Screen("light", "coffee.jpg", 1280, 860, dark=False, touch=False, saved_width=1280),
    Screen("dark-phone", "astronaut.jpg", 390, 844, dark=True, touch=True, saved_width=520),
)


def photograph(address: str, screen: Screen) -> Image.Image:
    """The page when the screen's photo has been restored."""
    with tempfile.TemporaryDirectory() as folder:
        with Browser(Path(folder), screen.width, screen.height, screen.touch) as browser:
            scheme = "dark" if screen.dark else "light"
            browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            browser.call("Emulation.setScrollbarsHidden", hidden=True)
            browser.open(address)
            browser.wait("document.documentElement.dataset.ready === 'true'")
            browser.upload("#files", PROJECT / "examples" / screen.photo)
            browser.wait(DONE, seconds=300)
            browser.evaluate("new Promise(done => setTimeout(done, 1000))")  # what fades in has come
            picture = Path(folder) / "page.png"
            browser.screenshot(picture)
        page = Image.open(picture).convert("RGB")
    return page.resize((screen.saved_width, round(page.height * screen.saved_width / page.width)), Image.Resampling.BOX)


def main() -> None:
    place = torch.device("cpu")
    pipeline = load_pipeline("mini", choose_dtype("auto", place), place)
    with running(pipeline, Limits(), Access(port=0)) as address:
        for screen in SCREENS:
            file = PROJECT / "docs" / "images" / f"web-{screen.name}.webp"
            photograph(address, screen).save(file, quality=88, method=6)
            print(file.relative_to(PROJECT))


if __name__ == "__main__":
    main()
