"""Classes of database failures: which may be caused by a transaction, and which cannot be."""

from django.db import Error

# Prefixes of SQLSTATE: a deadlock, a serialization failure, a lock held by somebody else. Nothing
# is wrong with either side.
CONTENTION_STATES = ("40", "55")
# No connection, no room, no permission to write, starting up: any statement would fail.
UNAVAILABLE_STATES = ("08", "25", "53", "57P03", "58")
OUT_OF_MEMORY_STATE = "53200"  # the exception: a single large transaction may cause it
CANCELED_STATE = "57014"
# The statement does not fit the database: code and schema are of two versions, or a right or a
# function is missing. No transaction can cause that.
SYSTEMIC_STATES = ("42", "0A")
# The server ended the connection: because of this statement, or because of another session.
CONNECTION_ENDED_STATES = ("", "57P01", "57P02")
PROCESS_LOST = "ProcessLost"  # the error class of an attempt whose process never came back


def is_contention(error: Error) -> bool:
    return _sqlstate(error).startswith(CONTENTION_STATES)


def is_unavailable(error: Error) -> bool:
    """Return True if no statement could work now.

    A lost connection is not counted: the statement itself may have ended it.
    """
    state = _sqlstate(error)
    return state.startswith(UNAVAILABLE_STATES) and state != OUT_OF_MEMORY_STATE


def is_systemic(error: Error) -> bool:
    """Return True if the statement itself cannot work, whatever it is given."""
    return _sqlstate(error).startswith(SYSTEMIC_STATES)


def connection_lost(error: Error) -> bool:
    return _sqlstate(error) in CONNECTION_ENDED_STATES


def took_too_long(error: Error) -> bool:
    return _sqlstate(error) == CANCELED_STATE


def error_class(error: Error) -> str:
    """Return the name of the error's class, such as "DataError".

    Only this is stored or logged, for the error's text may quote what a gateway sent.
    """
    return type(error.__cause__ or error).__name__ if _sqlstate(error) else "ConnectionLost"


def _sqlstate(error: Error) -> str:
    """Return the five characters of SQLSTATE; empty when the server did not answer."""
    return getattr(error.__cause__, "sqlstate", None) or ""
