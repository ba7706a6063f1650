"""The rules of attribution, each with its cases. No database: a decision is a value."""

from datetime import UTC, datetime, timedelta

import pytest

from metering.attribution import Attributed, Candidate, Key, verdict
from metering.models import MatchedBy, Reason
from revcred.models import Subscription

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def period(start=None, end=None):
    return Subscription(active_from=start or NOON - 24 * HOUR, active_until=end)


def key(*candidates, start=None, end=None, bound=False, kind="key", **moments):
    return Key(kind=kind, period=period(start, end), bound=bound, candidates=candidates, **moments)


def feeds(subscription="maps", *, assigned=(), active=(), sources=()):
    return Candidate(
        subscription=subscription,
        assigned=period(*assigned),
        active=period(*active),
        sources=sources,
    )


def by_key(subscription="maps"):
    return Attributed(subscription, MatchedBy.KEY)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # 1. The key whose period holds the moment
        ({"keys": []}, Reason.UNKNOWN_KEY),
        ({"keys": [key(feeds())]}, by_key()),
        ({"keys": [key(feeds(), kind="alias")]}, Attributed("maps", MatchedBy.ALIAS)),
        ({"keys": [key(feeds(), start=NOON)]}, by_key()),
        ({"keys": [key(feeds(), start=NOON + HOUR)]}, Reason.KEY_NOT_VALID),
        ({"keys": [key(feeds(), end=NOON)]}, Reason.KEY_NOT_VALID),
        ({"keys": [key(feeds(), end=NOON + HOUR)]}, by_key()),
        ({"keys": [key(feeds(), revoked_at=NOON)]}, Reason.KEY_NOT_VALID),
        ({"keys": [key(feeds(), revoked_at=NOON + HOUR)]}, by_key()),
        ({"keys": [key(feeds(), expires_at=NOON)]}, Reason.KEY_NOT_VALID),
        ({"keys": [key(feeds(), expires_at=NOON + HOUR)]}, by_key()),
        ({"keys": [key(feeds(), suspensions=[period(NOON)])]}, Reason.KEY_NOT_VALID),
        ({"keys": [key(feeds(), suspensions=[period(end=NOON)])]}, by_key()),
        # … one bound to this gateway before one for any
        ({"keys": [key(feeds("any")), key(feeds("bound"), bound=True)]}, by_key("bound")),
        ({"keys": [key(feeds("any")), key(feeds("bound"), bound=True, end=NOON)]}, by_key("any")),
        (
            {"keys": [key(feeds("any")), key(feeds("bound"), bound=True, revoked_at=NOON)]},
            Reason.KEY_NOT_VALID,
        ),
        # … one that was handed on from one credential to another
        (
            {"keys": [key(feeds("old"), end=NOON), key(feeds("new"), start=NOON)]},
            by_key("new"),
        ),
        # 2. The assignments that hold it, with a subscription active then
        ({"keys": [key()]}, Reason.NO_SUBSCRIPTION),
        ({"keys": [key(feeds(assigned=(NOON + HOUR,)))]}, Reason.NO_SUBSCRIPTION),
        ({"keys": [key(feeds(assigned=(None, NOON)))]}, Reason.NO_SUBSCRIPTION),
        ({"keys": [key(feeds(active=(NOON + HOUR,)))]}, Reason.NO_SUBSCRIPTION),
        ({"keys": [key(feeds(active=(None, NOON)))]}, Reason.NO_SUBSCRIPTION),
        (
            {
                "keys": [
                    key(feeds("old", assigned=(None, NOON)), feeds("new", assigned=(NOON, None)))
                ]
            },
            by_key("new"),
        ),
        # 3. A subscription that is named, too
        ({"keys": [key(feeds(), feeds("tiles"))], "named": "tiles"}, by_key("tiles")),
        ({"keys": [key(feeds())], "named": "tiles"}, Reason.SUBSCRIPTION_MISMATCH),
        ({"keys": [key()], "named": "tiles"}, Reason.NO_SUBSCRIPTION),
        # 4. The source
        ({"keys": [key(feeds(sources=["a"]))], "source": "a"}, by_key()),
        ({"keys": [key(feeds(sources=["a"]))], "source": "b"}, Reason.NO_SUBSCRIPTION),
        ({"keys": [key(feeds(sources=[]))], "source": "b"}, by_key()),
        ({"keys": [key(feeds(sources=["a"]))]}, by_key()),
        (
            {"keys": [key(feeds(sources=["a"]), feeds("tiles", sources=["b"]))], "source": "b"},
            by_key("tiles"),
        ),
        (
            {"keys": [key(feeds(sources=["a"]))], "named": "maps", "source": "b"},
            Reason.NO_SUBSCRIPTION,
        ),
        # 5. Exactly one
        ({"keys": [key(feeds(), feeds("tiles"))]}, Reason.AMBIGUOUS),
        ({"keys": [key(feeds(), feeds("tiles", sources=["b"]))], "source": "b"}, Reason.AMBIGUOUS),
        # 6. No key, but a subscription
        (
            {"keyed": False, "named": "maps", "directly": period()},
            Attributed("maps", MatchedBy.SUBSCRIPTION),
        ),
        ({"keyed": False, "named": "maps", "directly": None}, Reason.NO_SUBSCRIPTION),
        (
            {"keyed": False, "named": "maps", "directly": period(end=NOON)},
            Reason.NO_SUBSCRIPTION,
        ),
        (
            {"keyed": False, "named": "maps", "directly": period(), "source": "b"},
            Attributed("maps", MatchedBy.SUBSCRIPTION),
        ),
        # 7. Neither
        ({"keyed": False}, Reason.ANONYMOUS),
    ],
)
def test_verdict(facts, expected):
    assert verdict(at=NOON, **{"keyed": True} | facts) == expected
