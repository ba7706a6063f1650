"""How each mutant breaks the application, in every process that has it for its settings."""

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import redis
from django.conf import settings
from django.db import connection
from django.db.transaction import atomic

from metering.attribution import processing
from metering.inbox import intake
from metering.inbox.calls import Call
from metering.management.commands import clock
from revcred.models import Gateway

take_in = intake.accept_calls
process = processing.process_deliveries

GAP = 0.2  # seconds between what should be one transaction
DELAY = 0.3  # seconds until what was accepted is written

ONCE = """ON CONFLICT (dedup_key) DO UPDATE SET content_hash = standing.content_hash
        WHERE standing.content_hash <> excluded.content_hash
"""
TAKE = """
DELETE FROM metering_delivery WHERE id = ANY (ARRAY(
    SELECT id FROM metering_delivery WHERE next_try_at <= clock_timestamp()
    ORDER BY next_try_at LIMIT 50 FOR UPDATE SKIP LOCKED
)) RETURNING id, gateway_id, received_at, transactions, rejected, body
"""
PUT_BACK = """
INSERT INTO metering_delivery (id, gateway_id, received_at, transactions, rejected, body)
VALUES (%s, %s, %s, %s, %s, %s)
"""


def nothing() -> None:
    """What is broken then is not in these processes."""


def accept_before_commit() -> None:
    def accept(*arguments: Any, **named: Any) -> UUID:
        def write() -> None:
            time.sleep(DELAY)
            try:
                take_in(*arguments, **named)
            finally:
                connection.close()

        threading.Thread(target=write, daemon=True).start()
        return uuid4()

    _replace(take_in, accept)


def forget() -> None:
    """Needs the table without its primary key."""
    _replace_in_statements(ONCE, "")


def remember_in_redis() -> None:
    forget()
    url = settings.CELERY_BROKER_URL

    def accept(gateway: Gateway | int, calls: Sequence[Call], *, rejected: int = 0) -> UUID:
        number = gateway if isinstance(gateway, int) else gateway.pk
        memory = redis.Redis.from_url(url, socket_timeout=1)
        new = [each for each in calls if memory.set(f"{number}:{each.transaction_id}", 1, nx=True)]
        return take_in(gateway, new, rejected=rejected) if new else uuid4()

    _replace(take_in, accept)


def sweep_nothing() -> None:
    _replace(clock.sweep_waiting_work, lambda: None)


def process_in_two_transactions() -> None:
    def process_twice(*arguments: Any, **named: Any) -> int:
        with connection.cursor() as cursor:
            cursor.execute(TAKE)
            taken = cursor.fetchall()
        if taken:
            time.sleep(GAP)
        with atomic():
            with connection.cursor() as cursor:
                cursor.executemany(PUT_BACK, taken)
            process(*arguments, **named)
        return len(taken)

    _replace(process, process_twice)


def judge_by_now() -> None:
    _replace_in_statements("j.occurred_at", "clock_timestamp()")


def _replace(function: Callable[..., Any], other: Callable[..., Any]) -> None:
    """Wherever it has been imported to by now; what is imported later finds the other one."""
    name = function.__name__
    for module in list(sys.modules.values()):
        if vars(module).get(name) is function:
            setattr(module, name, other)


def _replace_in_statements(text: str, other: str) -> None:
    """In everything that processing may say to PostgreSQL."""
    names = vars(processing)
    found = [name for name, value in names.items() if isinstance(value, str) and text in value]
    assert found, text
    for name in found:
        names[name] = names[name].replace(text, other)


BREAKS: Mapping[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        nothing,
        accept_before_commit,
        forget,
        remember_in_redis,
        sweep_nothing,
        process_in_two_transactions,
        judge_by_now,
    )
}
