"""Example rows of each kind of list, beside the example of each column."""

from collections.abc import Mapping, Sequence

from revcred.uploads.columns import ListKind, columns_of

# They show what the first row cannot: empty cells, several values, moments with an offset.
FURTHER_EXAMPLES: Mapping[ListKind, Sequence[Mapping[str, str]]] = {
    ListKind.CREDENTIALS: (
        {"customer": "acme", "name": "Nightly sync", "subscription": "acme-maps|acme-weather"},
        {
            "customer": "globex",
            "name": "Mobile app",
            "key": "globex-mobile-7c41",
            "aliases": "globex-mobile-0b93",
            "plan": "maps",
            "holders": "hank@example.org",
            "environment": "staging",
            "expires_in": "90d",
            "state": "active",
            "switched_off": "no",
            "withdrawn": "no",
            "key_active_from": "2026-03-01T08:00:00+01:00",
        },
    ),
    ListKind.CUSTOMERS: ({"external_key": "globex", "name": "Globex Corporation", "tags": "us"},),
    ListKind.SUBSCRIBERS: (
        {"email": "grace@example.com", "name": "Grace Hopper", "customer": "acme|globex"},
        {
            "email": "hank@example.org",
            "first_name": "Hank",
            "last_name": "Scorpio",
            "customer": "globex",
            "role": "viewer",
        },
    ),
    ListKind.SUBSCRIPTIONS: (
        {"external_key": "acme-weather", "customer": "acme", "product": "weather"},
        {
            "external_key": "globex-maps",
            "customer": "globex",
            "product": "maps",
            "active_from": "2026-03-01T08:00:00+01:00",
        },
    ),
    ListKind.PRODUCTS: (
        {"external_key": "weather", "name": "Weather", "sources": "forecast"},
        {"external_key": "everything", "name": "Everything", "also_without_source": "yes"},
    ),
    ListKind.SOURCES: (
        {"external_key": "tiles", "match": "regex", "path": "^/v[0-9]+/tiles/"},
        {"external_key": "routes", "name": "Routes", "match": "equals", "path": "/routes"},
        {"external_key": "forecast", "name": "Weather forecast"},
    ),
    ListKind.GATEWAYS: (
        {"name": "edge-us", "kind": "envoy"},
        {"name": "old-edge", "kind": "nginx", "suspended_at": "2026-12-31"},
    ),
    ListKind.USAGE: (
        {
            "transaction_id": "7c41d0b2-0002",
            "occurred_at": "2026-11-01T08:15:31+01:00",
            "gateway": "edge-eu",
            "key": "globex-mobile-7c41",
        },
        {
            "transaction_id": "globex-maps-2026-10-31",
            "occurred_at": "2026-10-31",
            "gateway": "edge-eu",
            "subscription": "globex-maps",
            "calls": "18250",
        },
    ),
}


def example_rows(kind: ListKind) -> list[list[str]]:
    """Return the rows of the filled example, each as wide as the list of columns."""
    columns = columns_of(kind)
    first = [each.example for each in columns]
    return [
        first,
        *([row.get(each.name, "") for each in columns] for row in FURTHER_EXAMPLES[kind]),
    ]
