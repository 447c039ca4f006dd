"""The page in a real browser, on a desktop and on a phone: a photo in, before and after, tags, cancel, download."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import Browser, find_browser
from PIL import ExifTags, Image

pytest.importorskip("gradio", reason="needs the extra web")

from seesr.apps.web.jobs import Limits
from seesr.apps.web.server import Access, running
from seesr.loading import load_restorer
from seesr.restoration.outputs import Progress

pytestmark = pytest.mark.skipif(find_browser() is None, reason="needs chromium")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    restorer: Any = load_restorer("mini", torch.float32, torch.device("cpu"), profile="fast")
    restorer.quick.ends = None  # as an engine without a dial
    with running(restorer, Limits(), Access(port=0)) as found:
        yield found


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "me"
    path = tmp_path / "my <b>cat &amp; dog.jpg"
    picture = Image.open(Path(__file__).parents[3] / "examples" / "cat.jpg")
    picture.resize((48, 36)).save(path, exif=exif.tobytes())
    return path


def choose(browser: Browser, *photos: Path) -> None:
    browser.upload("#files", *photos)


def started(browser: Browser, address: str) -> None:
    browser.open(address)
    browser.wait("document.documentElement.dataset.ready === 'true'")


DONE = "!document.getElementById('download').hidden && document.getElementById('before').naturalWidth > 0"


@pytest.mark.parametrize(("width", "height"), [(1280, 860), (390, 844)])
def test_a_photo_is_restored_compared_and_saved(
    address: str, photo: Path, tmp_path: Path, width: int, height: int
) -> None:
    with Browser(tmp_path, width, height, touch=width < 500) as browser:
        started(browser, address)
        choose(browser, photo)
        browser.wait(DONE)
        assert browser.evaluate("document.getElementById('after').naturalWidth") == 192
        assert browser.evaluate("document.documentElement.scrollWidth") <= width  # nothing sticks out
        assert browser.evaluate("document.querySelector('figcaption b') === null")  # names are text

        # The slider, by key and by pointer
        before = browser.evaluate("document.getElementById('handle').getAttribute('aria-valuenow')")
        browser.evaluate("document.getElementById('handle').focus()")
        browser.press("ArrowRight")
        now = browser.evaluate("document.getElementById('handle').getAttribute('aria-valuenow')")
        assert (before, now) == ("50", "52")
        x, y = browser.middle("#after")
        browser.mouse("mousePressed", x + 60, y + 40, button="left", clickCount=1)
        browser.mouse("mouseReleased", x + 60, y + 40, button="left", clickCount=1)
        assert browser.evaluate("Number(document.getElementById('handle').getAttribute('aria-valuenow'))") > 55

        # The file, with the photo's metadata
        browser.evaluate("document.getElementById('format').value = 'jpg'")
        browser.evaluate("document.getElementById('format').dispatchEvent(new Event('change'))")
        browser.evaluate("document.getElementById('save').click()")
        saved = wait_for(tmp_path, "*restored.jpg")
        with Image.open(saved) as restored:
            assert restored.size == (192, 144)
            assert restored.getexif()[ExifTags.Base.Artist] == "me"
        assert browser.problems == []


SENT = (
    "window.sent = null; const usual = window.fetch; window.fetch = (path, options) => { "
    "if (options?.body) window.sent = options.body.get('settings'); return usual(path, options); }; true"
)
"""Keeps the settings of the next request in `window.sent`."""

CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const light = (color, under = 'transparent') => {  // relative luminance of WCAG 2.2, alpha
    canvas.clearRect(0, 0, 1, 1);
    for (canvas.fillStyle of [under, color]) canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    const [x, y, z] = [r, g, b].map(v => v <= 10 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4);
    return [.2126 * x + .7152 * y + .0722 * z, a];
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const color = getComputedStyle(element).backgroundColor, [value, alpha] = light(color);
      if (alpha > 250) return value;
      if (alpha > 0) return light(color, '#fff')[0];  // over a picture, a white one at worst
    }
    return light('Canvas')[0];
  };
  const low = [];
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.textContent.trim()).join('');
    if (!text || !element.checkVisibility() || element.matches(':disabled, :disabled *')) continue;
    const pair = [light(getComputedStyle(element).color)[0], behind(element)].sort((a, b) => b - a);
    const ratio = (pair[0] + .05) / (pair[1] + .05);
    if (ratio < 4.5) low.push(text.slice(0, 30) + ' ' + ratio.toFixed(1));
  }
  return {background: behind(document.body), low};
})()"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_in_light_and_dark(
    address: str, photo: Path, tmp_path: Path, width: int, scheme: str
) -> None:
    with Browser(tmp_path, width, 844, touch=width < 500) as browser:
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        started(browser, address)
        choose(browser, photo)
        browser.wait(DONE)
        browser.evaluate("document.querySelector('#tags .name').click()")  # so that the chosen one is looked at, too
        found = browser.evaluate(CONTRAST)
        assert found["low"] == []  # WCAG 2.2's 4.5 to 1
        assert (found["background"] < 0.2) == (scheme == "dark")
        assert browser.problems == []


def wait_for(folder: Path, pattern: str) -> Path:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for found in folder.glob(pattern):
            return found
        time.sleep(0.05)
    raise TimeoutError(pattern)


def test_tags_are_edited_and_used_again(address: str, photo: Path, tmp_path: Path) -> None:
    names = "[...document.querySelectorAll('#tags li')].map(item => item.firstChild.textContent)"
    with Browser(tmp_path) as browser:
        started(browser, address)
        choose(browser, photo)
        browser.wait(DONE)
        seen = browser.evaluate(names)
        assert "cat" in seen
        browser.evaluate("document.querySelector('[aria-label=\"Remove the tag cat\"]').click()")
        browser.evaluate("document.getElementById('new-tag').focus()")
        for letter in "tiger":
            browser.press(letter)
        browser.press("Enter")
        assert browser.evaluate(names) == [name for name in seen if name != "cat"] + ["tiger"]
        assert browser.evaluate("document.getElementById('detail').value") == "0.6"
        browser.evaluate("document.getElementById('detail').focus()")
        browser.press("ArrowLeft")
        browser.evaluate(SENT)
        browser.click("#restore")
        browser.wait("window.sent !== null")
        wanted = json.loads(browser.evaluate("window.sent"))
        assert wanted["tags"] == [name for name in seen if name != "cat"] + ["tiger"]
        assert wanted["detail"] == 0.55
        browser.wait(DONE)
        assert browser.evaluate("document.querySelector('[name=engine]:checked').value") == "fine"
        browser.evaluate("document.querySelector('[name=engine][value=quick]').click()")
        assert "fraction of the time" in browser.evaluate("document.getElementById('engine-note').textContent")
        assert browser.evaluate("document.getElementById('detail-row').hidden")  # it has one end
        browser.evaluate("window.sent = null; true")
        browser.click("#restore")
        browser.wait("window.sent !== null")
        wanted = json.loads(browser.evaluate("window.sent"))
        assert wanted["engine"] == "quick"
        assert "detail" not in wanted
        browser.wait(DONE)
        assert browser.problems == []


def test_where_a_tag_is_seen_and_words_for_places(address: str, photo: Path, tmp_path: Path) -> None:
    """The tag's button darkens the picture where the tag is not seen; lines of text become regions."""
    alpha = (
        "[...document.getElementById('map').getContext('2d').getImageData(0, 0, 8, 8).data]"
        ".filter((_, i) => i % 4 == 3)"
    )
    covers = """(() => {
      const [a, b] = ['map', 'after'].map(id => document.getElementById(id).getBoundingClientRect());
      return ['left', 'top', 'width', 'height'].every(side => Math.abs(a[side] - b[side]) < 1);
    })()"""
    with Browser(tmp_path, 390, 844, touch=True) as browser:
        started(browser, address)
        choose(browser, photo)
        browser.wait(DONE)
        hidden = "document.getElementById('map').hidden"
        assert browser.evaluate(hidden)
        browser.evaluate("document.querySelector('#tags .name').click()")
        assert not browser.evaluate(hidden)
        darkness = browser.evaluate(alpha)
        assert (len(darkness), min(darkness)) == (64, 0)
        assert max(darkness) > 180
        assert browser.evaluate(covers)
        browser.evaluate("document.querySelector('#tags .name').click()")
        assert browser.evaluate(hidden)

        lines = "0, 0, 0.5, 1: fur\\n\\n 0,0,9000,1: wood"
        browser.evaluate(f"document.querySelector('[name=regions]').value = '{lines}'")
        browser.evaluate("document.querySelector('[name=profile][value=fast]').click()")
        browser.evaluate(SENT)
        browser.click("#restore")
        browser.wait("window.sent !== null")
        assert json.loads(browser.evaluate("window.sent"))["regions"] == ["0, 0, 0.5, 1: fur", "0,0,9000,1: wood"]
        browser.wait(DONE)
        assert browser.problems == []


class Slow:
    """A restorer that takes a minute and tells its progress, for the cancel button."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __call__(self, image: Image.Image, *, callback: Callable[[Progress], None], **_: Any) -> Any:
        for done in range(600):
            callback(Progress("denoise", done, 600))
            time.sleep(0.1)
        raise AssertionError("was not stopped")


def test_a_long_restoration_is_cancelled(photo: Path, tmp_path: Path) -> None:
    slow: Any = Slow(load_restorer("mini", torch.float32, torch.device("cpu"), profile="fast"))
    with running(slow, Limits(), Access(port=0)) as address, Browser(tmp_path) as browser:
        started(browser, address)
        choose(browser, photo)
        browser.wait("document.getElementById('doing').textContent === 'Painting detail'")
        browser.wait("document.getElementById('left').textContent.includes('left')")
        browser.click("#cancel")
        browser.wait("document.querySelector('#history button').getAttribute('aria-label').endsWith('cancelled')", 10)
        assert browser.evaluate("document.getElementById('veil').hidden")


def test_a_bad_file_is_told_and_others_go_on(address: str, photo: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    with Browser(tmp_path) as browser:
        started(browser, address)
        choose(browser, bad, photo)
        browser.wait("document.getElementById('problem').textContent.includes('bad.png')")
        states = "[...document.querySelectorAll('#history button')].map(one => one.getAttribute('aria-label'))"
        browser.wait(f"{states}[1].endsWith('done')")
        assert browser.evaluate(states)[0] == "bad.png, failed"
