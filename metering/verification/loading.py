"""Facts of the register, read from the database: all of them, or those that some checks need."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Sum
from psycopg import sql

from metering.attribution.judging import PATH_RULE_ORDER, path_rule_condition
from metering.models import Usage
from metering.models.usage import CALLS_ELEMENT
from metering.verification.checking import CallAhead
from metering.verification.facts import (
    CredentialFacts,
    CustomerFacts,
    KeyFacts,
    NamedSubscription,
    ProductFacts,
    SubscriptionFacts,
)
from revcred.models import FormerName, Source
from revcred.public_ids import fingerprint_in_sql


def microseconds(column: str) -> sql.Composed:
    """Return the expression of a moment as microseconds since 1970."""
    return sql.SQL("(extract(epoch FROM {}) * 1000000)::bigint").format(
        sql.Identifier(*column.split("."))
    )


KEYS = sql.SQL("""
SELECT k.fingerprint, k.credential_id, k.kind = 'key', k.gateway_id, {since}, {until}
FROM revcred_externalkey k WHERE {{condition}}
""").format(since=microseconds("k.active_from"), until=microseconds("k.active_until"))
# What has ended can end nothing any more, and is left out.
CREDENTIALS = sql.SQL("""
SELECT
    c.id, {public}, c.customer_id,
    ARRAY(
        SELECT ARRAY[a.subscription_id, {assigned_since}, {assigned_until}]
        FROM revcred_assignment a
        WHERE a.credential_id = c.id AND (a.active_until IS NULL OR a.active_until > now())
    ),
    {revoked}, {expires},
    ARRAY(
        SELECT ARRAY[p.id, {suspended_since}, {suspended_until}]
        FROM revcred_suspension p
        WHERE p.credential_id = c.id AND (p.active_until IS NULL OR p.active_until > now())
    ),
    c.environment, c.tags
FROM revcred_credential c WHERE {{condition}}
""").format(
    public=fingerprint_in_sql("c.public_id"),
    assigned_since=microseconds("a.active_from"),
    assigned_until=microseconds("a.active_until"),
    suspended_since=microseconds("p.active_from"),
    suspended_until=microseconds("p.active_until"),
    revoked=microseconds("c.revoked_at"),
    expires=microseconds("c.expires_at"),
)
SUBSCRIPTIONS = sql.SQL("""
SELECT s.id, s.external_key, s.customer_id, s.product_id, {since}, {until}, s.quota
FROM revcred_subscription s WHERE {{condition}}
""").format(since=microseconds("s.active_from"), until=microseconds("s.active_until"))
FORMER_SUBSCRIPTION_NAMES = sql.SQL("""
SELECT f.name, f.target_id, {since}, {until}
FROM revcred_formername f WHERE f.kind = 'subscription' AND {{condition}}
""").format(since=microseconds("f.former_since"), until=microseconds("f.counts_until"))
SUBSCRIPTION_NAMES = sql.SQL("""
SELECT md5(s.external_key), s.id FROM revcred_subscription s WHERE {condition}
""")
PUBLIC_IDS = sql.SQL("""
SELECT substr(c.public_id, 6, 16), c.id
FROM revcred_credential c WHERE c.public_id IS NOT NULL AND {condition}
""")
CUSTOMERS = sql.SQL("""
SELECT c.id, c.external_key, {suspended} FROM revcred_customer c WHERE {{condition}}
""").format(suspended=microseconds("c.suspended_at"))
PRODUCTS = sql.SQL("""
SELECT
    p.id, p.external_key, p.restricted, p.also_without_source,
    ARRAY(
        SELECT s.external_key FROM revcred_product_sources x
        JOIN revcred_source s ON s.id = x.source_id WHERE x.product_id = p.id
    )
FROM revcred_product p WHERE {condition}
""")
SOURCES_OF_PATHS = (
    sql.SQL("""
SELECT called.path, found.external_key FROM unnest(%s::text[]) called (path)
LEFT JOIN LATERAL (
    SELECT s.external_key FROM revcred_pathrule r
    JOIN revcred_source s ON s.id = r.source_id
    WHERE {fits} {order} LIMIT 1
) found ON true
""")
    .format(fits=path_rule_condition("called.path"), order=PATH_RULE_ORDER)
    .as_string()
)
MAX_ROWS_AT_ONCE = 5_000


def rows_of(query: sql.SQL | sql.Composed, condition: sql.SQL, *values: Any) -> Iterator[Any]:
    """Yield the rows of one of the queries above."""
    with connection.cursor() as cursor:
        cursor.execute(_with_condition(query, condition), values)
        yield from cursor.fetchall()


def all_rows_of(query: sql.SQL | sql.Composed, order: str) -> Iterator[Any]:
    """Yield all rows of one of the queries above in this order, a few thousand at a time.

    Inside a transaction.
    """
    in_order = sql.SQL(f"true ORDER BY {order}")
    with connection.chunked_cursor() as cursor:
        cursor.execute(_with_condition(query, in_order))
        while rows := cursor.fetchmany(MAX_ROWS_AT_ONCE):
            yield from rows


def _with_condition(query: sql.SQL | sql.Composed, condition: sql.SQL) -> str:
    return sql.SQL(query.as_string()).format(condition=condition).as_string()


def any_of(column: str) -> sql.SQL:
    return sql.SQL(f"{column} = ANY (%s)")


def key_facts(row: Any) -> tuple[UUID, KeyFacts]:
    fingerprint, credential, is_key, gateway, since, until = row
    return fingerprint, KeyFacts(credential, is_key, gateway, (since, until))


def credential_facts(row: Any) -> tuple[int, CredentialFacts]:
    number, public, customer, assignments, revoked, expires, suspensions, environment, tags = row
    return number, CredentialFacts(
        public,
        customer,
        [(subscription, (since, until)) for subscription, since, until in assignments],
        revoked,
        expires,
        [(since, until) for _, since, until in suspensions],
        environment,
        tags,
    )


def subscription_facts(row: Any) -> tuple[int, SubscriptionFacts]:
    number, external_key, customer, product, since, until, quota = row
    return number, SubscriptionFacts(external_key, customer, product, (since, until), quota)


def product_facts(row: Any) -> tuple[int, ProductFacts]:
    number, external_key, restricted, also_without_source, sources = row
    return number, ProductFacts(external_key, restricted, also_without_source, frozenset(sources))


def customer_facts(row: Any) -> tuple[int, CustomerFacts]:
    number, external_key, suspended = row
    return number, CustomerFacts(external_key, suspended)


def former_subscription_name(row: Any) -> tuple[str, NamedSubscription]:
    name, number, since, until = row
    return name, NamedSubscription(number, since, until)


def sources_of_paths(paths: Collection[str]) -> dict[str, str | None]:
    """Return the external keys of the sources whose rules match the paths, as PostgreSQL sees it.

    Paths are without NUL.
    """
    with connection.cursor() as cursor:
        cursor.execute(SOURCES_OF_PATHS, [list(paths)])
        return dict(cursor.fetchall())


def source_named(name: str, at: datetime) -> str | None:
    """Return the external key of the source that has the name, or else had it last; or None."""
    if Source.objects.filter(external_key=name).exists():
        return name
    former = FormerName.objects.filter(kind=FormerName.Kind.SOURCE, name=name)
    former = former.exclude(counts_until__lte=at).order_by("-former_since")
    target = former.values("target_id")[:1]
    return Source.objects.filter(pk__in=target).values_list("external_key", flat=True).first()


def calls_this_month(subscriptions: Iterable[int], at: datetime) -> dict[int, int]:
    """Return the calls since the month began in UTC, by subscription."""
    start = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    usage = Usage.objects.filter(
        subscription__in=list(subscriptions), hour__gte=start, element=CALLS_ELEMENT
    )
    sums = usage.order_by().values_list("subscription").annotate(Sum("quantity"))
    return {number: int(quantity) for number, quantity in sums}


class LoadedRegister:
    """What some checks need of the register, read in a few queries however many they are."""

    def __init__(self, calls: Sequence[CallAhead], at: datetime) -> None:
        self._keys: dict[UUID, list[KeyFacts]] = defaultdict(list)
        fingerprints = {call.fingerprint for call in calls if call.fingerprint}
        if fingerprints:
            for row in rows_of(KEYS, any_of("k.fingerprint"), list(fingerprints)):
                fingerprint, key = key_facts(row)
                self._keys[fingerprint].append(key)
        numbers = {key.credential for keys in self._keys.values() for key in keys}
        public_ids = {call.public_id for call in calls if call.public_id}
        condition = sql.SQL("(c.id = ANY (%s) OR c.public_id = ANY (%s))")
        self._credentials: Mapping[int, CredentialFacts] = {}
        if numbers or public_ids:
            rows = rows_of(CREDENTIALS, condition, list(numbers), list(public_ids))
            self._credentials = dict(map(credential_facts, rows))
        self._by_public_id = {
            facts.public_id: number for number, facts in self._credentials.items()
        }
        self._named: dict[str, list[NamedSubscription]] = defaultdict(list)
        self._subscriptions: dict[int, SubscriptionFacts] = {}
        self._load_subscriptions({call.subscription_named for call in calls} - {None})
        found = self._subscriptions.values()
        customers = list({each.customer for each in found})
        products = list({each.product for each in found})
        self._customers: Mapping[int, CustomerFacts] = {}
        self._products: Mapping[int, ProductFacts] = {}
        if found:
            rows = rows_of(CUSTOMERS, any_of("c.id"), customers)
            self._customers = dict(map(customer_facts, rows))
            rows = rows_of(PRODUCTS, any_of("p.id"), products)
            self._products = dict(map(product_facts, rows))
        limited = [number for number, each in self._subscriptions.items() if each.quota is not None]
        self._used = calls_this_month(limited, at) if limited else {}
        self._sources_of_paths: dict[str, str | None] = {}

    def _load_subscriptions(self, names: "set[str | None]") -> None:
        numbers = {number for each in self._credentials.values() for number, _ in each.assignments}
        if names:
            condition = any_of("f.name")
            for row in rows_of(FORMER_SUBSCRIPTION_NAMES, condition, list(names)):
                name, named = former_subscription_name(row)
                self._named[name].append(named)
                numbers.add(named.subscription)
        if not numbers and not names:
            return
        condition = sql.SQL("(s.id = ANY (%s) OR s.external_key = ANY (%s))")
        for row in rows_of(SUBSCRIPTIONS, condition, list(numbers), list(names)):
            number, facts = subscription_facts(row)
            self._subscriptions[number] = facts
            if facts.external_key in names:
                self._named[facts.external_key].append(NamedSubscription(number))

    def keys(self, fingerprint: UUID) -> Sequence[KeyFacts]:
        return self._keys.get(fingerprint, ())

    def credential(self, credential_id: int) -> CredentialFacts | None:
        return self._credentials.get(credential_id)

    def credential_of(self, public_id: str) -> int | None:
        return self._by_public_id.get(public_id)

    def subscription(self, subscription_id: int) -> SubscriptionFacts | None:
        return self._subscriptions.get(subscription_id)

    def subscriptions_named(self, name: str) -> Sequence[NamedSubscription]:
        return self._named.get(name, ())

    def customer(self, customer_id: int) -> CustomerFacts | None:
        return self._customers.get(customer_id)

    def product(self, product_id: int) -> ProductFacts | None:
        return self._products.get(product_id)

    def source_named(self, name: str, at: datetime) -> str | None:
        return source_named(name, at)

    def source_of_path(self, path: str) -> str | None:
        if path not in self._sources_of_paths:
            self._sources_of_paths |= sources_of_paths([path])
        return self._sources_of_paths[path]

    def calls_this_month(self, subscription_id: int) -> int:
        return self._used.get(subscription_id, 0)
