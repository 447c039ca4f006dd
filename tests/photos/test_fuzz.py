"""Damaged files of every format: a picture or one line, no traceback, no hang, nothing left over."""

from collections import Counter
from pathlib import Path

from fuzz import outcomes


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    counts = Counter(kind for _, kind in outcomes(300, tmp_path))
    assert counts["read"] > 50
    assert counts["refused"] > 50
