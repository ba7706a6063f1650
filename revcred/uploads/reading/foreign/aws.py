"""AWS API Gateway: the file of API keys that it imports, with whatever columns were added to it."""

from collections.abc import Iterator
from dataclasses import replace

from revcred.uploads.columns import SEPARATOR
from revcred.uploads.reading.lists import List, Row, RowError

PLANS = "usageplanids"
ENABLED = "enabled"


def fits(header: list[str]) -> bool:
    names = {name.lower() for name in header}
    return {"name", "key"} <= names and bool({PLANS, ENABLED} & names)


def translated(read: List) -> List:
    """Usage plans as subscriptions; a key that is switched off is refused."""
    header = [name.lower() for name in read.header]
    kept = [position for position, name in enumerate(header) if name != ENABLED]
    plans = header.index(PLANS) if PLANS in header else None
    enabled = header.index(ENABLED) if ENABLED in header else None

    def rows() -> Iterator[Row]:
        for number, row in read.rows:
            if isinstance(row, RowError):
                yield number, row
            elif enabled is not None and row[enabled].strip().lower() == "false":
                yield number, RowError(ENABLED, "It is switched off at AWS.")
            else:
                if plans is not None:
                    row[plans] = row[plans].replace(",", SEPARATOR)
                yield number, [row[position] for position in kept]

    return replace(
        read,
        shape=f"AWS API Gateway, {read.shape}",
        header=["subscription" if at == plans else read.header[at] for at in kept],
        rows=rows(),
    )
