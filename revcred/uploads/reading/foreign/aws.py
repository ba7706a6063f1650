"""AWS API Gateway: its file of API keys, also with added columns, and its answers in JSON.

https://docs.aws.amazon.com/apigateway/latest/developerguide/api-key-file-format.html
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from django.utils.translation import gettext_noop

from revcred.uploads.columns import VALUE_SEPARATOR
from revcred.uploads.reading.foreign.export_format import (
    ExportFormat,
    join_texts,
    list_value,
    number_equal_names,
    text_value,
)
from revcred.uploads.reading.list_reader import ListReader, NumberedRow, RowCells, RowError

PLANS_COLUMN = "usageplanids"
ENABLED_COLUMN = "enabled"
JSON_FIELDS = frozenset({"enabled", "stageKeys", "createdDate", "lastUpdatedDate", "type"})


def is_aws_header(header: list[str]) -> bool:
    names = {name.lower() for name in header}
    # Its other columns tell it from any other file with names and keys.
    return {"name", "key"} <= names and (
        PLANS_COLUMN in names
        or (names <= {"name", "key", "description", ENABLED_COLUMN} and ENABLED_COLUMN in names)
    )


def translate_aws(read: ListReader) -> ListReader:
    """Rename usage plans to plans, and number equal names: at AWS, many keys may have one."""
    lower = [name.lower() for name in read.header]
    plans = lower.index(PLANS_COLUMN) if PLANS_COLUMN in lower else None
    header = ["plan" if at == plans else name for at, name in enumerate(read.header)]

    def rows() -> Iterator[NumberedRow]:
        for number, row in read.rows:
            if plans is not None and not isinstance(row, RowError):
                row[plans] = row[plans].replace(",", VALUE_SEPARATOR)
            yield number, row

    return replace(
        read,
        file_format=f"AWS API Gateway, {read.file_format}",
        header=header,
        rows=number_equal_names(rows(), [name.lower() for name in header]),
    )


def _is_key(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and {"id", "name"} <= item.keys()
        and ("value" in item or "stageKeys" in item)
        and bool(JSON_FIELDS & item.keys())
    )


def _rows_of_key(item: dict[str, Any]) -> Iterator[RowCells | RowError]:
    if not item.get("value"):
        yield RowError(
            "key", gettext_noop("The key is not in the export. Export again with --include-values.")
        )
        return
    yield [
        text_value(item.get("name")) or text_value(item.get("id")),
        text_value(item["value"]),
        text_value(item.get("enabled")),
        # Such as a1b2c3/prod: the API and its stage.
        join_texts(
            each.rpartition("/")[2]
            for each in list_value(item.get("stageKeys"))[:1]
            if isinstance(each, str)
        ),
        text_value(item.get("createdDate")),
    ]


AWS_EXPORT = ExportFormat(
    "AWS API Gateway",
    ["name", "key", "state", "environment", "key_active_from"],
    _is_key,
    _rows_of_key,
)
