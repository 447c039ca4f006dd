"""A study evaluated: who counts, and per part what they prefer and how far they agree."""

import statistics
from collections import Counter
from dataclasses import dataclass

import numpy as np

from seesr.errors import SeesrError
from seesr.study.design import GOOD, Part, Question, Study
from seesr.study.statistics import (
    Choice,
    Interval,
    Preferences,
    alpha_over_units,
    fleiss_kappa,
    preferences,
)
from seesr.study.votes import Ballot, Vote


@dataclass(frozen=True)
class Rater:
    """One rater: votes, attention checks left out; checks answered and passed; median seconds a vote; whether counted.

    agreement: share of votes that are those of most other counted raters on that question; None if there is none.
    """

    name: str
    finished: bool
    votes: int
    checks: int
    passed: int
    seconds: float | None
    agreement: float | None
    counted: bool


@dataclass(frozen=True)
class Answer:
    """One vote with all that is known of it; position: 1 is the first picture on the page. `chosen` is a method's name,
    or what stands for one in an attention check."""

    rater: str
    counted: bool
    part: str
    photo: str
    check: bool
    chosen: str
    offered: tuple[str, ...]
    position: int
    seconds: float
    zoom: float


@dataclass(frozen=True)
class Agreement:
    """How far raters agree in a part.

    observed, chance: share of pairs of votes on a question that are equal, and the share expected of blind choice.
    alpha: Krippendorff's, with a bootstrap interval over photos. kappa: Fleiss', None unless all questions have as many
    votes. In mode "pairs" the categories are the two sides, in both orders, so that chance is a half.
    """

    observed: float
    chance: float
    alpha: Interval
    kappa: float | None


@dataclass(frozen=True)
class PartResult:
    """A part: figures of its counted votes; by_photo: how often a method was chosen; ranking: methods, best first."""

    part: Part
    raters: int
    votes: int
    preferences: Preferences
    agreement: Agreement | None
    by_photo: dict[str, Counter[str]]
    ranking: tuple[int, ...]


@dataclass(frozen=True)
class StudyResult:
    """Everything; parts without a counted vote are left out."""

    study: Study
    allowed_failures: int
    raters: list[Rater]
    answers: list[Answer]
    parts: list[PartResult]

    @property
    def excluded(self) -> list[Rater]:
        """Raters who failed too many attention checks."""
        return [rater for rater in self.raters if rater.votes + rater.checks and not rater.counted]


def evaluate_study(study: Study, ballots: list[Ballot], allowed_failures: int = 0) -> StudyResult:
    """Evaluate votes; a rater who failed more than `allowed_failures` attention checks is left out.

    Raises:
        SeesrError: no votes, or none left.
    """
    answers: list[Answer] = []
    failed = {ballot.rater: sum(_fails(study, vote) for vote in ballot.votes.values()) for ballot in ballots}
    for ballot in ballots:
        counted = failed[ballot.rater] <= allowed_failures
        for part in study.parts:
            for question in part.questions:
                if question.id in ballot.votes:
                    answers.append(_answer(ballot, ballot.votes[question.id], part, question, counted))
    real = [answer for answer in answers if not answer.check]
    if not real:
        raise SeesrError(
            "this study has no votes yet; serve it, or put the files raters have sent into its folder results"
        )
    if not any(answer.counted for answer in real):
        raise SeesrError("all raters failed the attention checks; `allowed_failures` says how many they may fail")
    raters = [_rater(ballot, answers, failed[ballot.rater] <= allowed_failures) for ballot in ballots]
    parts = []
    for part in study.parts:
        mine = [answer for answer in real if answer.part == part.kind and answer.counted]
        if mine:
            parts.append(_part(study, part, mine))
    return StudyResult(study, allowed_failures, raters, answers, parts)


def _fails(study: Study, vote: Vote) -> bool:
    question = study.questions[vote.question]
    return question.is_check and question.candidates[vote.choice] != GOOD


def _answer(ballot: Ballot, vote: Vote, part: Part, question: Question, counted: bool) -> Answer:
    offered = tuple(question.candidates[picture] for picture in vote.shown)
    position = vote.shown.index(vote.choice)
    chosen, place = offered[position], position + 1
    check = question.is_check
    return Answer(
        ballot.rater, counted, part.kind, question.photo, check, chosen, offered, place, vote.seconds, vote.zoom
    )


def _rater(ballot: Ballot, answers: list[Answer], counted: bool) -> Rater:
    mine = [answer for answer in answers if answer.rater == ballot.rater]
    votes = [answer for answer in mine if not answer.check]
    checks = [answer for answer in mine if answer.check]
    others: dict[tuple[str, str, tuple[str, ...]], Counter[str]] = {}
    for answer in answers:
        if answer.counted and not answer.check and answer.rater != ballot.rater:
            others.setdefault(_unit(answer), Counter())[answer.chosen] += 1
    compared = [others[_unit(answer)][answer.chosen] == max(others[_unit(answer)].values())
                for answer in votes if _unit(answer) in others]  # fmt: skip
    return Rater(
        ballot.rater,
        ballot.finished,
        len(votes),
        len(checks),
        sum(answer.chosen == GOOD for answer in checks),
        statistics.median(answer.seconds for answer in votes) if votes else None,
        statistics.fmean(compared) if compared else None,
        counted,
    )


def _unit(answer: Answer) -> tuple[str, str, tuple[str, ...]]:
    """What raters may agree on: the same photo with the same methods."""
    return answer.part, answer.photo, tuple(sorted(answer.offered))


def _part(study: Study, part: Part, answers: list[Answer]) -> PartResult:
    methods = {name: i for i, name in enumerate(study.methods)}
    raters = {name: i for i, name in enumerate(sorted({answer.rater for answer in answers}))}
    photos = {name: i for i, name in enumerate(part.photos)}
    choices = [
        Choice(
            raters[answer.rater],
            photos[answer.photo],
            tuple(sorted(methods[name] for name in answer.offered)),
            methods[answer.chosen],
        )
        for answer in answers
    ]
    found = preferences(choices, len(methods))
    ranking = sorted(range(len(methods)), key=lambda i: -found.strengths[i].value)
    by_photo: dict[str, Counter[str]] = {photo: Counter() for photo in part.photos}
    for answer in answers:
        by_photo[answer.photo][answer.chosen] += 1
    agreement = _agreement(study, choices)
    return PartResult(part, len(raters), len(answers), found, agreement, by_photo, tuple(ranking))


def _agreement(study: Study, choices: list[Choice]) -> Agreement | None:
    """None where no question has two votes."""
    units: dict[tuple[int, tuple[int, ...]], Counter[int]] = {}
    for choice in choices:
        units.setdefault((choice.photo, choice.offered), Counter())[choice.chosen] += 1
    units = {key: votes for key, votes in units.items() if votes.total() >= 2}
    if not units:
        return None
    photos = np.unique([photo for photo, _ in units], return_inverse=True)[1]
    table = np.array([[votes[method] for method in range(len(study.methods))] for votes in units.values()])
    if study.mode == "pairs":
        sides = np.array([[votes[method] for method in offered] for (_, offered), votes in units.items()])
        table, photos = np.concatenate([sides, sides[:, ::-1]]), np.concatenate([photos, photos])
    raters = table.sum(1)
    same = (table**2).sum() - raters.sum()
    return Agreement(
        float(same / (raters * (raters - 1)).sum()),
        1 / (2 if study.mode == "pairs" else len(study.methods)),
        alpha_over_units(table, photos),
        fleiss_kappa(table) if raters.min() == raters.max() else None,
    )
