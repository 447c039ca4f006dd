"""Tags of whole photos, seen once and kept beside their source (see `tag_files`)."""

import json
from collections.abc import Callable
from pathlib import Path

import torch

from seesr.data.photos import DamagedError, decode
from seesr.data.shards import Entry, is_remote, list_entries
from seesr.data.tag_files import load_tags, tagger_hash, tags_file
from seesr.errors import SeesrError
from seesr.models.dape import plain_ram
from seesr.models.tagging import PhotoTagger


def check_tags(source: str, tagger: PhotoTagger) -> None:
    """Before any work: that the tags of a source can be kept beside it.

    Raises:
        SeesrError: the source lies in object storage, or the file for its tags holds something else.
    """
    if is_remote(source):
        raise SeesrError(f"{source}: tag a local copy, and upload the file with the tags beside the shard")
    load_tags(source, tagger_hash(tagger))


def write_tags(
    source: str,
    tagger: PhotoTagger,
    batch_size: int = 8,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Path, int, int]:
    """See the tags of every photo of a source, as plain RAM; photos that have theirs are left out.

    Returns:
        The file, how many photos were tagged, and how many could not be decoded.

    Raises:
        SeesrError: the source cannot be read; or as `check_tags`.
    """
    check_tags(source, tagger)
    known = tagger_hash(tagger)
    file = Path(tags_file(source, known))
    found = load_tags(source, known)
    todo = [entry for entry in list_entries(source) if (entry.name, entry.size) not in found]
    damaged = 0
    device, dtype = next((p.device, p.dtype) for p in tagger.parameters())
    with file.open("a") as lines, torch.no_grad(), plain_ram(tagger):
        for start in range(0, len(todo), batch_size):
            inputs, seen = [], []
            for entry in todo[start : start + batch_size]:
                try:
                    pixels = torch.tensor(decode(entry).pixels).permute(2, 0, 1)[None].to(device)  # (1, 3, H, W)
                except DamagedError:
                    damaged += 1
                    lines.write(_line(entry, []))  # left out in training too
                    continue
                inputs.append(tagger.preprocess(pixels.float() / 255))
                seen.append(entry)
            if inputs:
                logits = tagger(torch.cat(inputs).to(dtype)).logits
                for entry, row in zip(seen, logits):
                    lines.write(_line(entry, [tag.name for tag in tagger.tags_on(row)]))
            lines.flush()
            progress(min(start + batch_size, len(todo)), len(todo))
    return file, len(todo) - damaged, damaged


def _line(entry: Entry, tags: list[str]) -> str:
    return json.dumps({"name": entry.name, "size": entry.size, "tags": tags}) + "\n"
