"""Find keys, secrets and tokens in what is stored, and cut them out of it.

They are known by their shape where they were issued here, or else by their fingerprint: every part
of a text that may be a key is held against the fingerprints of all keys that are known, and of
those that wait in quarantine. What is not text of a call or an event is told of and left.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.db import connection
from django.db.transaction import atomic
from django.utils import timezone

from metering.inbox.calls import CUT, identity, identity_of_cut, only_path
from metering.inbox.redaction import CallerKey, is_a_name
from revcred.fingerprints import fingerprint
from revcred.models import AuditEvent
from revcred.models.audit import locked_end
from revcred.redaction import Secrets, candidates, cut, secrets_of

ROWS_AT_ONCE = 500
EVENTS_AT_ONCE = 1_000

KEYS = "keys and tokens"
PATHS = "paths with a host or a query"
PROMPTS = "prompts and answers"

KNOWN = """
SELECT fingerprint FROM revcred_externalkey WHERE fingerprint = ANY(%(marks)s)
UNION SELECT fingerprint FROM metering_quarantined WHERE fingerprint = ANY(%(marks)s)
"""
# A resend under the same id is known by its new identity, and counted no second time.
KNOWN_ANEW = """
UPDATE metering_remembered r SET {column} = %(new)s
WHERE {column} = %(old)s
    AND NOT EXISTS (SELECT FROM metering_remembered o WHERE o.identity = %(new)s)
"""
TEXT_COLUMNS = """
SELECT c.relname, a.attname
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND a.attnum > 0 AND NOT a.attisdropped
    AND a.atttypid IN (
        'text'::regtype, 'varchar'::regtype, 'json'::regtype, 'jsonb'::regtype,
        'text[]'::regtype, 'varchar[]'::regtype
    )
ORDER BY 1, 2
"""

_encode = msgspec.json.Encoder(decimal_format="number").encode

Found = Counter[tuple[str, str]]  # how many rows, by place and by what was in them


@dataclass(frozen=True, kw_only=True)
class Place:
    """A table, the columns that tell its rows apart, and those in which a key may stand."""

    table: str
    key: Sequence[str] = ("id",)
    texts: Sequence[str] = ()
    objects: Sequence[str] = ()  # of JSON
    calls: str = ""  # a column with one call or an array of them, as JSON in text
    is_added_to: bool = False


OF_CALLS = ("transaction_id", "subscription_named", "source_named", "method", "path")
PLACES = (
    Place(
        table="metering_transaction",
        key=("id", "occurred_at"),
        texts=OF_CALLS,
        objects=("metadata", "names"),
        is_added_to=True,
    ),
    Place(table="metering_quarantined", texts=OF_CALLS, objects=("metadata", "names")),
    Place(table="metering_conflict", texts=("transaction_id",), objects=("content",)),
    Place(table="metering_rejection", texts=("transaction_id", "field", "message")),
    Place(table="metering_discoveredsource", texts=("name",)),
    Place(table="metering_idempotentpost", key=("mark",), objects=("answer",)),
    Place(table="metering_delivery", calls="body"),
    Place(table="metering_half", key=("identity", "side"), calls="call"),
)
AUDIT = "revcred_auditevent"
IDENTIFIED = {"metering_transaction", "metering_quarantined"}  # by gateway and id


class _LookedAt(NamedTuple):
    """A row, the secrets that are in it, and what has been found so far."""

    row: dict[str, Any]
    secrets: Secrets
    found: Found


@dataclass(frozen=True, kw_only=True)
class Scrub:
    """One run. Without `apply` it changes nothing, and says what it would."""

    apply: bool
    prompts: Collection[str] = ()  # names of metadata that are left out
    say: Callable[[str], None] = lambda _: None

    def run(self) -> Found:
        found: Found = Counter()
        for place in PLACES:
            self.say(f"Looking through {place.table}")
            for rows in _batches(place):
                with atomic():
                    found += self._scrub(place, rows)
        self.say(f"Looking through {AUDIT}")
        found += self._scrub_audit()
        if self.apply and found:
            _record(found)
        return found

    def _scrub(self, place: Place, rows: Sequence[dict[str, Any]]) -> Found:
        found: Found = Counter()
        known = _known(candidates([_values(place, row) for row in rows]))
        for row in rows:
            before = _values(place, row)
            looked_at = _LookedAt(row, _secrets_in(before, known), found)
            after = {name: self._cut(place, name, before[name], looked_at) for name in before}
            changed = {name: after[name] for name in before if after[name] != before[name]}
            if changed and self.apply:
                _write(place, row, changed)
        return found

    def _cut(self, place: Place, name: str, value: Any, looked_at: "_LookedAt") -> Any:
        _, secrets, found = looked_at
        if name == place.calls:
            return self._cut_calls(place, value, looked_at)
        shown = cut(value, secrets)
        found[place.table, KEYS] += shown != value
        if name == "path" and shown and shown != only_path(shown):
            found[place.table, PATHS] += 1
            shown = only_path(shown)
        if name == "content" and shown.get("path") and shown["path"] != only_path(shown["path"]):
            found[place.table, PATHS] += 1
            shown = shown | {"path": only_path(shown["path"])}
        if name == "metadata" and shown and not shown.keys().isdisjoint(self.prompts):
            found[place.table, PROMPTS] += 1
            shown = {each: said for each, said in shown.items() if each not in self.prompts}
        return shown

    def _cut_calls(self, place: Place, value: Any, looked_at: "_LookedAt") -> Any:
        calls = value if isinstance(value, list) else [value]
        shown = []
        for call in calls:
            clean = call | {
                name: self._cut(place, name, call[name], looked_at) for name in CUT if name in call
            }
            old_id, new_id = call.get("transaction_id"), clean.get("transaction_id")
            if old_id != new_id and "identity" in call:
                gateway_id = looked_at.row["gateway_id"]
                plain = identity(gateway_id, old_id)
                keyed = identity_of_cut(gateway_id, old_id)
                for mark in ("identity", "shared_id"):
                    if clean.get(mark) == plain:
                        clean[mark] = keyed
            shown.append(clean)
        return shown if isinstance(value, list) else shown[0]

    @atomic
    def _scrub_audit(self) -> Found:
        """Events from the first that is changed on have new digests, for each covers the last."""
        found: Found = Counter()
        if self.apply:
            head = locked_end().hex()
        changed: dict[int, AuditEvent] = {}
        events = AuditEvent.objects.order_by("pk")
        for batch in _chunks(events.iterator(EVENTS_AT_ONCE), EVENTS_AT_ONCE):
            known = _known(candidates([[event.target, event.details] for event in batch]))
            for event in batch:
                said = {"target": event.target, "details": event.details}
                shown = cut(said, _secrets_in(said, known))
                if shown != said:
                    event.target, event.details = shown["target"], shown["details"]
                    changed[event.pk] = event
        found[AUDIT, KEYS] += len(changed)
        if self.apply and changed:
            self.say(f"The audit's last digest was {head}, and is {_chain_anew(changed)}")
        return +found


def elsewhere(known_places: Iterable[Place] = PLACES) -> Found:
    """Columns of other tables in which a key stands: names that were entered, which a person mends.

    What is a name and a key at once is no secret.
    """
    own = {(place.table, name) for place in known_places for name in _columns(place)}
    own |= {(AUDIT, "target"), (AUDIT, "details")}
    found: Found = Counter()
    for table, column in _text_columns():
        if (table, column) in own:
            continue
        for texts in _distinct(table, column):
            known = _known(candidates(texts))
            for text in texts:
                found[f"{table}.{column}", KEYS] += cut(text, _secrets_in(text, known)) != text
    return +found


def _columns(place: Place) -> list[str]:
    return [*place.texts, *place.objects, *([place.calls] if place.calls else [])]


def _values(place: Place, row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _columns(place)}


def _known(parts: Collection[str]) -> set[str]:
    """Those of these texts that are keys, or wait in quarantine as the key of a call."""
    by_mark = {fingerprint(part): part for part in parts}
    with connection.cursor() as cursor:
        cursor.execute(KNOWN, {"marks": list(by_mark)})
        return {by_mark[mark] for (mark,) in cursor}


def _secrets_in(value: Any, known: set[str]) -> Secrets:
    here = candidates(value) & known if known else set()
    return secrets_of(*(each for each in sorted(here, key=len) if not is_a_name(CallerKey(each))))


def _batches(place: Place) -> Iterator[list[dict[str, Any]]]:
    """All rows, by their key: those that are written meanwhile are encoded without keys."""
    order = ", ".join(place.key)
    is_identified = place.calls or place.table in IDENTIFIED or place.table == "metering_conflict"
    columns = [*place.key, *(["gateway_id"] if is_identified else [])]
    columns += [*place.texts, *(f"{name}::text" for name in (*place.objects, *_of_calls(place)))]
    names = [each.partition("::")[0] for each in columns]
    last: list[Any] | None = None
    while True:
        after = f"WHERE ({order}) > ({', '.join(['%s'] * len(place.key))})" if last else ""
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {', '.join(columns)} FROM {place.table} {after}"
                f" ORDER BY {order} LIMIT {ROWS_AT_ONCE}",
                last or [],
            )
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
        if not rows:
            return
        last = [rows[-1][name] for name in place.key]
        for row in rows:
            for name in (*place.objects, *_of_calls(place)):
                row[name] = json.loads(row[name], parse_float=Decimal) if row[name] else None
        yield rows


def _of_calls(place: Place) -> list[str]:
    return [place.calls] if place.calls else []


def _write(place: Place, row: dict[str, Any], changed: dict[str, Any]) -> None:
    where = " AND ".join(f"{name} = %s" for name in place.key)
    key = [row[name] for name in place.key]
    with connection.cursor() as cursor:
        if place.table == "metering_discoveredsource":  # its calls lead to it again
            cursor.execute(f"DELETE FROM {place.table} WHERE {where}", key)
            return
        if place.is_added_to:
            cursor.execute("SET LOCAL revcred.scrubbing = 'on'")
        sets = {
            name: _encode(value).decode()
            if name not in place.texts and value is not None
            else value
            for name, value in changed.items()
        }
        if place.table in IDENTIFIED and "transaction_id" in changed:
            _know_anew(row["gateway_id"], row["transaction_id"])
        assigned = ", ".join(f"{name} = %s" for name in sets)
        cursor.execute(
            f"UPDATE {place.table} SET {assigned} WHERE {where}",
            [*sets.values(), *key],
        )
        if place.is_added_to:
            cursor.execute("SET LOCAL revcred.scrubbing = 'off'")


def _know_anew(gateway_id: int, transaction_id: str) -> None:
    marks = {
        "old": UUID(identity(gateway_id, transaction_id)),
        "new": UUID(identity_of_cut(gateway_id, transaction_id)),
    }
    with connection.cursor() as cursor:
        for column in ("identity", "shared_id"):
            cursor.execute(KNOWN_ANEW.format(column=column), marks)


def _chain_anew(changed: dict[int, AuditEvent]) -> str:
    first = min(changed)
    events = AuditEvent.objects.order_by("pk")
    last = events.filter(pk__lt=first).values_list("digest", flat=True).last()
    before = bytes(last) if last else b""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL revcred.scrubbing = 'on'")
        for batch in _chunks(events.filter(pk__gte=first).iterator(EVENTS_AT_ONCE), EVENTS_AT_ONCE):
            anew = [changed.get(event.pk, event) for event in batch]
            for event in anew:
                event.digest = before = event.chained_to(before)
            AuditEvent.objects.bulk_update(anew, ["target", "details", "digest"])
        cursor.execute("SET LOCAL revcred.scrubbing = 'off'")
    return before.hex()


@atomic
def _record(found: Found) -> None:
    event = AuditEvent(
        at=timezone.now(),
        verb=AuditEvent.Verb.SCRUBBED,
        target_type="metering.transaction",
        target="What is stored",
        details={f"{place}, {what}": count for (place, what), count in sorted(found.items())},
    )
    event.chain()


def _text_columns() -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(TEXT_COLUMNS)
        rows: list[tuple[str, str]] = cursor.fetchall()
    return rows


def _distinct(table: str, column: str) -> Iterator[list[str]]:
    """The texts of a column, some at a time."""
    quoted = connection.ops.quote_name
    with atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT {quoted(column)}::text FROM {quoted(table)}"
            f" WHERE {quoted(column)} IS NOT NULL"
        )
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            yield [text for (text,) in rows]


def _chunks(items: Iterable[AuditEvent], size: int) -> Iterator[list[AuditEvent]]:
    chunk: list[AuditEvent] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
