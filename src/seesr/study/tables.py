"""A study's tables, as rows for CSV files: votes, methods, raters; figures in full precision."""

import math
from typing import Any

from seesr.study.results import StudyResult


def vote_rows(result: StudyResult) -> list[dict[str, Any]]:
    return [
        {
            "part": answer.part,
            "rater": answer.rater,
            "counted": int(answer.counted),
            "photo": answer.photo,
            "check": int(answer.check),
            "chosen": answer.chosen,
            "position": answer.position,
            "offered": "|".join(answer.offered),
            "seconds": answer.seconds,
            "zoom": answer.zoom,
        }
        for answer in result.answers
    ]


def method_rows(result: StudyResult) -> list[dict[str, Any]]:
    rows = []
    for part in result.parts:
        found = part.preferences
        for i in part.ranking:
            row: dict[str, Any] = {"part": part.part.kind, "method": result.study.methods[i]}
            row |= {"votes": int(found.votes[i]), "offered": int(found.offered[i]), "chance": float(found.chance[i])}
            for name, interval in (
                ("share", found.shares[i]),
                ("share_wilson", found.wilson[i]),
                ("log_strength", found.strengths[i]),
                ("rank", found.ranks[i]),
            ):
                low, high = (bound if math.isfinite(bound) else "" for bound in (interval.low, interval.high))
                row |= {name: interval.value, f"{name}_low": low, f"{name}_high": high}
            del row["share_wilson"]  # the share once more
            rows.append(row)
    return rows


def rater_rows(result: StudyResult) -> list[dict[str, Any]]:
    return [
        {
            "rater": rater.name,
            "counted": int(rater.counted),
            "finished": int(rater.finished),
            "votes": rater.votes,
            "checks": rater.checks,
            "checks_passed": rater.passed,
            "median_seconds": "" if rater.seconds is None else rater.seconds,
            "agreement_with_most": "" if rater.agreement is None else rater.agreement,
        }
        for rater in result.raters
    ]
