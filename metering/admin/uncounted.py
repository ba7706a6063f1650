"""Explain why calls wait that have an owner: which product does not count their source."""

from collections.abc import Sequence
from dataclasses import replace

from django.db import connection
from psycopg import sql

from metering.admin.groups import QuarantineGroup, UncountedCalls
from metering.models import QuarantineReason
from metering.quarantine.statements import uncounted_calls_statement
from revcred.models import Product, Source, Subscription

MAX_CALLS_EXPLAINED = 1_000  # of a group, the latest
MAX_EXPLANATIONS_PER_GROUP = 10

OPEN_CALLS_OF_GROUP = sql.SQL("""
    q.gateway_id = %(gateway)s AND q.released_at IS NULL AND {has_fingerprint}
""")


def with_uncounted_calls(groups: Sequence[QuarantineGroup]) -> list[QuarantineGroup]:
    """Return the groups, each with those of its calls that a product does not count."""
    return [
        replace(group, uncounted=_find_uncounted_calls(group))
        if group.reason is QuarantineReason.NO_SUBSCRIPTION
        else group
        for group in groups
    ]


def _find_uncounted_calls(group: QuarantineGroup) -> list[UncountedCalls]:
    """Judge the group's latest MAX_CALLS_EXPLAINED calls. Return the largest numbers first."""
    # Two statements, because PostgreSQL uses no index for IS NOT DISTINCT FROM.
    has_fingerprint = sql.SQL(
        "q.fingerprint = %(fingerprint)s" if group.fingerprint else "q.fingerprint IS NULL"
    )
    statement = uncounted_calls_statement(
        OPEN_CALLS_OF_GROUP.format(has_fingerprint=has_fingerprint)
    )
    arguments = {
        "gateway": group.gateway_id,
        "fingerprint": group.fingerprint,
        "max_calls": MAX_CALLS_EXPLAINED,
        "max_rows": MAX_EXPLANATIONS_PER_GROUP,
    }
    # Judging takes a while for each call, and somebody waits for the page.
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        found = cursor.fetchall()
    sources = Source.objects.in_bulk({source for source, *_ in found if source})
    products = Product.objects.in_bulk({product for _, _, product, *_ in found})
    subscriptions = Subscription.objects.select_related("customer").in_bulk(
        {subscription for *_, subscription, _ in found}
    )
    return [
        UncountedCalls(
            named=named or "",
            source=sources.get(source) if source else None,
            product=products[product],
            subscription=subscriptions[subscription],
            calls=calls,
        )
        for source, named, product, subscription, calls in found
    ]
