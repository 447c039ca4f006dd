"""Models by name: the embedded one, those built from published weights, folders on disk, ids on the hub."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from seesr.checkpoints.sources import PUBLISHED_MODELS, weights_of
from seesr.errors import SeesrError
from seesr.system.cache import cache_root

EMBEDDED = ("mini",)
"""Models that the package carries and that work offline."""

BUILT = tuple(PUBLISHED_MODELS)
"""Models that are fetched and built at their first use."""

RECORD = "seesr-build.json"
"""In the folder of a built model: where its parts came from, and size and hash of each of its files."""

_BUILT_SHARE = 0.7
"""A built model takes about this share of what its published files take."""


def resolve(name: str) -> Path:
    """The folder of the model called `name`.

    A model of `BUILT` is fetched and built first, one of the hub is fetched, if it is not there yet: gigabytes, once.

    Raises:
        SeesrError: no such model, a folder that holds none, or files that cannot be fetched or do not fit.
    """
    if name in EMBEDDED:  # before a folder of that name, which is asked for as ./mini
        return Path(str(files("seesr"))) / "assets" / name
    if name in BUILT:
        return install(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise SeesrError(
                f"{name}: not a model folder (it has no model_index.json); make one of published weights with "
                "'seesr convert'"
            )
        return folder
    if is_hub_id(name):
        from seesr.checkpoints.hub_models import fetch_model

        return fetch_model(name)
    names = ", ".join((*EMBEDDED, *BUILT))
    raise SeesrError(f"no model {name!r}: give {names}, a model folder or a hub id (owner/name)")


def is_hub_id(name: str) -> bool:
    """Whether `name` is of the form owner/name, and no folder here."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None and not Path(name).parent.is_dir()


def built_folder(name: str) -> Path:
    """Where the model called `name` is, once it is built."""
    return cache_root() / "models" / name


def is_built(name: str) -> bool:
    """Whether the model called `name` is there; its folder appears whole or not at all."""
    return (built_folder(name) / RECORD).is_file()


def install(name: str) -> Path:
    """The folder of a model of `BUILT`, fetched and built where it is not there yet.

    Processes that ask at the same time wait for the first one.

    Raises:
        SeesrError: see `fetch_all` and `upstream.convert`.
    """
    folder = built_folder(name)
    if is_built(name):
        return folder
    from filelock import FileLock, Timeout  # not for those who restore with a model that is here

    from seesr.checkpoints.download import say

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SeesrError(f"{folder.parent}: cannot be written ({error.strerror}); set SEESR_CACHE") from error
    lock = FileLock(folder.parent / ".lock")  # one for all models: they share downloads
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"another seesr is fetching a model; waiting for it ({lock.lock_file})")
        lock.acquire()
    try:
        if not is_built(name):
            _build(name, folder)
    finally:
        lock.release()
    return folder


def _build(name: str, folder: Path) -> None:
    """Fetch, convert and record; `folder` appears at the end. What an earlier try left behind is removed."""
    from seesr.checkpoints.download import fetch_all, say
    from seesr.checkpoints.transfer import sha256_of

    weights = weights_of(name)
    room = int(_BUILT_SHARE * sum(weight.size for weight in weights))
    found = fetch_all(name, weights, room)
    workshop = folder.parent / f".{name}.building"
    shutil.rmtree(workshop, ignore_errors=True)
    published, model = workshop / "published", workshop / name
    try:
        for path, file in found.items():
            _link(file.resolve(), published / path)
        say(f"building {name}")
        _convert(name, published, model, found)
        record = {
            "name": name,
            "sources": {path: {"file": str(file.resolve()), "sha256": sha256_of(file)} for path, file in found.items()},
            "files": {
                path.relative_to(model).as_posix(): {"size": path.stat().st_size, "sha256": sha256_of(path)}
                for path in sorted(model.rglob("*"))
                if path.is_file()
            },
        }
        (model / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        shutil.rmtree(folder, ignore_errors=True)  # without a record it is not one of ours, or was damaged
        model.rename(folder)
    except OSError as error:
        raise SeesrError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _convert(name: str, published: Path, model: Path, found: dict[str, Path]) -> None:
    from seesr.checkpoints.upstream import convert  # slow to import

    recipe = PUBLISHED_MODELS[name]
    try:
        convert(
            base=published / recipe.base,
            seesr=published / "seesr",
            ram=published / "ram_swin_large_14m.pth",
            dape=published / "DAPE.pth",
            tags=published / "ram_tag_list.txt",
            thresholds=published / "ram_tag_list_threshold.txt",
            out=model,
            turbo=recipe.turbo,
        )
    except SeesrError as error:
        message = str(error)
        for path, file in found.items():  # name the files where they really lie
            message = message.replace(str(published / path), str(file))
        raise SeesrError(message) from error


def _link(file: Path, place: Path) -> None:
    """Make `file` appear at `place`: as a link, where the file system has links, else as a copy."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for make in (os.symlink, os.link, shutil.copyfile):
        try:
            make(file, place)
            return
        except OSError:
            if make is shutil.copyfile:
                raise


def read_record(folder: Path) -> dict[str, Any] | None:
    """What `_build` recorded of the model in `folder`, or None where it was not built by name."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text())
        return record
    except (OSError, ValueError):
        return None


@contextmanager
def loading_errors(name: str) -> Iterator[None]:
    """Turn whatever a damaged model makes libraries raise into a SeesrError that names the model."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise SeesrError(f"{name}: the model cannot be loaded ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
