"""Votes: their check, a database that neither loses nor doubles one, and the files that raters send."""

import json
import math
import re
import sqlite3
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seesr.errors import SeesrError
from seesr.study.design import DATABASE, FORMAT, RESULTS, Study

_RATER = re.compile(r"[A-Za-z0-9_-]{1,64}")

_TABLES = """
CREATE TABLE IF NOT EXISTS study (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS raters (rater TEXT PRIMARY KEY, started REAL NOT NULL, finished REAL);
CREATE TABLE IF NOT EXISTS votes (
    rater TEXT NOT NULL, question TEXT NOT NULL, choice TEXT NOT NULL, shown TEXT NOT NULL, seconds REAL NOT NULL,
    zoom REAL NOT NULL, revision INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY (rater, question)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Vote:
    """One answer.

    question, choice: ids of the question and of the picture chosen.
    shown: its pictures in the order of their places on the page.
    seconds: looked at it; zoom: the most it was enlarged, 1 being the whole picture in its place.
    revision: 1, and one more each time the rater changed the answer.
    """

    question: str
    choice: str
    shown: tuple[str, ...]
    seconds: float
    zoom: float
    revision: int


@dataclass(frozen=True)
class Ballot:
    """All votes of one rater, by question."""

    rater: str
    finished: bool
    votes: dict[str, Vote]


class VoteError(ValueError):
    """A vote or rater's code that does not belong to this study; the text says why."""


class RaterFinished(Exception):
    """The rater has finished: the votes are final."""


def check_rater(rater: Any) -> str:
    """A rater's code, or VoteError."""
    if not isinstance(rater, str) or not _RATER.fullmatch(rater):
        raise VoteError("a rater's code has 1 to 64 letters, digits, - and _")
    return rater


def parse_vote(study: Study, content: Any) -> Vote:
    """A vote as the page makes it, checked against the study.

    Raises:
        VoteError: not a vote, or about a question or picture that this study does not have.
    """
    try:
        vote = Vote(**content)
        question = study.questions[vote.question]
        numbers_right = (
            all(isinstance(number, int | float) and math.isfinite(number) for number in (vote.seconds, vote.zoom))
            and vote.seconds >= 0
            and type(vote.revision) is int
            and 1 <= vote.revision < 2**31
        )
        shown = tuple(vote.shown)
        if not numbers_right or sorted(shown) != sorted(question.candidates) or vote.choice not in shown:
            raise VoteError(f"the vote on question {vote.question} does not fit that question")
    except KeyError:
        raise VoteError(f"this study has no question {content['question']!r}") from None
    except TypeError:
        raise VoteError("this is not a vote") from None
    return Vote(vote.question, vote.choice, shown, float(vote.seconds), float(vote.zoom), vote.revision)


class VoteDatabase:
    """Votes in SQLite. A vote is on disk when `vote` returns. Threads may share the object, processes the file."""

    def __init__(self, path: Path, study: Study) -> None:
        """Open the database, make it where it is missing.

        Raises:
            SeesrError: it is damaged, cannot be written, or holds votes of another study.
        """
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut too
            (state,) = self._connection.execute("PRAGMA quick_check").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(state)
            self._connection.executescript(_TABLES)
            with self._lock, self._transaction():
                known = self._connection.execute("SELECT id FROM study").fetchone()
                if known is None:
                    self._connection.execute("INSERT INTO study VALUES (?)", (study.id,))
        except sqlite3.DatabaseError as error:
            if hasattr(self, "_connection"):
                self._connection.close()
            raise SeesrError(
                f"{path}: the database of votes is damaged or cannot be written ({error}); restore it from a copy, "
                "or move it away to begin with none"
            ) from error
        if known is not None and known[0] != study.id:
            raise SeesrError(f"{path}: holds the votes of another study; move it away")

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._connection)

    def start(self, rater: str) -> Ballot:
        """Note that a rater has come; returns what there is of them."""
        with self._lock, self._transaction():
            self._connection.execute("INSERT OR IGNORE INTO raters VALUES (?, ?, NULL)", (rater, time.time()))
        return self.ballot(rater)

    def vote(self, rater: str, vote: Vote) -> Vote:
        """Keep a vote unless one of the same or a later revision is there; returns the one that then is.

        Raises:
            RaterFinished: the rater has finished and this is not one of their votes.
        """
        with self._lock, self._transaction():
            found = self._connection.execute("SELECT finished FROM raters WHERE rater = ?", (rater,)).fetchone()
            before = self._votes(rater, vote.question).get(vote.question)
            if found and found[0] is not None and before != vote:
                raise RaterFinished
            if before is not None and before.revision >= vote.revision:
                return before
            self._connection.execute("INSERT OR IGNORE INTO raters VALUES (?, ?, NULL)", (rater, time.time()))
            values = (rater, vote.question, vote.choice, " ".join(vote.shown), vote.seconds, vote.zoom, vote.revision)
            self._connection.execute("INSERT OR REPLACE INTO votes VALUES (?,?,?,?,?,?,?,?)", (*values, time.time()))
            return vote

    def finish(self, rater: str, needed: int) -> int:
        """Make a rater's votes final; returns how many of `needed` are still missing, and does nothing if any are."""
        with self._lock, self._transaction():
            (count,) = self._connection.execute("SELECT COUNT(*) FROM votes WHERE rater = ?", (rater,)).fetchone()
            if count >= needed:
                self._connection.execute(
                    "UPDATE raters SET finished = ? WHERE rater = ? AND finished IS NULL", (time.time(), rater)
                )
        return max(needed - int(count), 0)

    def ballot(self, rater: str) -> Ballot:
        """A rater's votes so far."""
        with self._lock:
            found = self._connection.execute("SELECT finished FROM raters WHERE rater = ?", (rater,)).fetchone()
            return Ballot(rater, bool(found and found[0] is not None), self._votes(rater))

    def ballots(self) -> list[Ballot]:
        """Of all raters, by code."""
        with self._lock:
            names = [name for (name,) in self._connection.execute("SELECT rater FROM raters ORDER BY rater")]
        return [self.ballot(name) for name in names]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _votes(self, rater: str, question: str | None = None) -> dict[str, Vote]:
        rows = self._connection.execute(
            "SELECT question, choice, shown, seconds, zoom, revision FROM votes "
            "WHERE rater = ? AND question = IFNULL(?, question)",
            (rater, question),
        )
        return {row[0]: Vote(row[0], row[1], tuple(row[2].split()), *row[3:]) for row in rows}


class _Transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK where something goes wrong."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __enter__(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.connection.execute("COMMIT" if kind is None else "ROLLBACK")


# --------------------------------------------------------------------------------------------------------------- files


def ballot_content(study: Study, ballot: Ballot) -> dict[str, Any]:
    """A ballot as the page's files hold it."""
    votes = [asdict(vote) for vote in ballot.votes.values()]
    return {"format": FORMAT, "study": study.id, "rater": ballot.rater, "finished": ballot.finished, "votes": votes}


def read_ballot(path: Path, study: Study) -> Ballot:
    """Read the file a rater has sent.

    Raises:
        SeesrError: no such file, not a ballot, or of another study.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["study"] != study.id:
            raise VoteError("answers to another study")
        if content["format"] != FORMAT:
            raise VoteError(f"of format {content['format']}, which this version of seesr does not know")
        votes = [parse_vote(study, vote) for vote in content["votes"]]
        return Ballot(check_rater(content["rater"]), bool(content["finished"]), {vote.question: vote for vote in votes})
    except VoteError as error:
        raise SeesrError(f"{path}: {error}; take this file out") from error
    except OSError as error:
        raise SeesrError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SeesrError(f"{path}: not a file of answers, or damaged; ask the rater for it again") from error


def read_ballots(folder: Path, study: Study) -> list[Ballot]:
    """All ballots of a study's folder, of the database and of results/*.json; if a rater voted twice on a
    question, the higher revision counts.

    Raises:
        SeesrError: a damaged database or file; a rater's two votes of the same revision that contradict each other.
    """
    found: dict[str, Ballot] = {}
    if (folder / DATABASE).exists():
        database = VoteDatabase(folder / DATABASE, study)
        found = {ballot.rater: ballot for ballot in database.ballots()}
        database.close()
    for path in sorted((folder / RESULTS).glob("*.json")):
        ballot = read_ballot(path, study)
        known = found.get(ballot.rater, Ballot(ballot.rater, False, {}))
        votes = dict(known.votes)
        for question, vote in ballot.votes.items():
            other = votes.get(question)
            if other and other.revision == vote.revision and other.choice != vote.choice:
                raise SeesrError(
                    f"{path}: contradicts another vote of rater {ballot.rater} on question {question}; two people may "
                    "have used one code, rename one in its file"
                )
            if other is None or vote.revision > other.revision:
                votes[question] = vote
        found[ballot.rater] = Ballot(ballot.rater, known.finished or ballot.finished, votes)
    return [found[rater] for rater in sorted(found)]
