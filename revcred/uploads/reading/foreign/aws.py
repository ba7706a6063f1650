"""AWS API Gateway: its file of API keys, also with added columns."""

from collections.abc import Iterator
from dataclasses import replace

from revcred.uploads.columns import VALUE_SEPARATOR
from revcred.uploads.reading.list_reader import ListReader, NumberedRow, RowError

PLANS_COLUMN = "usageplanids"
ENABLED_COLUMN = "enabled"


def is_aws_header(header: list[str]) -> bool:
    names = {name.lower() for name in header}
    # Its other columns tell it from any other file with names and keys.
    return {"name", "key"} <= names and bool({PLANS_COLUMN, ENABLED_COLUMN} & names)


def translate_aws(read: ListReader) -> ListReader:
    """Translate usage plans to subscriptions; a key that is switched off becomes a RowError."""
    header = [name.lower() for name in read.header]
    kept = [position for position, name in enumerate(header) if name != ENABLED_COLUMN]
    plans = header.index(PLANS_COLUMN) if PLANS_COLUMN in header else None
    enabled = header.index(ENABLED_COLUMN) if ENABLED_COLUMN in header else None

    def rows() -> Iterator[NumberedRow]:
        for number, row in read.rows:
            if isinstance(row, RowError):
                yield number, row
            elif enabled is not None and row[enabled].strip().lower() == "false":
                yield number, RowError(ENABLED_COLUMN, "It is switched off at AWS.")
            else:
                if plans is not None:
                    row[plans] = row[plans].replace(",", VALUE_SEPARATOR)
                yield number, [row[position] for position in kept]

    return replace(
        read,
        file_format=f"AWS API Gateway, {read.file_format}",
        header=["subscription" if at == plans else read.header[at] for at in kept],
        rows=rows(),
    )
