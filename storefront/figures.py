"""The figures of usage that a page draws as a chart and writes out as a table."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from metering.models.usage import (
    CALLS_ELEMENT,
    OTHERS,
    UsageParty,
    UsageQuerySet,
    usage_party_names,
)
from storefront.windows import CalendarSpan, DateRange

MAX_SERIES = 6

AmountByStart = dict[datetime, Decimal]


@dataclass(frozen=True)
class UsageSeries:
    """What one party used: the whole, and how much in each hour or day."""

    name: str
    total: Decimal
    amounts: list[Decimal]


@dataclass(frozen=True)
class UsageChart:
    window: DateRange
    element: str
    elements: dict[str, Decimal]
    starts: list[datetime]
    series: list[UsageSeries]

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
        return self.window.span is CalendarSpan.DAY

    @property
    def chart(self) -> dict[str, Any]:
        """What the browser draws: every hour or day of the window, those to come left empty."""
        to_come = [None] * (len(self.window.starts) - len(self.starts))
        return {
            "starts": [int(start.timestamp()) for start in self.window.starts],
            "byHour": self.by_hour,
            "series": [[float(each) for each in s.amounts] + to_come for s in self.series],
        }


def build_usage_chart(
    usage: UsageQuerySet,
    window: DateRange,
    *,
    party: UsageParty,
    element: str | None,
    now: datetime,
) -> UsageChart:
    """How much of one element was used in the window, by whom, and what else was counted."""
    usage = usage.between(window.start, window.end)
    shares = usage.shares(party)
    elements = {name: sum(used.values(), Decimal(0)) for name, used in shares.items()}
    element = element or _default_element(elements)
    leading = _largest_parties(shares.get(element, {}))
    amounts: dict[int, AmountByStart] = defaultdict(dict)
    of_element = usage.filter(element=element)
    for start, number, amount in of_element.over_time(window.step, party, told_apart=leading):
        amounts[number][start] = amount
    named = usage_party_names(party, leading)
    names = {number: named.get(number, f"Without a {party}") for number in leading}
    if OTHERS in amounts:
        names[OTHERS] = f"Other {party}s"
    # A gateway's clock may be ahead of ours: what it has counted already is shown already.
    latest = max([now, *(start for each in amounts.values() for start in each)])
    starts = [start for start in window.starts if start <= latest]
    return UsageChart(
        window=window,
        element=element,
        elements=elements,
        starts=starts,
        series=[_build_series(name, amounts[number], starts) for number, name in names.items()],
    )


def _build_series(name: str, amounts: AmountByStart, starts: list[datetime]) -> UsageSeries:
    listed = [amounts.get(start, Decimal(0)) for start in starts]
    return UsageSeries(name, sum(listed, Decimal(0)), listed)


def _largest_parties(shares: dict[int, Decimal]) -> list[int]:
    return sorted(shares, key=lambda number: (-shares[number], number))[:MAX_SERIES]


def _default_element(elements: dict[str, Decimal]) -> str:
    """Calls where those were counted, or else what there is."""
    return CALLS_ELEMENT if CALLS_ELEMENT in elements or not elements else min(elements)
