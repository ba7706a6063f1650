"""Say in an action's own words what only the database saw: another action was quicker."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import IntegrityError


@contextmanager
def raising_on_violation(refusal: type[Exception], constraint: str) -> Iterator[None]:
    """Raise `refusal` where the block violates the named constraint."""
    try:
        yield
    except IntegrityError as error:
        cause = error.__cause__
        if not isinstance(cause, psycopg.Error) or cause.diag.constraint_name != constraint:
            raise
        raise refusal from error
