"""WordNet 3.0's noun hierarchy, as far as it groups ImageNet's classes, out of its `data.noun` file.

A class is a synset, `n` and its byte offset in that file; sorted by offset they are the outputs of every ImageNet
classifier. On Debian the file is part of the package `wordnet-base`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from seesr.errors import SeesrError

HYPERNYMS = ("@", "@i")  # pointers to what a synset is a kind, or an instance, of


def read_nouns(file: Path) -> dict[str, tuple[str, list[str]]]:
    """Synset, such as `n02084071` -> its first word and the synsets above it.

    The format is wndb(5WN): offset, file number, type, number of words (hexadecimal), words each with an id, number of
    pointers, pointers of four fields, ` | `, gloss.

    Raises:
        SeesrError: the file cannot be read, or is no such file.
    """
    nouns = {}
    try:
        for line in file.read_text("utf-8").splitlines():
            if line.startswith("  "):  # the licence
                continue
            fields = line.partition(" | ")[0].split()
            start = 4 + 2 * int(fields[3], 16)
            pointers = [fields[start + 1 + 4 * i : start + 5 + 4 * i] for i in range(int(fields[start]))]
            nouns[f"n{fields[0]}"] = (fields[4], [f"n{p[1]}" for p in pointers if p[0] in HYPERNYMS])
    except (OSError, ValueError, IndexError) as error:
        raise SeesrError(f"{file} is no readable data.noun of WordNet ({error})") from error
    return nouns


def group_classes(
    classes: Iterable[str], tags: Mapping[str, str | Sequence[str]], nouns: Mapping[str, tuple[str, list[str]]]
) -> dict[str, list[int]]:
    """Tag -> indices of the classes that are, or are a kind of, one of the synsets listed with it.

    Args:
        classes: synsets of the classes, in any order; an index counts them sorted.
        tags: tag -> one or several synsets, each by its first word or as `n` and the offset.
        nouns: of `read_nouns`.

    Raises:
        SeesrError: a synset stands above no class, or its word is that of several.
    """
    below: dict[str, list[int]] = {}  # synset -> classes
    for index, name in enumerate(sorted(classes)):
        seen, queue = set(), [name]
        while queue:
            if (synset := queue.pop()) not in seen:
                seen.add(synset)
                queue += nouns[synset][1]
        for synset in seen:
            below.setdefault(synset, []).append(index)
    by_word: dict[str, list[str]] = {}
    for synset in below:
        by_word.setdefault(nouns[synset][0], []).append(synset)

    groups = {}
    for tag, synsets in tags.items():
        members: set[int] = set()
        for synset in [synsets] if isinstance(synsets, str) else synsets:
            found = [synset] if synset in below else by_word.get(synset, [])
            if len(found) != 1:
                raise SeesrError(f"tag {tag}: {synset} stands for {len(found)} synsets; name one ({', '.join(found)})")
            members.update(below[found[0]])
        groups[tag] = sorted(members)
    return groups
