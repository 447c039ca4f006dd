"""Photo folders into indexed shards (see `shards`), and the check that shards are still what was packed.

The plan, which file goes into which shard, depends on names and sizes alone, and a shard appears with its index only
when it is complete: an interrupted packing resumes where it stopped. `manifest.json` lists what was packed or left out.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageOps

from seesr.data.photos import DamagedError, decode
from seesr.data.shards import (
    MANIFEST,
    PICTURES,
    Entry,
    expand,
    index_name,
    list_entries,
    make_entry,
    read_index_field,
    read_sidecar,
    write_index,
)
from seesr.errors import SeesrError
from seesr.system.atomic import write_text, write_whole
from seesr.system.shown import many

PLAN = ".plan.json"
PackingProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class PackingRecipe:
    """How pictures become samples.

    crop: side in pixels of the squares that a photo is cut into, as many as fit around its centre, kept as PNG; None:
    the file as it is. minimum: smallest side to keep. md5: published checksums by file name.
    """

    crop: int | None = None
    minimum: int = 1
    md5: dict[str, str] = field(default_factory=dict)


def pictures_in(folder: Path) -> list[Path]:
    """All pictures below a folder, sorted by path.

    Raises:
        SeesrError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise SeesrError(f"there is no folder {folder}; check the path")
    found = [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in PICTURES]
    if not found:
        raise SeesrError(f"{folder} holds no picture ({', '.join(PICTURES)}); check the path")
    return found


def pack(
    files: list[Path],
    folder: Path,
    output: Path,
    recipe: PackingRecipe,
    shard_bytes: int,
    progress: PackingProgress = lambda done, total: None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write `files`, all below `folder`, into shards `output/NAME-00000.tar` …; returns the manifest.

    overwrite: pack again, replacing files of these names.

    Raises:
        SeesrError: nothing was left to pack, or `output` holds shards packed from other files or by another recipe, or
            files of such names that were not packed here.
    """
    settings = {"plan": _plan_hash(files, folder), "crop": recipe.crop, "minimum": recipe.minimum}
    groups = list(_groups(files, shard_bytes))
    numbered = [output / f"{output.resolve().name}-{number:05d}.tar" for number in range(len(groups))]
    _claim(output, settings | {"shard_bytes": shard_bytes}, numbered, overwrite)
    shards: dict[str, Any] = {}
    left_out: list[str] = []
    done = 0
    progress(done, len(files))
    for shard, group in zip(numbered, groups):
        if not Path(index_name(str(shard))).is_file():
            _write_shard(shard, group, folder, recipe)
        left_out += read_index_field(str(shard), "left_out")
        done += len(group)
        progress(done, len(files))
        entries = read_index_field(str(shard), "pictures")
        shards[shard.name] = {"pictures": len(entries), "sha256": read_index_field(str(shard), "sha256")}
    packed = sum(shard["pictures"] for shard in shards.values())
    if not packed:
        raise SeesrError(f"none of the {len(files)} pictures in {folder} can be used; the first: {left_out[0]}")
    manifest = {"photos": len(files), "packed": packed, "left_out": left_out, "shards": shards} | settings
    write_text(output / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return manifest


def check(sources: list[str], progress: PackingProgress = lambda done, total: None) -> tuple[int, list[str]]:
    """Read and decode every picture of folders and shards; with an index or a manifest compare the checksums too.

    Returns:
        How many pictures were found, and one line for each that is wrong.

    Raises:
        SeesrError: a source that cannot be read at all, or is cut short.
    """
    wrong: list[str] = []
    entries: list[Entry] = []
    for source in sources:
        manifest = Path(source) / MANIFEST
        if manifest.is_file():
            wrong += [f"{Path(source) / name}: {problem}" for name, problem in _changed(manifest)]
        entries += [entry for path in expand(source) for entry in list_entries(path)]
    for number, entry in enumerate(entries, 1):
        try:
            decode(entry)
        except DamagedError as error:
            wrong.append(str(error))
        progress(number, len(entries))
    return len(entries), wrong


def _changed(manifest: Path) -> Iterator[tuple[str, str]]:
    """Files that a manifest lists and that are missing or have another SHA-256."""
    try:
        listed = json.loads(manifest.read_text())
        shards = {name: shard["sha256"] for name, shard in listed.get("shards", {}).items()}
        digests = shards or dict(listed["files"].items())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SeesrError(f"{manifest} is damaged; pack the photos again") from None
    for name, digest in digests.items():
        file = manifest.parent / name
        if not file.is_file():
            yield name, "is missing"
            continue
        with file.open("rb") as content:
            if _sha256(content) != digest:
                yield name, "its SHA-256 is not that of the manifest"


def _plan_hash(files: list[Path], folder: Path) -> str:
    lines = [f"{file.relative_to(folder).as_posix()} {file.stat().st_size}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _claim(output: Path, settings: dict[str, Any], shards: list[Path], overwrite: bool) -> None:
    """Note the plan in `output`; refuse where another packing has begun, or files of others have names of ours."""
    if output.is_file():
        raise SeesrError(f"{output}: is a file; give a folder")
    output.mkdir(parents=True, exist_ok=True)
    if overwrite:
        ours = re.compile(re.escape(output.resolve().name) + r"-\d{5,}\.(tar|index\.json)")
        for path in [path for path in output.iterdir() if path.name in (PLAN, MANIFEST) or ours.fullmatch(path.name)]:
            path.unlink()
    plan = output / PLAN
    if plan.is_file():
        if _read_plan(plan) != settings:
            raise SeesrError(
                f"{output} holds shards of other files or settings; choose another folder, or replace them with "
                "`overwrite`"
            )
        return
    wanted = {output / MANIFEST, *shards, *(Path(index_name(str(shard))) for shard in shards)}
    if foreign := [str(path) for path in sorted(wanted) if path.exists()]:
        raise SeesrError(
            f"{many(foreign)} there already and not packed here; choose another folder, or replace with `overwrite`"
        )
    if any(output.glob("*.tar")):
        raise SeesrError(f"{output} holds other shards; choose another folder")
    write_text(plan, json.dumps(settings))


def _read_plan(plan: Path) -> Any:
    """None where it is damaged."""
    try:
        return json.loads(plan.read_text())
    except ValueError:
        return None


def _groups(files: list[Path], shard_bytes: int) -> Iterator[list[Path]]:
    group: list[Path] = []
    size = 0
    for file in files:
        length = file.stat().st_size
        if group and size + length > shard_bytes:
            yield group
            group, size = [], 0
        group.append(file)
        size += length
    if group:
        yield group


def _write_shard(shard: Path, files: list[Path], folder: Path, recipe: PackingRecipe) -> None:
    entries: list[Entry] = []
    left_out: list[str] = []
    digest = ""

    def write(stream: BinaryIO) -> None:
        nonlocal digest
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for file in files:
                try:
                    entries.extend(_pack(tar, shard, file, file.relative_to(folder), recipe))
                except _LeftOutError as reason:
                    left_out.append(f"{file.relative_to(folder).as_posix()}: {reason}")
        stream.seek(0)
        digest = _sha256(stream)

    write_whole(shard, write)
    write_index(shard, sorted(entries, key=lambda entry: entry.name), sha256=digest, left_out=left_out)


def _pack(tar: tarfile.TarFile, shard: Path, file: Path, name: Path, recipe: PackingRecipe) -> list[Entry]:
    """Append the samples of a picture, each with its JSON file; `name` is relative to the folder that is packed."""
    stem = "_".join(name.with_suffix("").parts).replace(".", "_")  # in WebDataset a name ends at its first dot
    samples = list(_samples(file, recipe))
    info = read_sidecar(file) | {"source": name.as_posix()}
    entries = []
    for suffix, content in samples:
        entry = make_entry(str(shard), stem + suffix, _add(tar, stem + suffix, content), content)
        _add(tar, f"{Path(entry.name).stem}.json", json.dumps(info).encode())
        entries.append(replace(entry, info=info))
    return entries


class _LeftOutError(Exception):
    """Why a picture is not packed."""


def _samples(file: Path, recipe: PackingRecipe) -> Iterator[tuple[str, bytes]]:
    """The ending of the name, and the bytes, of each sample of a picture file."""
    content = file.read_bytes()
    expected = recipe.md5.get(file.name)
    if expected and hashlib.md5(content).hexdigest() != expected:
        raise _LeftOutError(f"its MD5 is not the published {expected}")
    try:
        with Image.open(io.BytesIO(content)) as image:
            photo = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _LeftOutError(f"damaged ({error})") from None
    if min(photo.size) < max(recipe.minimum, recipe.crop or 1):
        raise _LeftOutError(f"too small ({photo.width}x{photo.height})")
    if recipe.crop is None:
        yield file.suffix.lower(), content
        return
    columns, rows = photo.width // recipe.crop, photo.height // recipe.crop
    left, top = (photo.width - columns * recipe.crop) // 2, (photo.height - rows * recipe.crop) // 2
    for row in range(rows):
        for column in range(columns):
            x, y = left + column * recipe.crop, top + row * recipe.crop
            stream = io.BytesIO()
            photo.crop((x, y, x + recipe.crop, y + recipe.crop)).save(stream, "PNG")
            yield f"_{row:02d}{column:02d}.png", stream.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    """Append a file; returns where its content begins."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
    return tar.offset - (len(content) + -len(content) % tarfile.BLOCKSIZE)


def _sha256(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(2**22):
        digest.update(block)
    return digest.hexdigest()
