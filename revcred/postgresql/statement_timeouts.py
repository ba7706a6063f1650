"""A statement timeout for a block of statements inside a transaction."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db.backends.utils import CursorWrapper


@contextmanager
def statement_timeout(cursor: CursorWrapper, milliseconds: int) -> Iterator[None]:
    """Limit the statements of the block. If one fails, the savepoint around resets the limit."""
    cursor.execute("SELECT current_setting('statement_timeout')")
    (before,) = cursor.fetchone()
    change = "SELECT set_config('statement_timeout', %s, true)"
    cursor.execute(change, [f"{milliseconds}ms"])
    yield
    cursor.execute(change, [before])
