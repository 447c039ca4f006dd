"""Tags of whole photos, seen once by a tagger and kept beside their source: `SOURCE.tags-HASH.jsonl`.

Of a folder or shard X by a tagger of hash H it is `X.tags-H.jsonl`, one line a photo: its name, its size in bytes, its
tags. A photo that has changed size, or a tagger that has changed at all, finds no line, and no tags.
"""

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from seesr.data.shards import Entry, read_text
from seesr.errors import SeesrError

if TYPE_CHECKING:
    from seesr.models.tagging import PhotoTagger


def tagger_hash(tagger: "PhotoTagger") -> str:
    """12 hexadecimal digits of plain RAM's weights, tag names and thresholds; factors of DAPE change nothing."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tagger.state_dict().items()):
        if not name.endswith(("lora_A", "lora_B")):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    digest.update(json.dumps([list(tagger.config.tags), list(tagger.config.thresholds)]).encode())
    return digest.hexdigest()[:12]


def tags_file(source: str, tagger: str) -> str:
    return f"{source.rstrip('/')}.tags-{tagger}.jsonl"


def load_tags(source: str, tagger: str) -> dict[tuple[str, int], str]:
    """Tags, joined by ", ", by the photo's name within its source and its size in bytes; none where there is no file.

    Raises:
        SeesrError: the file is damaged.
    """
    file = tags_file(source, tagger)
    found = {}
    for number, line in enumerate((read_text(file) or "").splitlines(), 1):
        try:
            record = json.loads(line)
            found[record["name"], record["size"]] = ", ".join(record["tags"])
        except (ValueError, KeyError, TypeError):
            raise SeesrError(f"{file}, line {number} is no record of tags; remove the line") from None
    return found


def read_tags(source: str, entries: list[Entry], tagger: str) -> list[Entry]:
    """The entries of a source with their tags.

    Raises:
        SeesrError: photos without tags of this tagger.
    """
    found = load_tags(source, tagger)
    missing = [entry for entry in entries if (entry.name, entry.size) not in found]
    if missing:
        raise SeesrError(
            f"{len(missing)} of {len(entries)} photos in {source} have no tags of this tagger, the first is "
            f"{missing[0].name}; make {tags_file(source, tagger)} with 'seesr data tag'"
        )
    return [replace(entry, tags=found[entry.name, entry.size]) for entry in entries]
