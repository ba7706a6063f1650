"""Usage as a chart and as the table below it."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce

from metering.ledger.daily_usage import ScopedUsage
from metering.models.transactions import QuarantinedQuerySet
from metering.models.usage import CALLS_ELEMENT, OTHERS, UsageParty, usage_party_names
from revcred.models import Credential, Subscription
from storefront.uncounted import uncounted_over_time
from storefront.windows import CalendarSpan, DateRange

# More colours than these cannot be told apart in a chart.
MAX_SERIES = 6
COLOUR_OF_REST = MAX_SERIES + 1
PARTY_MODELS: dict[UsageParty, type[Credential] | type[Subscription]] = {
    "credential": Credential,
    "subscription": Subscription,
}

AmountByStart = dict[datetime, Decimal]


@dataclass(frozen=True)
class UsageSeries:
    """Usage of one party: its name, the total, and the amount of each hour or day.

    `colour`: from 1 to MAX_SERIES, or COLOUR_OF_REST.
    """

    name: str
    total: Decimal
    amounts: list[Decimal]
    colour: int


@dataclass(frozen=True)
class UsageChart:
    """Usage in a date range, of one element, by party.

    `elements`: total of each element in the range. `starts`: beginnings of the hours or days up to
    now. `uncounted`: what waits in quarantine, which is in no total.
    """

    window: DateRange
    element: str
    elements: dict[str, Decimal]
    starts: list[datetime]
    series: list[UsageSeries]
    uncounted: UsageSeries | None = None

    @property
    def total(self) -> Decimal:
        """Return the total of the chosen element."""
        return self.elements.get(self.element, Decimal(0))

    @property
    def rows(self) -> list[tuple[datetime, list[Decimal], Decimal, Decimal]]:
        """Return a row for each hour or day.

        It holds its start, the amount of each party, their sum, and what is not counted.
        """
        rows = []
        for place, start in enumerate(self.starts):
            amounts = [one_series.amounts[place] for one_series in self.series]
            waiting = self.uncounted.amounts[place] if self.uncounted else Decimal(0)
            rows.append((start, amounts, sum(amounts, Decimal(0)), waiting))
        return rows

    @property
    def by_hour(self) -> bool:
        """Return True if the chart has a bar for each hour, not each day."""
        return self.window.span is CalendarSpan.DAY

    @property
    def chart(self) -> dict[str, Any]:
        """Return the data for the browser; hours and days to come stay empty."""
        # None leaves a gap, where 0 would draw a bar of no height and suggest no usage.
        to_come = [None] * (len(self.window.starts) - len(self.starts))
        shown = [*self.series, *filter(None, [self.uncounted])]
        return {
            "starts": [int(start.timestamp()) for start in self.window.starts],
            "byHour": self.by_hour,
            "series": [[float(amount) for amount in s.amounts] + to_come for s in shown],
        }


def build_usage_chart(
    usage: ScopedUsage,
    uncounted: QuarantinedQuerySet,
    window: DateRange,
    *,
    party: UsageParty,
    element: str | None,
    now: datetime,
) -> UsageChart:
    """Return the usage of one element, by party. `usage`: that of the range, in its steps.

    `element`: None chooses one that was used. Parties beyond MAX_SERIES are summed up as others.
    `uncounted`: calls that become a series of their own.
    """
    shares = usage.by_element_and_party(party)
    elements = {name: sum(used.values(), Decimal(0)) for name, used in shares.items()}
    element = element or _default_element(elements)
    leading = _largest_parties(shares.get(element, {}))
    amounts: dict[int, AmountByStart] = defaultdict(dict)
    for start, number, amount in usage.over_time(party, element=element, told_apart=leading):
        amounts[number][start] = amount
    named = usage_party_names(party, leading)
    names = {number: named.get(number, f"Without a {party}") for number in leading}
    # The database sums up the remaining parties, so that a thousand do not reach Python.
    if OTHERS in amounts:
        names[OTHERS] = f"Other {party}s"
    colours = _colours(party, named)
    waiting = uncounted_over_time(
        uncounted, element=element, start=window.start, end=window.end, step=window.step
    )
    # The clock of a gateway may be ahead of ours: show what it has counted all the same.
    latest = max([now, *waiting, *(start for each in amounts.values() for start in each)])
    starts = [start for start in window.starts if start <= latest]
    return UsageChart(
        window=window,
        element=element,
        elements=elements,
        starts=starts,
        series=[
            _build_series(name, amounts[number], starts, colours.get(number, COLOUR_OF_REST))
            for number, name in names.items()
        ],
        uncounted=_build_series("Not counted", waiting, starts, 0) if waiting else None,
    )


def _colours(party: UsageParty, numbers: Collection[int]) -> dict[int, int]:
    """Return the colour of each party by its place among those of its customer.

    So it keeps its colour in every window, for every person and every element. Only where two that
    are shown together would have the same one, the younger gets the next that is free.
    """
    model: Any = PARTY_MODELS[party]
    older = model.objects.filter(customer=OuterRef("customer"), pk__lt=OuterRef("pk")).order_by()
    count = older.values("customer").values_list(Count("pk"))
    places = (
        model.objects.filter(pk__in=numbers)
        .annotate(place=Coalesce(Subquery(count), 0))
        .order_by("pk")
        .values_list("pk", "place")
    )
    colours: dict[int, int] = {}
    for number, place in places:
        wanted = [(place + shift) % MAX_SERIES + 1 for shift in range(MAX_SERIES)]
        free = [colour for colour in wanted if colour not in colours.values()]
        colours[number] = next(iter(free), COLOUR_OF_REST)
    return colours


def _build_series(
    name: str, amounts: AmountByStart, starts: list[datetime], colour: int
) -> UsageSeries:
    listed = [amounts.get(start, Decimal(0)) for start in starts]
    return UsageSeries(name, sum(listed, Decimal(0)), listed, colour)


def _largest_parties(shares: dict[int, Decimal]) -> list[int]:
    """Return the ids of the parties that used most, at most MAX_SERIES."""
    # The id decides between equal amounts, so that colours do not change on reload.
    return sorted(shares, key=lambda number: (-shares[number], number))[:MAX_SERIES]


def _default_element(elements: dict[str, Decimal]) -> str:
    """Return calls if any were counted, or else the first element by name."""
    return CALLS_ELEMENT if CALLS_ELEMENT in elements or not elements else min(elements)
