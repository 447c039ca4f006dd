"""Errors meant for the user: one line that says what is wrong and what to do about it."""


class SeesrError(Exception):
    """Something the user can mend: a bad file, option or checkpoint. Commands print it and exit with 2."""
