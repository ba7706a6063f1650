"""Translation of a constraint violation into an exception of the action."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import IntegrityError


@contextmanager
def raising_on_violation(error_class: type[Exception], constraint: str) -> Iterator[None]:
    """Raise `error_class` if the block violates the named constraint of PostgreSQL.

    Actions check beforehand, too. This is for the case that another action was quicker.
    """
    try:
        yield
    except IntegrityError as error:
        cause = error.__cause__
        if not isinstance(cause, psycopg.Error) or cause.diag.constraint_name != constraint:
            raise
        raise error_class from error
