"""The photo sets of the paper as their publishers hand them out: layout, number of pictures, published checksums.

LSDIR (Li et al., CVPRW 2023): `HR/train/0001000/0000001.png` …, 84,991 training photos. FFHQ (Karras et al., CVPR
2019): `images1024x1024/00000/00000.png` …, 70,000 faces, MD5 of each in `ffhq-dataset-v2.json`; the paper uses 10,000,
here the first ones. COCO 2017 (Lin et al., ECCV 2014): `train2017/000000000009.jpg` …, MD5 of the zip archives as the
tools of the field check them. LSDIR has no published checksums.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from seesr.errors import SeesrError


@dataclass(frozen=True)
class KnownSet:
    """A published set: how its files are called, how many belong to it, and the archive they came in."""

    pattern: str  # of the file name
    count: int
    first: int | None = None  # only so many, by the number in their names; None: all
    archive: str | None = None
    archive_md5: str | None = None
    metadata: str | None = None  # file with the MD5 of every picture


KNOWN_SETS = {
    "lsdir": KnownSet(r"\d{7}\.png", 84_991),
    "ffhq10k": KnownSet(r"\d{5}\.png", 10_000, first=10_000, metadata="ffhq-dataset-v2.json"),
    "coco-train": KnownSet(r"\d{12}\.jpg", 118_287, None, "train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2"),
    "coco-val": KnownSet(r"\d{12}\.jpg", 5_000, None, "val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80"),
}


def select(name: str, files: Iterable[Path], folder: Path) -> list[Path]:
    """The files of a known set among those of a folder.

    Raises:
        SeesrError: an unknown set, or more or fewer files than it has.
    """
    if name not in KNOWN_SETS:
        raise SeesrError(f"no known set {name!r}; there are {', '.join(KNOWN_SETS)}")
    known = KNOWN_SETS[name]
    found = [file for file in files if re.fullmatch(known.pattern, file.name)]
    if known.first is not None:
        found = [file for file in found if int(file.stem) < known.first]
    if len(found) != known.count:
        raise SeesrError(
            f"{folder} holds {len(found):,} pictures of {name}, which has {known.count:,}; "
            "finish the download, or give another folder (without `known` any folder is taken as it is)"
        )
    return found


def check_archive(name: str, archive: Path) -> None:
    """Compare a downloaded archive with its published MD5.

    Raises:
        SeesrError: they differ, the archive is not one of the set, or nothing is published.
    """
    known = KNOWN_SETS[name]
    if known.archive_md5 is None or archive.name != known.archive:
        raise SeesrError(f"no checksum is known for {archive.name} of {name}; leave `archive` out")
    digest = hashlib.md5()
    with archive.open("rb") as file:
        while block := file.read(2**22):
            digest.update(block)
    found = digest.hexdigest()
    if found != known.archive_md5:
        raise SeesrError(f"{archive} has the MD5 {found}, published is {known.archive_md5}; download it again")


def published_md5(name: str, folder: Path) -> dict[str, str]:
    """MD5 by file name out of the set's metadata file in `folder` or above it; empty where the set has none, or it
    was not downloaded.

    Raises:
        SeesrError: the file is damaged.
    """
    known = KNOWN_SETS[name]
    for place in (folder, folder.parent) if known.metadata else ():
        file = place / str(known.metadata)
        if file.is_file():
            try:
                records = [record["image"] for record in json.loads(file.read_text()).values()]
                return {Path(record["file_path"]).name: record["file_md5"] for record in records}
            except (ValueError, KeyError, TypeError, AttributeError):
                raise SeesrError(f"{file} is damaged; download it again or remove it") from None
    return {}
