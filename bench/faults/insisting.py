"""Acts and questions that are tried again until the database is there, as a person would."""

import time
from collections.abc import Callable
from typing import TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, InterfaceError, OperationalError, connection

# Raised where a row is gone that had been committed: the judge finds out about it.
LOST_ROWS = (ObjectDoesNotExist, IntegrityError)
RETRY_PAUSE_SECONDS = 0.1  # seconds

T = TypeVar("T")


def insist(act: Callable[[], object], *already: type[Exception]) -> None:
    """Do it until it is done; `already` says that a try, whose answer was lost, had done it."""
    try:
        ask(act)
    except already:
        return


def ask(question: Callable[[], T]) -> T:
    while True:
        try:
            return question()
        except (InterfaceError, OperationalError):
            connection.close()
            time.sleep(RETRY_PAUSE_SECONDS)
