"""The figures of usage that a page draws as a chart and writes out as a table."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from metering.models.usage import CALLS, OTHERS, Party, UsageQuerySet, names_of
from storefront.windows import Span, Window

TOLD_APART = 6

Amounts = dict[datetime, Decimal]


@dataclass(frozen=True)
class Series:
    """What one party used: the whole, and how much in each hour or day."""

    name: str
    total: Decimal
    amounts: list[Decimal]


@dataclass(frozen=True)
class Figures:
    window: Window
    element: str
    elements: dict[str, Decimal]
    starts: list[datetime]
    series: list[Series]

    @property
    def total(self) -> Decimal:
        return self.elements.get(self.element, Decimal(0))

    @property
    def rows(self) -> list[tuple[datetime, list[Decimal], Decimal]]:
        """An hour or a day each: when, how much each party used, and all of them together."""
        columns = zip(*(each.amounts for each in self.series), strict=True)
        return [
            (start, list(row), sum(row, Decimal(0)))
            for start, row in zip(self.starts, columns, strict=True)
        ]

    @property
    def by_hour(self) -> bool:
        return self.window.span is Span.DAY

    @property
    def chart(self) -> dict[str, Any]:
        """What the browser draws: every hour or day of the window, those to come left empty."""
        to_come = [None] * (len(self.window.starts) - len(self.starts))
        return {
            "starts": [int(start.timestamp()) for start in self.window.starts],
            "byHour": self.by_hour,
            "series": [[float(each) for each in s.amounts] + to_come for s in self.series],
        }


def figures(
    usage: UsageQuerySet, window: Window, *, party: Party, element: str | None, now: datetime
) -> Figures:
    """How much of one element was used in the window, by whom, and what else was counted."""
    usage = usage.between(window.start, window.end)
    shares = usage.shares(party)
    elements = {name: sum(used.values(), Decimal(0)) for name, used in shares.items()}
    element = element or _first_of(elements)
    leading = _largest(shares.get(element, {}))
    amounts: dict[int, Amounts] = defaultdict(dict)
    of_element = usage.filter(element=element)
    for start, number, amount in of_element.over_time(window.step, party, told_apart=leading):
        amounts[number][start] = amount
    named = names_of(party, leading)
    names = {number: named.get(number, f"Without a {party}") for number in leading}
    if OTHERS in amounts:
        names[OTHERS] = f"Other {party}s"
    # A gateway's clock may be ahead of ours: what it has counted already is shown already.
    latest = max([now, *(start for each in amounts.values() for start in each)])
    starts = [start for start in window.starts if start <= latest]
    return Figures(
        window=window,
        element=element,
        elements=elements,
        starts=starts,
        series=[_series(name, amounts[number], starts) for number, name in names.items()],
    )


def _series(name: str, amounts: Amounts, starts: list[datetime]) -> Series:
    listed = [amounts.get(start, Decimal(0)) for start in starts]
    return Series(name, sum(listed, Decimal(0)), listed)


def _largest(shares: dict[int, Decimal]) -> list[int]:
    return sorted(shares, key=lambda number: (-shares[number], number))[:TOLD_APART]


def _first_of(elements: dict[str, Decimal]) -> str:
    """Calls where those were counted, or else what there is."""
    return CALLS if CALLS in elements or not elements else min(elements)
