"""The photos below a folder, folder by folder in a fixed order, and what lies there and is none.

Only names are read (`os.scandir`), so that 100,000 files take about a second; results of this program are known by the
manifests that lie with them (`seesr.apps.jobs.manifest`).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from seesr.apps.jobs.database import NAME
from seesr.apps.jobs.known import Known
from seesr.photos.kinds import PICTURE_SUFFIXES, READABLE

PICTURES = PICTURE_SUFFIXES
"""Suffixes of files that a person would call pictures, read or not."""


@dataclass
class Found:
    """One folder's content.

    folder: its path. below: its path below the folder that the walk began with, "" for that one. photos: names, sorted.
    links: those of `photos` that are symbolic links. unread: names of pictures that cannot be read.
    results: how many files are results of this program, and are left alone.
    problem: why the folder cannot be read.
    """

    folder: str
    below: str = ""
    photos: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    results: int = 0
    problem: str | None = None


def walk(root: str, known: Known) -> Iterator[Found]:
    """Every folder below `root` that holds a picture, `root` first; hidden files and folders are left out.

    Files of a folder come before its subfolders, both by name. Links to folders are not followed.
    """
    waiting = [""]
    while waiting:
        below = waiting.pop()
        folder = os.path.join(root, below) if below else root
        found = Found(folder, below)
        folders: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    _sort(entry, found, folders)
        except OSError as error:
            found.problem = error.strerror or str(error)
        ours = known.results_in(folder)
        if ours:
            photos = [name for name in found.photos if not (name in ours and known.unchanged(folder, ours[name], name))]
            found.results = len(found.photos) - len(photos)
            found.photos = photos
        if found.photos or found.unread or found.results or found.problem:
            yield found
        waiting += [os.path.join(below, name) for name in reversed(folders)]


def _sort(entry: os.DirEntry[str], found: Found, folders: list[str]) -> None:
    """Put one entry of a folder where it belongs."""
    if entry.name.startswith(".") or entry.name == NAME:
        return
    if entry.is_dir(follow_symlinks=False):
        folders.append(entry.name)
        return
    if _suffix(entry.name) in PICTURES and entry.is_file() and take(entry.name, found) and entry.is_symlink():
        found.links.append(entry.name)


def take(name: str, found: Found) -> bool:
    """Note the name of a file where it belongs; whether it is a photo's."""
    suffix = _suffix(name)
    if suffix in READABLE:
        found.photos.append(name)
    elif suffix in PICTURES:
        found.unread.append(name)
    return suffix in READABLE


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
