"""A study: its questions, the pictures under random names, and the key that tells which method made which picture.

Two designs, after the user study of SeeSR's fourth section: for photos with a reference raters choose the picture
closest to it ("closest"), for photos without one the best restoration ("best"). A study may have both, as parts. In
mode "choice" a question shows the pictures of all methods, as in the paper; in mode "pairs" those of two.

A study is a folder:

    public/index.html, public/images/*.webp    all that raters get to see: no name of a method or a photo
    key.json                                   this module's `Study`; not for raters
    votes.sqlite                               made by `seesr study serve`
    results/*.json                             put the files here that raters have sent, if the page was not served
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from seesr.errors import SeesrError

FORMAT = 1
KEY, PUBLIC, DATABASE, RESULTS = "key.json", "public", "votes.sqlite", "results"

ASKED = {
    "closest": "Which picture is closest to the reference?",
    "best": "Which picture is the best restoration of the photo?",
}
"""Kind of a part -> its question."""

GOOD, DEGRADED = "the good picture", "a degraded picture"
"""What stands in the place of a method's name in an attention check."""


@dataclass(frozen=True)
class Question:
    """One choice between pictures of one photo.

    id: random; public.
    photo: its name; not public.
    size: (width, height) in pixels of all its pictures.
    source: picture shown beside the candidates: the reference ("closest") or the photo, enlarged bicubically ("best").
    lowres: the enlarged photo where `source` is the reference and the photo is known, else None.
    candidates: picture -> method; for an attention check -> GOOD once and DEGRADED for the others.
    round: raters who get a part of the questions get the first rounds' (see make.py); None for checks: all get them.
    """

    id: str
    photo: str
    size: tuple[int, int]
    source: str
    lowres: str | None
    candidates: dict[str, str]
    round: int | None

    @property
    def is_check(self) -> bool:
        """Whether it is an attention check."""
        return self.round is None


@dataclass(frozen=True)
class Part:
    """Questions of one kind, a key of ASKED; a rater gets `take` of them, checks not counted."""

    kind: str
    take: int
    questions: tuple[Question, ...]

    @property
    def photos(self) -> list[str]:
        """Names of its photos, sorted."""
        return sorted({question.photo for question in self.questions})

    @property
    def length(self) -> int:
        """Questions a rater gets, checks included."""
        return self.take + sum(question.is_check for question in self.questions)


@dataclass(frozen=True)
class Study:
    """All of a study but its votes; `mode` is "choice" or "pairs", `methods` are in the order they were given."""

    id: str
    title: str
    mode: str
    methods: tuple[str, ...]
    parts: tuple[Part, ...]

    @property
    def length(self) -> int:
        """Questions a rater gets, checks included."""
        return sum(part.length for part in self.parts)

    @cached_property
    def questions(self) -> dict[str, Question]:
        """By id."""
        return {question.id: question for part in self.parts for question in part.questions}

    @property
    def pictures(self) -> set[str]:
        """Names of all pictures, without suffix."""
        found: set[str] = set()
        for question in self.questions.values():
            found |= {question.source, *question.candidates} | ({question.lowres} if question.lowres else set())
        return found

    def public(self) -> dict[str, Any]:
        """What the page gets: nothing about methods, photos or the answers to checks."""
        parts = []
        for part in self.parts:
            questions = [
                {
                    "id": question.id,
                    "size": question.size,
                    "source": question.source,
                    "lowres": question.lowres,
                    "candidates": sorted(question.candidates),
                    "round": question.round,
                }
                for question in sorted(part.questions, key=lambda question: question.id)
            ]
            parts.append({"kind": part.kind, "asked": ASKED[part.kind], "take": part.take, "questions": questions})
        return {"id": self.id, "title": self.title, "parts": parts}


def write_study(study: Study, folder: Path) -> None:
    """Write the key into a study's folder."""
    (folder / KEY).write_text(json.dumps({"format": FORMAT, **asdict(study)}, indent=1) + "\n", encoding="utf-8")


def read_study(folder: Path) -> Study:
    """Read a study's key.

    Raises:
        SeesrError: no study in this folder, or its key is damaged or of a newer version.
    """
    path = folder / KEY
    if not path.is_file():
        raise SeesrError(f"{folder}: no study in this folder (no {KEY}); make one with seesr study make")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise SeesrError(f"{path}: of format {content['format']}, which this version of seesr does not know")
        parts = []
        for part in content["parts"]:
            questions = tuple(Question(**(found | {"size": tuple(found["size"])})) for found in part["questions"])
            parts.append(Part(part["kind"], part["take"], questions))
        return Study(content["id"], content["title"], content["mode"], tuple(content["methods"]), tuple(parts))
    except (ValueError, KeyError, TypeError) as error:
        raise SeesrError(f"{path}: damaged ({error}); restore the file or make the study again") from error
