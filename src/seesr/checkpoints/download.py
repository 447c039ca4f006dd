"""Files fetched from the first place that has them: the hub's shared cache, mirrors over plain HTTP, folders on disk.

Files of the hub go through huggingface_hub, so its cache, `HF_HOME`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` apply and other
tools share them. Everything else is downloaded into our own folder: resumed after a break, checked, and renamed only
when whole. A file somebody put there by hand is as good.
"""

import http.client
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import huggingface_hub as hub
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from tqdm import tqdm

from seesr.checkpoints.sources import Weight, by_hand_folder
from seesr.checkpoints.transfer import (
    TIMEOUT_SECONDS,
    Advance,
    Unavailable,
    Unreachable,
    cause_of,
    download,
    sha256_of,
    tell_full_disk,
    wrong_hash,
)
from seesr.errors import SeesrError, SeveralLinesError
from seesr.system.cache import cache_root

# ---------------------------------------------------------------------------------------------------- all files


def fetch_all(name: str, weights: Sequence[Weight], room: int = 0) -> dict[str, Path]:
    """Every one of `weights` on disk, fetched where it is not there yet: its path in the table → its path here.

    Args:
        name: of the model, for messages.
        room: bytes needed in our own folder besides the downloads.

    Raises:
        SeesrError: too little disk space; a file that is not the published one; or files that no place has. The
            message then lists them all, with a page to get each from, the place to put it and the command to run.
    """
    found = {weight.path: path for weight in weights if (path := find_locally(weight))}
    for weight in weights:
        if weight.path in found:
            _check_published(found[weight.path], weight)
    missing = [weight for weight in weights if weight.path not in found]
    reasons: dict[str, list[str]] = {}
    if missing and not hub.is_offline_mode():
        check_space(name, missing, room)
        say(f"{name}: fetching {gigabytes(sum(weight.size for weight in missing))}, once; a broken download is resumed")
    with bars() as bar:
        dead: dict[str, str] = {}  # hosts that cannot be reached at all, and why
        for weight in [] if hub.is_offline_mode() else missing:
            try:
                found[weight.path] = _fetch(weight, dead, bar(weight), reasons.setdefault(weight.path, []))
            except Unavailable:
                continue
    if lacking := [weight for weight in weights if weight.path not in found]:
        raise SeveralLinesError(_what_to_do(name, lacking, reasons))
    return found


def find_locally(weight: Weight) -> Path | None:
    """The file where no network is needed: put there by hand, on a mirror that is a folder, or in the hub's cache."""
    path = by_hand_folder() / weight.path
    if path.is_file():
        return path
    for place in weight.places:
        if place.startswith("hf://"):
            address = parse_hub_address(place)
            cached = hub.try_to_load_from_cache(
                address.repo, address.file, revision=address.revision, repo_type=address.repo_type
            )
            if isinstance(cached, str):
                return Path(cached)
        elif "://" not in place and Path(place).expanduser().is_file():
            return Path(place).expanduser()
    return None


def _fetch(weight: Weight, dead: dict[str, str], advance: Advance, reasons: list[str]) -> Path:
    """The file from the first place that has it. Why a place had not is put into `reasons`."""
    for place in weight.places:
        host = _host(place)
        try:
            if dead.get(host):
                raise Unreachable(dead[host])
            if place.startswith("hf://"):
                return from_hub(parse_hub_address(place), weight, dead, advance)
            if "://" not in place:
                raise Unavailable("no such file")
            hashes = weight.sha256 if weight.complete else ()
            path = download(place, by_hand_folder() / weight.path, hashes, advance)
            _tell_unknown(path, weight)
            return path
        except Unreachable as reason:
            dead[host] = str(reason)
            reasons.append(str(reason))
        except Unavailable as reason:
            reasons.append(f"{_label(place)}: {reason}")
    raise Unavailable


# ---------------------------------------------------------------------------------------------------- the hub


class HubAddress(NamedTuple):
    """One file on the hub."""

    repo: str
    repo_type: str
    revision: str
    file: str


def parse_hub_address(place: str) -> HubAddress:
    """The parts of `hf://owner/name@revision/path/of/file` or `hf://spaces/owner/name/…`; the revision may be left out.

    Raises:
        SeesrError: not of this form.
    """
    match = re.fullmatch(r"hf://(spaces/|datasets/)?([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)", place)
    if not match:
        raise SeesrError(f"{place}: not an address on the hub; its form is hf://owner/name@revision/path")
    kind, repo, revision, file = match.groups()
    return HubAddress(repo, (kind or "models/").rstrip("s/"), revision or "main", file)


def from_hub(address: HubAddress, weight: Weight, dead: dict[str, str], advance: Advance) -> Path:
    """One file, through the hub's cache.

    Args:
        dead: hosts that cannot be reached, and why; "hub" is found out and added where it is not there.

    Raises:
        Unreachable: the hub does not answer. Unavailable: it has no such file, or another one.
    """
    if "hub" not in dead:
        dead["hub"] = why_unreachable(constants.ENDPOINT)
    if dead["hub"]:
        raise Unreachable(dead["hub"])

    class Bar(tqdm):  # type: ignore[misc]
        """Hands the hub's progress on to our bar."""

        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(disable=True, total=options.get("total"))
            advance(int(options.get("initial") or 0))  # type: ignore[call-overload]

        def update(self, n: float | None = 1) -> bool | None:
            advance(int(n or 0))
            shown: bool | None = super().update(n)
            return shown

    try:
        path = hub.hf_hub_download(
            address.repo, address.file, repo_type=address.repo_type, revision=address.revision, tqdm_class=Bar
        )
    except LocalEntryNotFoundError as error:
        raise Unavailable("the connection failed") from error
    except HfHubHTTPError as error:
        raise Unavailable(
            f"{type(error).__name__.removesuffix('Error')} (HTTP {error.response.status_code})"
        ) from error
    except Exception as error:  # of three libraries that carry the bytes
        tell_full_disk(error, Path(constants.HF_HUB_CACHE))
        raise Unavailable(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}") from error
    expected = _expected_hashes(Path(path), weight)
    if expected and (found := sha256_of(Path(path))) not in expected:
        raise Unavailable(wrong_hash(found, expected))
    _tell_unknown(Path(path), weight)
    return Path(path)


def why_unreachable(endpoint: str) -> str:
    """Why the hub does not answer, or "": known at once, where huggingface_hub would try for half a minute a file."""
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=TIMEOUT_SECONDS / 3):
            return ""
    except urllib.error.HTTPError:
        return ""
    except (OSError, http.client.HTTPException) as error:
        return f"no connection to {urlsplit(endpoint).netloc} ({cause_of(error)})"


# ---------------------------------------------------------------------------------------------------- checks, messages


def _check_published(path: Path, weight: Weight) -> None:
    """Raise SeesrError where a file found on this machine is not the published one."""
    expected = _expected_hashes(path, weight)
    if expected and (found := sha256_of(path)) not in expected:
        raise SeesrError(
            f"{path}: not the published {weight.path} (sha256 {found}, expected {' or '.join(expected)}); delete it, "
            "then run the same command again"
        )
    _tell_unknown(path, weight)


def _expected_hashes(path: Path, weight: Weight) -> tuple[str, ...]:
    """The published hashes, else the one the hub announced (its cache keeps large files under theirs), else none."""
    announced = path.resolve().name
    if weight.sha256 and weight.complete:
        return weight.sha256
    return (announced,) if re.fullmatch("[0-9a-f]{64}", announced) else ()


def _tell_unknown(path: Path, weight: Weight) -> None:
    """Say it where a file is none of those whose hash is known, and others may be right."""
    if not weight.complete and weight.sha256 and (found := sha256_of(path)) not in weight.sha256:
        say(f"note: {weight.path} is not one of the known files (sha256 {found}); its tensors are read strictly")


def check_space(name: str, missing: Sequence[Weight], room: int) -> None:
    """Raise SeesrError where downloads and the built model will not fit on the disk."""
    hub_cache, own = _existing(Path(constants.HF_HUB_CACHE)), _existing(cache_root())
    from_hub = sum(weight.size for weight in missing if weight.places and weight.places[0].startswith("hf://"))
    others = sum(weight.size for weight in missing) - from_hub
    needed = {hub_cache: from_hub, own: room + others}
    if hub_cache.stat().st_dev == own.stat().st_dev:
        needed = {own: from_hub + others + room}
    for folder, count in needed.items():
        free = shutil.disk_usage(folder).free
        if count > free:
            raise SeesrError(
                f"{name} needs {gigabytes(count)} of disk space at {folder}, {gigabytes(free)} are free; make room, or "
                "set HF_HOME (downloads) and SEESR_CACHE (models) to folders on a larger disk"
            )


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())


def gigabytes(count: float) -> str:
    """A number of bytes for people: `1.4 GB`, `7 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"


def _label(place: str) -> str:
    if place.startswith("hf://"):
        address = parse_hub_address(place)
        return f"{address.repo} on the hub"
    return urlsplit(place).netloc if "://" in place else place


def _host(place: str) -> str:
    return "hub" if place.startswith("hf://") else urlsplit(place).netloc


def _what_to_do(name: str, lacking: Sequence[Weight], reasons: dict[str, list[str]]) -> str:
    """The one message about everything that could not be fetched, by the page to get it from."""
    lines = [f"{name} cannot be built: {len(lacking)} of its files could not be fetched. Get them by hand, once:"]
    for page in dict.fromkeys(weight.by_hand for weight in lacking):
        these = [weight for weight in lacking if weight.by_hand == page]
        lines += ["", f"  from {page}"]
        lines += [
            f"    {weight.path}" + (f"  ({gigabytes(weight.size)})" if weight.size >= 1e6 else "") for weight in these
        ]
        why = dict.fromkeys(reason for weight in these for reason in reasons.get(weight.path, []))
        lines += [f"    why: {reason}" for reason in why]
    lines += ["", f"  put them, under these names, into {by_hand_folder()}", f"  then run  seesr download {name}"]
    if hub.is_offline_mode():
        lines.append("  or unset HF_HUB_OFFLINE and run it where there is a network")
    return "\n".join(lines)


def say(text: str) -> None:
    """Tell the user what is going on, beside the output."""
    Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def bars() -> Iterator[Callable[[Weight], Advance]]:
    """One bar a file on a terminal; one line a file elsewhere."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def bar(weight: Weight) -> Advance:
            label = Path(weight.path).parent.name or weight.path  # files in folders have names that say little
            task = progress.add_task(label, total=weight.size, visible=False)

            def advance(count: int) -> None:
                if not progress.tasks[task].visible and count:
                    for each in progress.task_ids:
                        progress.update(each, visible=each == task)
                    if not console.is_terminal:
                        console.print(f"fetching {weight.path}", highlight=False, soft_wrap=True)
                progress.advance(task, count)

            return advance

        yield bar
