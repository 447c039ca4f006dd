"""Errors meant for the user: one line that says what is wrong and what to do about it."""


class SeesrError(Exception):
    """Something the user can mend: a bad file, option or checkpoint. Commands print it and exit with 2.

    A parameter is named in backquotes, as in "`scale` cannot be 0": the command line puts its option in that place.
    """


class SeveralLinesError(SeesrError):
    """One whose remedy is a list. Names in it are the program's own: a photo's could hold line breaks."""


class SeesrWarning(UserWarning):
    """Something the user may not have meant, such as a setting without effect. Commands print it as a note."""
