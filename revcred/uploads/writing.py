"""Writing of lists for uploads: templates and filled examples."""

from io import BytesIO

from revcred.list_files import ListFormat, ListHeader, ListRows, write_list
from revcred.uploads import examples
from revcred.uploads.columns import ListKind, columns_of


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


def _header_of(kind: ListKind) -> list[str]:
    return [each.name for each in columns_of(kind)]


def _list_as_bytes(form: ListFormat, header: ListHeader, rows: ListRows) -> bytes:
    to = BytesIO()
    write_list(to, form, header, rows)
    return to.getvalue()
