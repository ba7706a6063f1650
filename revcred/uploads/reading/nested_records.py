"""Nested records: objects become columns with dotted names, a list of objects becomes rows."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from revcred.uploads.reading.list_reader import MAX_COLUMNS, RowError

MAX_NESTING = 5  # of objects whose fields become columns
# These stay as they are written: a column of metadata takes them.
KEPT_WHOLE = frozenset({"metadata", "meta", "meta_data"})

RAW_OBJECT_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
RAW_LIST_DECODER = msgspec.json.Decoder(list[msgspec.Raw])


def spread_path(records: Iterable[tuple[int, dict[str, Any] | RowError]]) -> str:
    """Return the field whose list of objects becomes rows, or "" if no record has one.

    Where several fields hold such lists, it is the first: the others stay in their cells.
    """
    for _, record in records:
        if isinstance(record, RowError):
            continue
        for name, value in flat_record(record).items():
            if isinstance(value, msgspec.Raw) and _is_object_list(bytes(value)):
                return str(name)
    return ""


def spread_record(
    record: dict[str, Any] | RowError, path: str
) -> Iterator[dict[str, Any] | RowError]:
    """Give a record for each object in the list at `path`, with the fields beside it."""
    flat = flat_record(record)
    if isinstance(flat, RowError):
        yield flat
        return
    listed = flat.pop(path, None)
    if not isinstance(listed, msgspec.Raw) or not _is_object_list(bytes(listed)):
        # It has no such list, or an empty one: it is a row by itself.
        yield flat
        return
    for item in RAW_LIST_DECODER.decode(listed):
        try:
            fields = RAW_OBJECT_DECODER.decode(item)
        except msgspec.DecodeError:
            yield RowError("", f"One of several in “{path[:40]}” is no object.")
            continue
        yield flat | _flattened(fields, f"{path}.", MAX_NESTING)


def flat_record(record: Any) -> Any:
    """Return the record with dotted names for fields of objects in it; errors as they are.

    A record that would have too many columns stays as it is.
    """
    if isinstance(record, RowError):
        return record
    if not any(isinstance(value, msgspec.Raw) for value in record.values()):
        return dict(record)
    flat = _flattened(record, "", MAX_NESTING)
    return flat if len(flat) <= MAX_COLUMNS else dict(record)


def _flattened(fields: dict[str, Any], before: str, depth: int) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        text = bytes(value) if isinstance(value, msgspec.Raw) else b""
        if text[:1] == b"{" and depth and name.lower() not in KEPT_WHOLE and text != b"{}":
            try:
                inner = RAW_OBJECT_DECODER.decode(value)
            except (msgspec.DecodeError, RecursionError):
                flat[before + name] = value
            else:
                flat |= _flattened(inner, f"{before}{name}.", depth - 1)
        else:
            flat[before + name] = value
    return flat


def _is_object_list(text: bytes) -> bool:
    return text[:1] == b"[" and text[1:].lstrip()[:1] == b"{"
