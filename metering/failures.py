"""Whose fault a failure is: perhaps that of the transactions in a statement, or surely not."""

from django.db import Error

# By SQLSTATE. Two that wanted the same: nothing is wrong with either.
CONTENTION_STATES = ("40", "55")
# No connection, no room, no permission to write, starting up: it would befall anything.
UNAVAILABLE_STATES = ("08", "25", "53", "57P03", "58")
OUT_OF_MEMORY_STATE = "53200"  # which a transaction may cause
CANCELED_STATE = "57014"
# The connection was ended: by what it did, or by what somebody else did.
CONNECTION_ENDED_STATES = ("", "57P01", "57P02")
PROCESS_LOST = "ProcessLost"


def is_contention(error: Error) -> bool:
    return _sqlstate(error).startswith(CONTENTION_STATES)


def is_unavailable(error: Error) -> bool:
    """Whether the database cannot work at all. A connection that is lost may be their doing."""
    state = _sqlstate(error)
    return state.startswith(UNAVAILABLE_STATES) and state != OUT_OF_MEMORY_STATE


def connection_lost(error: Error) -> bool:
    return _sqlstate(error) in CONNECTION_ENDED_STATES


def took_too_long(error: Error) -> bool:
    return _sqlstate(error) == CANCELED_STATE


def error_class(error: Error) -> str:
    """The error's class, which is all that is ever kept of it: its text may quote what was sent."""
    return type(error.__cause__ or error).__name__ if _sqlstate(error) else "ConnectionLost"


def _sqlstate(error: Error) -> str:
    """Empty when there was nobody left to say one."""
    return getattr(error.__cause__, "sqlstate", None) or ""
