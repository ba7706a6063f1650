"""Usage as charts and as the tables below them."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext, gettext_noop

from metering.ledger.daily_usage import ScopedUsage
from metering.models.transactions import QuarantinedQuerySet
from metering.models.usage import CALLS_ELEMENT, OTHERS, UsageParty
from revcred.models import Credential, Gateway, Subscription
from storefront.uncounted import uncounted_over_time
from storefront.windows import DateRange

# More colours than these cannot be told apart in a chart.
MAX_SERIES = 6
COLOUR_OF_REST = MAX_SERIES + 1
MAX_ELEMENTS_DRAWN = 6  # each has a chart of its own
UNCOUNTED_NAME, EARLIER_NAME, REST_NAME = "uncounted", "before", "others"  # in addresses

PARTY_MODELS: dict[str, type[Credential] | type[Subscription] | type[Gateway]] = {
    "credential": Credential,
    "subscription": Subscription,
    "gateway": Gateway,
}

# The names of series of what has no such party, and of all further parties.
WITHOUT_PARTY = {
    "credential": gettext_noop("Without a credential"),
    "subscription": gettext_noop("Without a subscription"),
    "gateway": gettext_noop("Without a gateway"),
}
OTHER_PARTIES = {
    "credential": gettext_noop("Other credentials"),
    "subscription": gettext_noop("Other subscriptions"),
    "gateway": gettext_noop("Other gateways"),
}

AmountByStart = dict[datetime, Decimal]


class PartyUsage(Protocol):
    """Usage of a date range by credential, subscription or gateway."""

    def shares(self) -> dict[str, dict[int, Decimal]]:
        """Return the quantity of each party's id, by element."""

    def over_time(
        self, element: str, told_apart: Collection[int]
    ) -> Iterable[tuple[datetime, int, Decimal]]:
        """Return rows of start, party's id, and quantity. Others than `told_apart` are OTHERS."""


@dataclass(frozen=True)
class UsageByOwner:
    """Usage by credential or subscription, from the sums of hours and days."""

    usage: ScopedUsage
    party: UsageParty

    def shares(self) -> dict[str, dict[int, Decimal]]:
        return self.usage.by_element_and_party(self.party)

    def over_time(
        self, element: str, told_apart: Collection[int]
    ) -> Iterable[tuple[datetime, int, Decimal]]:
        return self.usage.over_time(self.party, element=element, told_apart=told_apart)


@dataclass(frozen=True)
class UsageByGateway:
    """Usage by gateway. `sums`: rows of start, gateway's id, element and quantity."""

    sums: Sequence[tuple[datetime, int, str, Decimal]]

    def shares(self) -> dict[str, dict[int, Decimal]]:
        shares: dict[str, dict[int, Decimal]] = {}
        for _, gateway, element, quantity in self.sums:
            of_element = shares.setdefault(element, defaultdict(Decimal))
            of_element[gateway] += quantity
        return shares

    def over_time(
        self, element: str, told_apart: Collection[int]
    ) -> Iterable[tuple[datetime, int, Decimal]]:
        amounts: dict[tuple[datetime, int], Decimal] = defaultdict(Decimal)
        for start, gateway, name, quantity in self.sums:
            if name == element:
                amounts[start, gateway if gateway in told_apart else OTHERS] += quantity
        return [(start, number, amount) for (start, number), amount in amounts.items()]


@dataclass(frozen=True)
class UsageSeries:
    """Usage of one party: its name, the total, and the amount of each step.

    `colour`: from 1 to MAX_SERIES, or COLOUR_OF_REST. `key`: its name in addresses. `is_shown`:
    False if somebody switched it off.
    """

    name: str
    total: Decimal
    amounts: list[Decimal]
    colour: int
    key: str
    is_shown: bool = True


@dataclass(frozen=True)
class EarlierUsage:
    """Usage of the range before, of the same series, to compare with.

    `amounts`: of its steps, beside those of the range at the same place. `total_before` and
    `total_now`: of the first `steps` of both ranges, which are over.
    """

    window: DateRange
    amounts: list[Decimal]
    steps: int
    total_before: Decimal
    total_now: Decimal
    is_shown: bool

    @property
    def change_percent(self) -> int | None:
        """Return by how many percent usage has grown; None if there was none before."""
        if not self.total_before:
            return None
        return round(100 * (self.total_now - self.total_before) / self.total_before)

    @property
    def total(self) -> Decimal:
        return sum(self.amounts, Decimal(0))


@dataclass(frozen=True)
class UsageRow:
    """A row of the table: one step, with the amounts of the series that are shown."""

    start: datetime
    amounts: list[Decimal]
    total: Decimal
    uncounted: Decimal
    earlier: Decimal | None
    is_unfinished: bool


@dataclass(frozen=True)
class UsageChart:
    """Usage of one element in a date range, by party.

    `elements`: total of each element in the range. `starts`: beginnings of the steps up to now.
    `uncounted`: what waits in quarantine, which is in no total. `unfinished`: the step that now is
    in, by its place.
    """

    window: DateRange
    element: str
    elements: dict[str, Decimal]
    starts: list[datetime]
    series: list[UsageSeries]
    uncounted: UsageSeries | None = None
    earlier: EarlierUsage | None = None
    unfinished: int | None = None

    @property
    def shown(self) -> list[UsageSeries]:
        """Return the counted series that are switched on."""
        return [series for series in self.series if series.is_shown]

    @property
    def is_whole(self) -> bool:
        """Return True if every counted series is switched on."""
        return all(series.is_shown for series in self.series)

    @property
    def total(self) -> Decimal:
        """Return the total of the series that are shown."""
        return sum((series.total for series in self.shown), Decimal(0))

    @property
    def shows_uncounted(self) -> bool:
        return self.uncounted is not None and self.uncounted.is_shown

    @property
    def shows_earlier(self) -> bool:
        return self.earlier is not None and self.earlier.is_shown

    @property
    def rows(self) -> list[UsageRow]:
        """Return a row for each step up to now."""
        before = self.earlier.amounts if self.earlier else []
        rows = []
        for place, start in enumerate(self.starts):
            amounts = [series.amounts[place] for series in self.shown]
            rows.append(
                UsageRow(
                    start=start,
                    amounts=amounts,
                    total=sum(amounts, Decimal(0)),
                    uncounted=self.uncounted.amounts[place] if self.uncounted else Decimal(0),
                    earlier=before[place] if place < len(before) else None,
                    is_unfinished=place == self.unfinished,
                )
            )
        return rows

    @property
    def chart(self) -> dict[str, Any]:
        """Return the data for the browser; steps to come stay empty."""
        steps = len(self.window.starts)
        shown = self.shown
        if self.uncounted and self.uncounted.is_shown:
            shown = [*shown, self.uncounted]
        before = self.earlier.amounts[:steps] if self.earlier and self.shows_earlier else None
        return {
            "starts": [int(start.timestamp()) for start in self.window.starts],
            "step": self.window.step.value,
            "element": self.element,
            "unfinished": self.unfinished,
            "series": [_padded(series.amounts, steps) for series in shown],
            "before": None if before is None else _padded(before, steps),
        }


@dataclass(frozen=True, kw_only=True)
class ChartChoice:
    """What somebody chose to see: an element (None for the usual one), and what is switched off."""

    element: str | None = None
    off: frozenset[str] = field(default_factory=frozenset)


def build_usage_chart(
    usage_in: Callable[[DateRange], PartyUsage],
    uncounted: QuarantinedQuerySet,
    window: DateRange,
    *,
    party: str,
    choice: ChartChoice,
    now: datetime,
) -> UsageChart:
    """Return the usage of one element, by party. `usage_in` returns the usage of a date range.

    Parties beyond MAX_SERIES are summed up as others. `uncounted`: calls that become a series of
    their own.
    """
    usage = usage_in(window)
    shares = usage.shares()
    elements = {name: sum(used.values(), Decimal(0)) for name, used in shares.items()}
    element = choice.element or _default_element(elements)
    leading = _largest_parties(shares.get(element, {}))
    amounts: dict[int, AmountByStart] = defaultdict(dict)
    for start, number, amount in usage.over_time(element, leading):
        amounts[number][start] = amount
    named = {
        number: str(each) for number, each in PARTY_MODELS[party].objects.in_bulk(leading).items()
    }
    names = {number: named.get(number, gettext(WITHOUT_PARTY[party])) for number in leading}
    # The database sums up the remaining parties, so that a thousand do not reach Python.
    if OTHERS in amounts:
        names[OTHERS] = gettext(OTHER_PARTIES[party])
    colours = _colours(party, named)
    waiting = uncounted_over_time(uncounted, window, element=element)
    starts = _starts_up_to(now, window, [waiting, *amounts.values()])
    series = [
        _build_series(
            name,
            amounts[number],
            starts,
            colour=colours.get(number, COLOUR_OF_REST),
            key=_series_key(number),
            off=choice.off,
        )
        for number, name in names.items()
    ]
    before: AmountByStart = defaultdict(Decimal)
    if names:
        for start, number, amount in usage_in(window.before).over_time(element, leading):
            if _series_key(number) not in choice.off:
                before[start] += amount
    return UsageChart(
        window=window,
        element=element,
        elements=elements,
        starts=starts,
        series=series,
        uncounted=_uncounted_series(waiting, starts, choice.off),
        earlier=_earlier(before, series, window, starts, off=choice.off, now=now),
        unfinished=_unfinished_step(window, now),
    )


def build_element_charts(
    elements_in: Callable[[DateRange], Iterable[tuple[str, datetime, Decimal]]],
    uncounted: QuarantinedQuerySet,
    window: DateRange,
    *,
    choice: ChartChoice,
    now: datetime,
) -> list[UsageChart]:
    """Return a chart of each element, calls first, at most MAX_ELEMENTS_DRAWN.

    Different elements have different units, so they share no axis. `elements_in` returns rows of
    element, start and quantity in a date range.
    """
    used, before = _by_element(elements_in(window)), _by_element(elements_in(window.before))
    totals = {name: sum(amounts.values(), Decimal(0)) for name, amounts in used.items()}
    charts = []
    for name in sorted(used, key=lambda each: (each != CALLS_ELEMENT, each))[:MAX_ELEMENTS_DRAWN]:
        waiting = uncounted_over_time(uncounted, window, element=name)
        starts = _starts_up_to(now, window, [waiting, used[name]])
        series = [_build_series(name, used[name], starts, colour=1, key=name, off=frozenset())]
        charts.append(
            UsageChart(
                window=window,
                element=name,
                elements=totals,
                starts=starts,
                series=series,
                uncounted=_uncounted_series(waiting, starts, choice.off),
                earlier=_earlier(
                    before.get(name, {}), series, window, starts, off=choice.off, now=now
                ),
                unfinished=_unfinished_step(window, now),
            )
        )
    return charts


def _by_element(rows: Iterable[tuple[str, datetime, Decimal]]) -> dict[str, AmountByStart]:
    found: dict[str, AmountByStart] = defaultdict(dict)
    for element, start, amount in rows:
        found[element][start] = amount
    return found


def _series_key(number: int) -> str:
    return REST_NAME if number == OTHERS else str(number)


def _starts_up_to(
    now: datetime, window: DateRange, amounts: Iterable[AmountByStart]
) -> list[datetime]:
    # The clock of a gateway may be ahead of ours: show what it has counted all the same.
    latest = max([now, *(start for each in amounts for start in each)])
    return [start for start in window.starts if start <= latest]


def _unfinished_step(window: DateRange, now: datetime) -> int | None:
    for place, (start, end) in enumerate(zip(window.starts, window.ends, strict=True)):
        if start <= now < end:
            return place
    return None


def _uncounted_series(
    waiting: AmountByStart, starts: list[datetime], off: Collection[str]
) -> UsageSeries | None:
    if not waiting:
        return None
    return _build_series(
        gettext("Not counted"), waiting, starts, colour=0, key=UNCOUNTED_NAME, off=off
    )


def _earlier(
    before: AmountByStart,
    series: list[UsageSeries],
    window: DateRange,
    starts: list[datetime],
    *,
    off: Collection[str],
    now: datetime,
) -> EarlierUsage | None:
    """Return the usage of the range before, unless there is nothing to compare with it."""
    earlier = window.before
    if not before and not series:
        return None
    amounts = [before.get(start, Decimal(0)) for start in earlier.starts]
    over = sum(end <= now for end in window.ends)
    # Ranges that are over are compared as a whole, though one month may be longer than another.
    compared = len(amounts) if over == len(window.starts) else min(over, len(amounts))
    shown_now = [
        sum((each.amounts[place] for each in series if each.is_shown), Decimal(0))
        for place in range(min(over, len(starts)))
    ]
    return EarlierUsage(
        window=earlier,
        amounts=amounts,
        steps=over,
        total_before=sum(amounts[:compared], Decimal(0)),
        total_now=sum(shown_now, Decimal(0)),
        is_shown=EARLIER_NAME not in off,
    )


def _colours(party: str, numbers: Collection[int]) -> dict[int, int]:
    """Return the colour of each party by its place among those of its customer.

    So it keeps its colour in every window, for every person and every element. Only where two that
    are shown together would have the same one, the younger gets the next that is free. Gateways
    have no customer: their place is among all of them.
    """
    colours: dict[int, int] = {}
    for number, place in _places(party, numbers):
        wanted = [(place + shift) % MAX_SERIES + 1 for shift in range(MAX_SERIES)]
        free = [colour for colour in wanted if colour not in colours.values()]
        colours[number] = next(iter(free), COLOUR_OF_REST)
    return colours


def _places(party: str, numbers: Collection[int]) -> Iterable[tuple[int, int]]:
    """Return each id with its place, the oldest first."""
    model: Any = PARTY_MODELS[party]
    if model is Gateway:
        every = Gateway.objects.order_by("pk").values_list("pk", flat=True)
        return [(number, place) for place, number in enumerate(every) if number in numbers]
    older = model.objects.filter(customer=OuterRef("customer"), pk__lt=OuterRef("pk")).order_by()
    count = older.values("customer").values_list(Count("pk"))
    found: Iterable[tuple[int, int]] = (
        model.objects.filter(pk__in=numbers)
        .annotate(place=Coalesce(Subquery(count), 0))
        .order_by("pk")
        .values_list("pk", "place")
    )
    return found


def _build_series(
    name: str,
    amounts: AmountByStart,
    starts: list[datetime],
    *,
    colour: int,
    key: str,
    off: Collection[str],
) -> UsageSeries:
    listed = [amounts.get(start, Decimal(0)) for start in starts]
    return UsageSeries(name, sum(listed, Decimal(0)), listed, colour, key, key not in off)


def _padded(amounts: list[Decimal], steps: int) -> list[float | None]:
    # None leaves a gap, where 0 would draw a bar of no height and suggest no usage.
    return [*(float(amount) for amount in amounts), *[None] * (steps - len(amounts))]


def _largest_parties(shares: dict[int, Decimal]) -> list[int]:
    """Return the ids of the parties that used most, at most MAX_SERIES."""
    # The id decides between equal amounts, so that colours do not change on reload.
    return sorted(shares, key=lambda number: (-shares[number], number))[:MAX_SERIES]


def _default_element(elements: dict[str, Decimal]) -> str:
    """Return calls if any were counted, or else the first element by name."""
    return CALLS_ELEMENT if CALLS_ELEMENT in elements or not elements else min(elements)
