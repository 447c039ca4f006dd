"""Names, tags and metadata are data: written so that no terminal, table or page takes them for anything else."""

import re
from collections.abc import Sequence

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls: colours, cursor, bell, new lines
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of writing, which makes exe.png of gnp.exe
    "\u2028\u2029"  # line and paragraph
    "\ud800-\udfff]"  # bytes of a file name that are no UTF-8
)
_NAMED = 3  # names that a message gives
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?|[+-]?(inf|nan)")


def shown(text: object) -> str:
    """`text` in one line that can be printed anywhere: what cannot be seen is written as an escape, as `\\x1b`."""
    return _UNSEEN.sub(_escape, str(text))


def many(names: Sequence[str]) -> str:
    """The first few of some names, how many more, and "is" or "are": `a, b, c and 5 more: are`."""
    more = len(names) - _NAMED
    named = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"{named}: {'is' if len(names) == 1 else 'are'}"


def cell(value: object) -> object:
    """A value for a cell of CSV: text that a spreadsheet would take for a formula begins with an apostrophe."""
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return "'" + value
    return value


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # Python's stand-in for a byte
        return f"\\x{code - 0xDC00:02x}"
    return {9: "\\t", 10: "\\n", 13: "\\r"}.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
