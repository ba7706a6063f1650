"""Writing of lists for uploads: templates, filled examples and rejected rows."""

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import BinaryIO

from revcred.list_files import ListFormat, ListHeader, ListRows, write_list
from revcred.uploads import examples
from revcred.uploads.columns import ListKind, columns_of
from revcred.uploads.reading.headers import ERROR_COLUMN


def template_file(kind: ListKind, form: ListFormat) -> bytes:
    """Return a list with a header and no rows."""
    header = _header_of(kind)
    # A line of JSON names its fields itself; a blank one is no row.
    return _list_as_bytes(
        form, header, [[""] * len(header)] if form is ListFormat.JSON_LINES else []
    )


def example_file(kind: ListKind, form: ListFormat) -> bytes:
    """Return a list with a header and example rows."""
    return _list_as_bytes(form, _header_of(kind), examples.example_rows(kind))


def write_rejected(
    to: BinaryIO, form: ListFormat, header: ListHeader, rows: Iterable[tuple[Sequence[str], str]]
) -> None:
    """Write rejected rows as they came, each with its reason in a column that reading ignores.

    A row whose cells could not be read is blank but for the reason, and is therefore no row when
    the file is uploaded again.
    """
    blank = [""] * len(header)
    write_list(
        to, form, [*header, ERROR_COLUMN], ([*(cells or blank), reason] for cells, reason in rows)
    )


def _header_of(kind: ListKind) -> list[str]:
    return [each.name for each in columns_of(kind)]


def _list_as_bytes(form: ListFormat, header: ListHeader, rows: ListRows) -> bytes:
    to = BytesIO()
    write_list(to, form, header, rows)
    return to.getvalue()
