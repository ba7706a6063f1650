"""Switch off path rules whose expression takes long on the paths of real calls.

A caller chooses the path, so a rule that is quick on every path that was tried when it was saved
may still hold up attribution. It is switched off before a call is blamed for it.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import Error, OperationalError, connection
from django.db.transaction import atomic
from django.utils import timezone

from metering import failures
from metering.models.functions import first_id_at
from revcred.actions import subscriptions
from revcred.models import PathRule
from revcred.models.sources import MAX_MATCHED_CHARACTERS
from revcred.postgresql.statement_timeouts import statement_timeout

logger = logging.getLogger(__name__)

MAX_MEASURED_PATHS = 500
# On all of these paths. A usual expression takes a hundredth of it.
MAX_RULE_MILLISECONDS = 250
# A simple expression takes longer only if the machine is too busy to measure anything.
SIMPLE_EXPRESSION, MAX_SIMPLE_MILLISECONDS = "^/a", 100
LATEST_CALLS = timedelta(minutes=1)

# The longest come first: they take longest.
PATHS_OF_DELIVERIES = """
SELECT call ->> 'path' FROM metering_delivery d
CROSS JOIN LATERAL json_array_elements(d.body::json) call
WHERE d.id = ANY (%(deliveries)s)
    AND call ->> 'path' IS NOT NULL AND call ->> 'source_named' IS NULL
ORDER BY length(call ->> 'path') DESC LIMIT %(most)s
"""
# Ids begin with the moment of arrival, so that the primary keys give the latest rows.
PATHS_OF_LATEST_CALLS = """
SELECT path FROM (
    SELECT path FROM metering_transaction
    WHERE id >= %(since)s AND sign = 1 AND source_named = '' AND path <> ''
    UNION ALL
    SELECT path FROM metering_quarantined
    WHERE id >= %(since)s AND source_named = '' AND path <> ''
) called
ORDER BY length(path) DESC LIMIT %(most)s
"""
MATCH_PATHS = "SELECT count(*) FROM unnest(%s::text[]) path WHERE left(path, %s) ~ %s"


def switch_off_rules_slow_in(deliveries: Sequence[UUID]) -> bool:
    """Switch off rules that take long on the paths of these deliveries; return True if any did."""
    return switch_off_rules_slow_on(PATHS_OF_DELIVERIES, {"deliveries": [*deliveries]})


def switch_off_rules_slow_lately() -> bool:
    """Switch off rules that take long on the paths of the latest calls. The clock calls it."""
    since = first_id_at(timezone.now() - LATEST_CALLS)
    return switch_off_rules_slow_on(PATHS_OF_LATEST_CALLS, {"since": since})


def switch_off_rules_slow_on(paths_query: str, arguments: dict[str, Any]) -> bool:
    """Switch off rules that take long on the paths of a query; return True if any did.

    `paths_query`: a SELECT of paths, at most %(most)s.
    """
    # Most installations have no expression, so that nothing is read of calls.
    rules = PathRule.objects.filter(match=PathRule.Match.REGEX, switched_off=False)
    expressions = list(rules.select_related("source"))
    if not expressions:
        return False
    paths = _find_paths(paths_query, arguments)
    switched_off = False
    for rule in expressions:
        if paths and _is_slow(rule.text, paths):
            longest = max(map(len, paths))
            reason = (
                f"it took more than {MAX_RULE_MILLISECONDS} ms on {len(paths)} paths of calls,"
                f" the longest of {longest:,} characters"
            )
            if subscriptions.switch_off_slow_path_rule(rule=rule, reason=reason):
                logger.warning("Path rule %d was switched off: %s.", rule.pk, reason)
            switched_off = True
    return switched_off


def _find_paths(query: str, arguments: dict[str, Any]) -> list[str]:
    """Return the paths; none if they cannot be read, such as those of a call that is malformed."""
    try:
        with atomic(), connection.cursor() as cursor:
            cursor.execute(query, arguments | {"most": MAX_MEASURED_PATHS})
            return [path for (path,) in cursor.fetchall()]
    except Error as error:
        if failures.is_unavailable(error):
            raise
        return []


def _is_slow(expression: str, paths: Sequence[str]) -> bool:
    """Return True if the expression is slow twice, and a simple one in between is not."""
    return (
        _takes_longer(expression, paths, MAX_RULE_MILLISECONDS)
        and not _takes_longer(SIMPLE_EXPRESSION, paths, MAX_SIMPLE_MILLISECONDS)
        and _takes_longer(expression, paths, MAX_RULE_MILLISECONDS)
    )


def _takes_longer(expression: str, paths: Sequence[str], milliseconds: int) -> bool:
    """Match the expression with all paths, and return True if that was stopped at the limit."""
    try:
        with atomic(), connection.cursor() as cursor, statement_timeout(cursor, milliseconds):
            cursor.execute(MATCH_PATHS, [[*paths], MAX_MATCHED_CHARACTERS, expression])
    except OperationalError as error:
        if not failures.took_too_long(error):
            raise
        return True
    return False
