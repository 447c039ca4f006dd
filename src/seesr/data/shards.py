"""Where training photos lie: folders, and tar shards in WebDataset layout, on a disk or in object storage.

A shard may have an index beside it (`x.tar` and `x.index.json`): where each picture begins, how big it is, its SHA-256
and the JSON that belongs to it. With one, a shard is opened by reading a few bytes, and any picture by reading that
picture alone, over the network too: so a set of any size is read in any order, and a run resumes at any sample.
"""

import hashlib
import io
import json
import re
import tarfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from seesr.errors import SeesrError
from seesr.system.atomic import write_text

PICTURES = (".webp", ".jpg", ".jpeg", ".png")
MANIFEST = "manifest.json"  # of what was packed
_BESIDE = (".json", ".jsonl")  # indices and tags of shards
_TRIES = 4  # at reading over a network


@dataclass(frozen=True)
class Entry:
    """One picture file: bytes `offset` to `offset + size` of `file`.

    name: within its source; width, height: as stored, 0 where the header cannot be read; sha256: None if not known;
    info: the JSON beside the picture; tags: seen on it, joined by ", ", if asked for.
    """

    file: str
    name: str
    offset: int
    size: int
    width: int
    height: int
    sha256: str | None = None
    info: dict[str, Any] = field(default_factory=dict)
    tags: str | None = None

    @property
    def path(self) -> str:
        """For messages."""
        return self.file if self.file.endswith(self.name) else f"{self.file}/{self.name}"

    def read(self) -> bytes:
        """The file's bytes.

        Raises:
            SeesrError: they cannot be read.
        """
        return read_range(self.file, self.offset, self.size)


def expand(pattern: str) -> list[str]:
    """Sources that a pattern means: `*` and `?` match, `{000..012}` counts, a folder of shards is its shards.

    Raises:
        SeesrError: there is no such file or folder.
    """
    counted = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if counted:
        low, high = counted.groups()
        numbers = [str(number).zfill(len(low)) for number in range(int(low), int(high) + 1)]
        return [
            path
            for number in numbers
            for path in expand(pattern[: counted.start()] + number + pattern[counted.end() :])
        ]
    if is_remote(pattern):
        if not any(wild in pattern for wild in "*?"):
            return [pattern]
        system, path = _remote(pattern)
        found = [system.unstrip_protocol(name) for name in sorted(system.glob(path))]
    else:
        place = Path(pattern)
        if place.exists():
            return _shards_of(place) or [pattern]
        found = [str(match) for match in sorted(place.parent.glob(place.name)) if not match.name.endswith(_BESIDE)]
    if not found:
        raise SeesrError(f"there is no file or folder {pattern}; check the path")
    return found


def _shards_of(folder: Path) -> list[str]:
    """All shards of a folder of shards: those that its manifest lists, if it has one."""
    found = {shard.name for shard in folder.glob("*.tar")}
    manifest = folder / MANIFEST
    if manifest.is_file():
        try:
            listed = set(json.loads(manifest.read_text()).get("shards", {}))
        except (ValueError, AttributeError):
            raise SeesrError(f"{manifest} is damaged; pack the photos again") from None
        if missing := sorted(listed - found):
            raise SeesrError(f"{folder / missing[0]} is missing, which {manifest} lists; fetch it again")
    return [str(folder / name) for name in sorted(found)]


def list_entries(source: str) -> list[Entry]:
    """All pictures of a folder or a shard, sorted by name.

    Raises:
        SeesrError: no picture, a shard cut short or not that of its index, or none in object storage without an index.
    """
    if is_remote(source):
        entries = _read_index(source)
        if entries is None:
            raise SeesrError(f"there is no {index_name(source)}; make it with 'seesr data index' before uploading")
    elif Path(source).is_dir():
        entries = _list_folder(Path(source))
    else:
        entries = _read_index(source)
        if entries is None:
            entries = scan_shard(Path(source))
    if not entries:
        raise SeesrError(f"{source} holds no picture ({', '.join(PICTURES)}); check the path")
    return entries


def scan_shard(shard: Path) -> list[Entry]:
    """Pictures of a local shard with their JSON, by the part of the name that they share; reads all of it.

    Raises:
        SeesrError: it is no tar file, is cut short, or holds a JSON file that is no object.
    """
    pictures: dict[str, Entry] = {}
    infos: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                content = tar.extractfile(member)
                if content is None:
                    continue
                stem, suffix = member.name.rsplit(".", 1) if "." in member.name else (member.name, "")
                if f".{suffix.lower()}" in PICTURES:
                    pictures[stem] = make_entry(str(shard), member.name, member.offset_data, content.read())
                elif suffix == "json":
                    infos[stem] = _parse_info(content.read(), f"{shard}/{member.name}")
        complete = _ends_in_zeros(shard)
    except (tarfile.TarError, OSError):
        complete = False
    if not complete:
        raise SeesrError(f"the shard {shard} is cut short or no tar file; fetch it again")
    return [Entry(**(vars(pictures[stem]) | {"info": infos.get(stem, {})})) for stem in sorted(pictures)]


def make_entry(file: str, name: str, offset: int, content: bytes) -> Entry:
    """The entry of a picture with these bytes."""
    width, height = _dimensions(io.BytesIO(content))
    return Entry(file, name, offset, len(content), width, height, hashlib.sha256(content).hexdigest())


def write_index(shard: Path, entries: list[Entry], **more: Any) -> None:
    """Write the index of a complete shard beside it; `more` is kept in it for others."""
    pictures = [
        {key: value for key, value in asdict(entry).items() if key not in ("file", "tags")} for entry in entries
    ]
    index = {"bytes": shard.stat().st_size, "pictures": pictures} | more
    write_text(Path(index_name(str(shard))), json.dumps(index, separators=(",", ":")))


def read_index_field(shard: str, field: str) -> Any:
    """What `write_index` was given as `field`, or its `pictures`."""
    return json.loads(read_text(index_name(shard)) or "{}").get(field)


def index_name(shard: str) -> str:
    return f"{shard.removesuffix('.tar')}.index.json"


def _read_index(shard: str) -> list[Entry] | None:
    """None where the shard has none."""
    name = index_name(shard)
    try:
        text = read_text(name)
        if text is None:
            return None
        index = json.loads(text)
        entries = [Entry(file=shard, **picture) for picture in index["pictures"]]
        expected, size = index["bytes"], _size(shard)
    except (ValueError, KeyError, TypeError):
        raise SeesrError(f"{name} is no index of a shard; make it again with 'seesr data index {shard}'") from None
    if size != expected:
        raise SeesrError(
            f"the shard {shard} has {size} bytes, its index says {expected}: it is cut short, or changed; "
            "fetch it again, or make its index again with 'seesr data index'"
        )
    return entries


def is_remote(source: str) -> bool:
    return "://" in source


def read_range(file: str, offset: int, size: int) -> bytes:
    """Bytes of a file or URL; a network gets several tries.

    Raises:
        SeesrError: they cannot be read.
    """
    problem: Exception | None = None
    for attempt in range(_TRIES if is_remote(file) else 1):
        if attempt:
            time.sleep(2 ** (attempt - 1))
        try:
            if is_remote(file):
                system, path = _remote(file)
                content: bytes = system.cat_file(path, start=offset, end=offset + size)
            else:
                with open(file, "rb") as stream:
                    stream.seek(offset)
                    content = stream.read(size)
            if len(content) == size:
                return content
            problem = EOFError(f"only {len(content)} of {size} bytes")
        except Exception as error:  # the libraries of object storages raise their own
            problem = error
    reason = str(problem) or type(problem).__name__
    raise SeesrError(f"cannot read {file} at byte {offset} ({reason}); check the file or the connection")


def read_text(file: str) -> str | None:
    """A whole file or URL; None where there is none.

    Raises:
        SeesrError: it cannot be read.
    """
    try:
        if not is_remote(file):
            return Path(file).read_text()
        system, path = _remote(file)
        content: bytes = system.cat_file(path)
        return content.decode()
    except FileNotFoundError:
        return None
    except SeesrError:
        raise
    except Exception as error:  # the libraries of object storages raise their own
        raise SeesrError(f"cannot read {file} ({str(error) or type(error).__name__})") from None


def _size(file: str) -> int:
    if not is_remote(file):
        return Path(file).stat().st_size
    system, path = _remote(file)
    return int(system.size(path))


def _remote(url: str) -> tuple[Any, str]:
    """fsspec's file system and the path in it."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
        return system, str(path)
    except (ImportError, ValueError) as error:
        raise SeesrError(f"{url} cannot be opened ({error})") from None


def _list_folder(folder: Path) -> list[Entry]:
    entries = []
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in PICTURES:
            width, height = _dimensions(file)
            name = file.relative_to(folder).as_posix()
            entries.append(Entry(str(file), name, 0, file.stat().st_size, width, height, None, read_sidecar(file)))
    return entries


def _dimensions(file: Path | io.BytesIO) -> tuple[int, int]:
    """Width and height by the header alone; zeros for what has none."""
    try:
        with Image.open(file) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 0, 0


def _ends_in_zeros(shard: Path) -> bool:
    """Whether the file ends in the two zero blocks that close every tar archive."""
    with shard.open("rb") as file:
        file.seek(-1024, io.SEEK_END)
        return not any(file.read())


def read_sidecar(picture: Path) -> dict[str, Any]:
    """The JSON file beside a picture; empty where there is none.

    Raises:
        SeesrError: it is no JSON object.
    """
    sidecar = picture.with_suffix(".json")
    return _parse_info(sidecar.read_bytes(), str(sidecar)) if sidecar.is_file() else {}


def _parse_info(content: bytes, file: str) -> dict[str, Any]:
    try:
        info = json.loads(content)
    except ValueError:
        info = None
    if not isinstance(info, dict):
        raise SeesrError(f"{file} is no JSON object; fix or remove it")
    return info
