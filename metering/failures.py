"""Whose fault a failure is: perhaps that of the transactions in a statement, or surely not."""

from django.db import Error

# By SQLSTATE. Two that wanted the same: nothing is wrong with either.
CONTENTION = ("40", "55")
# No connection, no room, no permission to write, starting up: it would befall anything.
AWAY = ("08", "25", "53", "57P03", "58")
OUT_OF_MEMORY = "53200"  # which a transaction may cause
CANCELED = "57014"
# The connection was ended: by what it did, or by what somebody else did.
ENDED = ("", "57P01", "57P02")
PROCESS_LOST = "ProcessLost"


def is_contention(error: Error) -> bool:
    return _state(error).startswith(CONTENTION)


def is_away(error: Error) -> bool:
    """Whether the database cannot work at all. A connection that is lost may be their doing."""
    state = _state(error)
    return state.startswith(AWAY) and state != OUT_OF_MEMORY


def is_lost(error: Error) -> bool:
    return _state(error) in ENDED


def took_too_long(error: Error) -> bool:
    return _state(error) == CANCELED


def name_of(error: Error) -> str:
    """The error's class, which is all that is ever kept of it: its text may quote what was sent."""
    return type(error.__cause__ or error).__name__ if _state(error) else "ConnectionLost"


def _state(error: Error) -> str:
    """Empty when there was nobody left to say one."""
    return getattr(error.__cause__, "sqlstate", None) or ""
