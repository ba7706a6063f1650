"""Lists of records: in JSON and YAML each value has a name instead of a position."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import msgspec
from django.utils.translation import gettext_noop

from revcred.uploads.columns import VALUE_SEPARATOR
from revcred.uploads.reading.foreign import EXPORT_FORMATS, ExportFormat
from revcred.uploads.reading.foreign.export_format import number_equal_names
from revcred.uploads.reading.headers import column_names_in
from revcred.uploads.reading.list_reader import (
    MAX_COLUMNS,
    ListReader,
    NumberedRow,
    RowCells,
    RowError,
    UnreadableFile,
    fitting_rows,
)
from revcred.uploads.reading.nested_records import flat_record, spread_path, spread_record
from revcred.uploads.reading.row_copiers import RecordCopier, is_error_column

# Fits most records, and is four times as fast as the decoder below.
PLAIN_RECORD_DECODER = msgspec.json.Decoder(dict[str, str | int | bool | list[str] | None])
# Keeps every value as it was written: a number that is a key, an object that is metadata.
RAW_RECORD_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
TEXT_DECODER = msgspec.json.Decoder(str)
RAW_VALUES_DECODER = msgspec.json.Decoder(list[msgspec.Raw])

NumberedRecord: TypeAlias = tuple[int, dict[str, Any] | RowError]


class SeparatorInValue(Exception):
    """A value in a list of values contains the separator, and would look like two."""


def decode_record(text: bytes | str) -> dict[str, Any] | RowError:
    """Decode one JSON object; values other than plain ones stay raw."""
    try:
        return PLAIN_RECORD_DECODER.decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        return RAW_RECORD_DECODER.decode(text)
    except msgspec.ValidationError:
        return RowError("", gettext_noop("This is not an object."))
    except (msgspec.DecodeError, RecursionError):
        return RowError("", gettext_noop("This is not JSON."))


def read_records(
    title: str,
    records: Callable[[], Iterator[NumberedRecord]],
    position: Callable[[], float],
    copier: RecordCopier,
) -> ListReader:
    """Return the list of the records, which `records` gives from the start at each call.

    Another system's export is recognised by its first record and translated to our columns.
    Raises UnreadableFile.
    """

    def listed() -> Iterator[NumberedRecord]:
        return filter(_is_of_list, records())

    # Broken records say nothing about the format.
    first = next((record for _, record in listed() if isinstance(record, dict)), {})
    foreign = next((each for each in EXPORT_FORMATS if each.fits(decode_values(first))), None)
    if foreign:
        return read_export(foreign, title, listed(), position, copier)
    spread = spread_path(listed())
    if spread:

        def flat() -> Iterator[NumberedRecord]:
            spread_out = (each for _, record in listed() for each in spread_record(record, spread))
            return enumerate(spread_out, start=1)

    else:

        def flat() -> Iterator[NumberedRecord]:
            return ((number, flat_record(record)) for number, record in listed())

    fields = _field_names(flat())
    header = column_names_in(fields, row=None)
    return ListReader(
        title, header, fitting_rows(header, _place_cells(fields, flat())), position, copier
    )


def _is_of_list(numbered: NumberedRecord) -> bool:
    """Return False for an object that only tells what is wrong with the item after it."""
    record = numbered[1]
    return not (isinstance(record, dict) and record and all(map(is_error_column, record)))


def read_export(
    foreign: ExportFormat,
    title: str,
    records: Iterable[NumberedRecord],
    position: Callable[[], float],
    copier: RecordCopier,
) -> ListReader:
    """Return the list of another system's export, with one row a credential."""
    left_out: Counter[str] = Counter()
    rows = enumerate(_translate_records(foreign, records, left_out), start=1)
    numbered = number_equal_names(rows, foreign.header)
    return ListReader(
        f"{foreign.title}, {title}",
        foreign.header,
        fitting_rows(foreign.header, numbered),
        position,
        copier,
        left_out,
    )


def decode_values(record: dict[str, Any]) -> dict[str, Any]:
    """Decode the values that are still raw."""
    return {
        name: msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
        for name, value in record.items()
    }


def _translate_records(
    foreign: ExportFormat, records: Iterable[NumberedRecord], left_out: Counter[str]
) -> Iterator[RowCells | RowError]:
    key = foreign.header.index("key")
    for _, record in records:
        if isinstance(record, RowError):
            yield record
        elif not foreign.fits(full := decode_values(record)):
            yield RowError("", f"This is not an export of {foreign.title}.")
        else:
            left_out.update(foreign.left_out(full))
            for row in foreign.rows(full):
                # revcred would generate a key for it, which its callers would not send.
                keyless = not isinstance(row, RowError) and not row[key]
                yield RowError("key", gettext_noop("It has no key.")) if keyless else row


def _field_names(records: Iterable[NumberedRecord]) -> list[str]:
    """Return the names of all fields in the order of their first appearance."""
    fields: dict[str, None] = {}
    some_unreadable = False
    for number, record in records:
        some_unreadable = some_unreadable or isinstance(record, RowError)
        # Most records have no new fields, and the comparison is fast.
        if isinstance(record, dict) and not record.keys() <= fields.keys():
            fields |= dict.fromkeys(record)
        if len(fields) > MAX_COLUMNS:
            raise UnreadableFile(
                f"There are more than {MAX_COLUMNS} fields up to here.", row=number
            )
    if not fields:
        raise UnreadableFile(
            gettext_noop("No object can be read.")
            if some_unreadable
            else gettext_noop("The file is empty.")
        )
    if not all(field.strip() for field in fields):
        raise UnreadableFile(gettext_noop("There is a field without a name."))
    return list(fields)


def _place_cells(fields: list[str], records: Iterable[NumberedRecord]) -> Iterator[NumberedRow]:
    for number, record in records:
        yield number, record if isinstance(record, RowError) else _row_of_record(fields, record)


def _row_of_record(fields: list[str], record: dict[str, Any]) -> RowCells | RowError:
    cells = []
    for field in fields:
        value = record.get(field)
        try:
            cells.append(value if isinstance(value, str) else _cell_text(value))
        except (msgspec.DecodeError, RecursionError):
            return RowError(field.strip(), gettext_noop("This is not JSON."))
        except SeparatorInValue:
            return RowError(
                field.strip(), f"One of several values may not contain {VALUE_SEPARATOR}."
            )
    return cells


def _cell_text(value: Any) -> str:
    """Return a value as a person would write it into a cell.

    Raises SeparatorInValue, DecodeError.
    """
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return _join_values(value)
        case msgspec.Raw():
            return _raw_cell_text(bytes(value))
        case _:
            return str(value)


def _raw_cell_text(value: bytes) -> str:
    # By the first byte of JSON: text, list, null, and numbers and objects as they were written.
    match value[:1]:
        case b'"':
            return TEXT_DECODER.decode(value)
        case b"[":
            return _join_values([_cell_text(each) for each in RAW_VALUES_DECODER.decode(value)])
        case b"n":
            return ""
        case _:
            return value.decode()


def _join_values(values: list[str]) -> str:
    # The cell would come apart into other values than went in.
    if any(VALUE_SEPARATOR in each for each in values):
        raise SeparatorInValue
    return VALUE_SEPARATOR.join(values)
