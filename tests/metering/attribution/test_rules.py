"""Rules of attribution, each with its cases. They need no database."""

from datetime import UTC, datetime, timedelta

import pytest

from metering.attribution.rules import (
    AttributedTo,
    CandidateSubscription,
    MatchingKey,
    NameHolder,
    SourceCoverage,
    verdict,
)
from metering.models import MatchedBy, QuarantineReason
from revcred.models import Subscription

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SOON = NOON + timedelta(milliseconds=400)  # in the second of a call that says NOON
LATER = NOON + timedelta(milliseconds=700)


def period(start=None, end=None):
    return Subscription(active_from=start or NOON - 24 * HOUR, active_until=end)


def key(*candidates, start=None, end=None, bound=False, kind="key", **moments):
    return MatchingKey(
        kind=kind, period=period(start, end), bound=bound, candidates=candidates, **moments
    )


def feeds(subscription="maps", *, assigned=(), active=(), **coverage):
    return CandidateSubscription(
        subscription=subscription,
        assigned=period(*assigned),
        active=period(*active),
        coverage=SourceCoverage(**coverage),
    )


def has(subscription="maps", *, active=(), until=None, since=None, **coverage):
    """Return a holder of the name in the call, or a former one, renamed at `since`."""
    return NameHolder(
        subscription=subscription,
        active=period(*active),
        coverage=SourceCoverage(**coverage),
        former_since=since,
        counts_until=until,
    )


def named(*holders, **facts):
    return {"named": True, "holders": holders, **facts}


def by_subscription(subscription="maps"):
    return AttributedTo(subscription, MatchedBy.SUBSCRIPTION)


def by_key(subscription="maps"):
    return AttributedTo(subscription, MatchedBy.KEY)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # 1. The key whose period holds the moment
        ({"keys": []}, QuarantineReason.UNKNOWN_KEY),
        ({"keys": [key(feeds())]}, by_key()),
        ({"keys": [key(feeds(), kind="alias")]}, AttributedTo("maps", MatchedBy.ALIAS)),
        ({"keys": [key(feeds(), start=NOON)]}, by_key()),
        ({"keys": [key(feeds(), start=NOON + HOUR)]}, QuarantineReason.KEY_NOT_VALID),
        ({"keys": [key(feeds(), end=NOON)]}, QuarantineReason.KEY_NOT_VALID),
        ({"keys": [key(feeds(), end=NOON + HOUR)]}, by_key()),
        ({"keys": [key(feeds(), revoked_at=NOON)]}, QuarantineReason.KEY_NOT_VALID),
        ({"keys": [key(feeds(), revoked_at=NOON + HOUR)]}, by_key()),
        ({"keys": [key(feeds(), expires_at=NOON)]}, QuarantineReason.KEY_NOT_VALID),
        ({"keys": [key(feeds(), expires_at=NOON + HOUR)]}, by_key()),
        ({"keys": [key(feeds(), suspensions=[period(NOON)])]}, QuarantineReason.KEY_NOT_VALID),
        ({"keys": [key(feeds(), suspensions=[period(end=NOON)])]}, by_key()),
        # … one bound to this gateway before one for any
        ({"keys": [key(feeds("any")), key(feeds("bound"), bound=True)]}, by_key("bound")),
        ({"keys": [key(feeds("any")), key(feeds("bound"), bound=True, end=NOON)]}, by_key("any")),
        (
            {"keys": [key(feeds("any")), key(feeds("bound"), bound=True, revoked_at=NOON)]},
            QuarantineReason.KEY_NOT_VALID,
        ),
        # … one that was handed on from one credential to another
        (
            {"keys": [key(feeds("old"), end=NOON), key(feeds("new"), start=NOON)]},
            by_key("new"),
        ),
        # 2. The assignments that hold it, with a subscription active then
        ({"keys": [key()]}, QuarantineReason.NO_SUBSCRIPTION),
        ({"keys": [key(feeds(assigned=(NOON + HOUR,)))]}, QuarantineReason.NO_SUBSCRIPTION),
        ({"keys": [key(feeds(assigned=(None, NOON)))]}, QuarantineReason.NO_SUBSCRIPTION),
        ({"keys": [key(feeds(active=(NOON + HOUR,)))]}, QuarantineReason.NO_SUBSCRIPTION),
        ({"keys": [key(feeds(active=(None, NOON)))]}, QuarantineReason.NO_SUBSCRIPTION),
        (
            {
                "keys": [
                    key(feeds("old", assigned=(None, NOON)), feeds("new", assigned=(NOON, None)))
                ]
            },
            by_key("new"),
        ),
        # 3. A subscription that is named, too
        (named(has("tiles"), keys=[key(feeds(), feeds("tiles"))]), by_key("tiles")),
        (named(has("tiles"), keys=[key(feeds())]), QuarantineReason.SUBSCRIPTION_MISMATCH),
        (named(keys=[key(feeds())]), QuarantineReason.SUBSCRIPTION_MISMATCH),
        (named(has("tiles"), keys=[key()]), QuarantineReason.NO_SUBSCRIPTION),
        # … by a name that it had before, until another took it
        (named(has(since=NOON), keys=[key(feeds())]), by_key()),
        (
            named(has(since=NOON, until=NOON), keys=[key(feeds())]),
            QuarantineReason.SUBSCRIPTION_MISMATCH,
        ),
        (named(has(since=NOON, until=NOON + HOUR), keys=[key(feeds())]), by_key()),
        (
            named(has(since=NOON), has("tiles"), keys=[key(feeds(), feeds("tiles"))]),
            by_key("tiles"),
        ),
        (
            named(has(since=NOON), has("tiles"), keys=[key(feeds())]),
            QuarantineReason.SUBSCRIPTION_MISMATCH,
        ),
        (
            named(
                has(since=NOON - HOUR),
                has("tiles", since=NOON),
                keys=[key(feeds(), feeds("tiles"))],
            ),
            by_key("tiles"),
        ),
        # 4. The source
        ({"keys": [key(feeds(sources=["a"]))], "source": "a"}, by_key()),
        ({"keys": [key(feeds(sources=["a"]))], "source": "b"}, QuarantineReason.NO_SUBSCRIPTION),
        ({"keys": [key(feeds(sources=[]))], "source": "b"}, by_key()),
        ({"keys": [key(feeds(sources=["a"]))]}, QuarantineReason.NO_SUBSCRIPTION),
        ({"keys": [key(feeds(sources=["a"], also_without_source=True))]}, by_key()),
        (
            {"keys": [key(feeds(sources=["a"], also_without_source=True))], "source": "b"},
            QuarantineReason.NO_SUBSCRIPTION,
        ),
        # … of a product whose last source has gone
        ({"keys": [key(feeds(restricted=True))], "source": "a"}, QuarantineReason.NO_SUBSCRIPTION),
        ({"keys": [key(feeds(restricted=True))]}, QuarantineReason.NO_SUBSCRIPTION),
        ({"keys": [key(feeds(restricted=True, also_without_source=True))]}, by_key()),
        (
            {"keys": [key(feeds(sources=["a"]), feeds("tiles", sources=["b"]))], "source": "b"},
            by_key("tiles"),
        ),
        ({"keys": [key(feeds(), feeds("tiles", sources=["b"]))]}, by_key()),
        (
            named(has(), keys=[key(feeds(sources=["a"]))], source="b"),
            QuarantineReason.NO_SUBSCRIPTION,
        ),
        # 5. Exactly one
        ({"keys": [key(feeds(), feeds("tiles"))]}, QuarantineReason.AMBIGUOUS),
        (
            {"keys": [key(feeds(), feeds("tiles", sources=["b"]))], "source": "b"},
            QuarantineReason.AMBIGUOUS,
        ),
        # 6. No key, but a subscription
        (named(has(), keyed=False), by_subscription()),
        (named(keyed=False), QuarantineReason.NO_SUBSCRIPTION),
        (named(has(active=(None, NOON)), keyed=False), QuarantineReason.NO_SUBSCRIPTION),
        (named(has(), keyed=False, source="b"), by_subscription()),
        # … whose product has sources
        (named(has(sources=["a"]), keyed=False, source="a"), by_subscription()),
        (named(has(sources=["a"]), keyed=False, source="b"), QuarantineReason.NO_SUBSCRIPTION),
        (named(has(sources=["a"]), keyed=False), QuarantineReason.NO_SUBSCRIPTION),
        (named(has(sources=["a"], also_without_source=True), keyed=False), by_subscription()),
        # … whose name it had before
        (named(has(since=NOON - HOUR), keyed=False), by_subscription()),
        (named(has(since=NOON - HOUR, until=NOON), keyed=False), QuarantineReason.NO_SUBSCRIPTION),
        (named(has(since=NOON - HOUR), has("tiles"), keyed=False), by_subscription("tiles")),
        # … or another has in its own time
        (
            named(has(active=(None, NOON)), has("tiles", active=(NOON,)), keyed=False),
            by_subscription("tiles"),
        ),
        (
            named(has(since=NOON - HOUR), has("tiles", active=(None, NOON - HOUR)), keyed=False),
            by_subscription(),
        ),
        # 7. Neither
        ({"keyed": False}, QuarantineReason.ANONYMOUS),
    ],
)
def test_verdict(facts, expected):
    assert verdict(at=NOON, **{"keyed": True} | facts) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # What begins in the second of the call takes it …
        ({"keys": [key(feeds(), start=SOON)]}, by_key()),
        ({"keys": [key(feeds(assigned=(SOON,)))]}, by_key()),
        ({"keys": [key(feeds(active=(SOON,)))]}, by_key()),
        ({"keys": [key(feeds(), suspensions=[period(end=SOON)])]}, by_key()),
        (named(has(active=(SOON,)), keyed=False), by_subscription()),
        # … what ends in it keeps it …
        ({"keys": [key(feeds(), end=SOON)]}, by_key()),
        ({"keys": [key(feeds(assigned=(None, SOON)))]}, by_key()),
        ({"keys": [key(feeds(active=(None, SOON)))]}, by_key()),
        ({"keys": [key(feeds(), suspensions=[period(SOON)])]}, by_key()),
        ({"keys": [key(feeds(), revoked_at=SOON)]}, by_key()),
        ({"keys": [key(feeds(), expires_at=SOON)]}, by_key()),
        (named(has(since=LATER, until=SOON), keyed=False), by_subscription()),
        # … and where one follows the other in it, the later one takes it.
        ({"keys": [key(feeds("old"), end=SOON), key(feeds("new"), start=SOON)]}, by_key("new")),
        (
            {"keys": [key(feeds("old", assigned=(None, SOON)), feeds("new", assigned=(SOON,)))]},
            by_key("new"),
        ),
        (
            {"keys": [key(feeds("old", active=(None, SOON)), feeds("new", active=(SOON,)))]},
            by_key("new"),
        ),
        (
            {
                "keys": [
                    key(
                        feeds("old", sources=["a"], assigned=(None, SOON)),
                        feeds("new", sources="b"),
                    )
                ],
                "source": "a",
            },
            by_key("old"),
        ),
        (
            named(has("old", active=(None, SOON)), has("new", active=(SOON,)), keyed=False),
            by_subscription("new"),
        ),
        # What never was counts in no second, nor does what begins in the next.
        ({"keys": [key(feeds(), start=SOON, end=SOON)]}, QuarantineReason.KEY_NOT_VALID),
        (
            {"keys": [key(feeds(), start=NOON + timedelta(seconds=1))]},
            QuarantineReason.KEY_NOT_VALID,
        ),
        ({"keys": [key(feeds(), suspensions=[period()])]}, QuarantineReason.KEY_NOT_VALID),
    ],
)
def test_a_moment_in_whole_seconds_may_be_any_of_its_second(facts, expected):
    assert verdict(at=NOON, **{"keyed": True} | facts) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"keys": [key(feeds(), start=LATER)]}, QuarantineReason.KEY_NOT_VALID),
        ({"keys": [key(feeds(), end=SOON)]}, QuarantineReason.KEY_NOT_VALID),
        ({"keys": [key(feeds("old"), end=LATER), key(feeds("new"), start=LATER)]}, by_key("old")),
    ],
)
def test_a_moment_with_a_fraction_is_that_moment(facts, expected):
    assert verdict(at=SOON, keyed=True, **facts) == expected
