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

from metering.inbox.calls import (
    REDACTED_FIELDS,
    dedup_key_of_id,
    keyed_dedup_key_of_id,
    strip_url_to_path,
)
from metering.inbox.redaction import CallerKey, is_entered_name
from revcred.fingerprints import fingerprint
from revcred.models import AuditEvent
from revcred.models.audit import lock_chain_end
from revcred.redaction import KnownSecrets, key_candidates, known_secrets, redact_value

SCRUB_BATCH_ROWS = 500
SCRUB_BATCH_EVENTS = 1_000

KEYS_FOUND = "keys and tokens"
PATHS_FOUND = "paths with a host or a query"
PROMPTS_FOUND = "prompts and answers"

FIND_KNOWN_FINGERPRINTS = """
SELECT fingerprint FROM revcred_externalkey WHERE fingerprint = ANY(%(marks)s)
UNION SELECT fingerprint FROM metering_quarantined WHERE fingerprint = ANY(%(marks)s)
"""
# A resend under the same id is known by its new identity, and counted no second time.
REPLACE_DEDUP_KEY = """
UPDATE metering_remembered r SET {column} = %(new)s
WHERE {column} = %(old)s
    AND NOT EXISTS (SELECT FROM metering_remembered o WHERE o.identity = %(new)s)
"""
FIND_TEXT_COLUMNS = """
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

_encode_scrubbed_json = msgspec.json.Encoder(decimal_format="number").encode

FindingCounts = Counter[tuple[str, str]]  # how many rows, by place and by what was in them


@dataclass(frozen=True, kw_only=True)
class ScrubbedTable:
    """A table, the columns that tell its rows apart, and those in which a key may stand."""

    table: str
    key: Sequence[str] = ("id",)
    texts: Sequence[str] = ()
    objects: Sequence[str] = ()  # of JSON
    calls: str = ""  # a column with one call or an array of them, as JSON in text
    is_added_to: bool = False


CALL_TEXT_COLUMNS = ("transaction_id", "subscription_named", "source_named", "method", "path")
SCRUBBED_TABLES = (
    ScrubbedTable(
        table="metering_transaction",
        key=("id", "occurred_at"),
        texts=CALL_TEXT_COLUMNS,
        objects=("metadata", "names"),
        is_added_to=True,
    ),
    ScrubbedTable(
        table="metering_quarantined", texts=CALL_TEXT_COLUMNS, objects=("metadata", "names")
    ),
    ScrubbedTable(table="metering_conflict", texts=("transaction_id",), objects=("content",)),
    ScrubbedTable(table="metering_rejection", texts=("transaction_id", "field", "message")),
    ScrubbedTable(table="metering_discoveredsource", texts=("name",)),
    ScrubbedTable(table="metering_idempotentpost", key=("mark",), objects=("answer",)),
    ScrubbedTable(table="metering_delivery", calls="body"),
    ScrubbedTable(table="metering_half", key=("identity", "side"), calls="call"),
)
AUDIT_TABLE = "revcred_auditevent"
TABLES_WITH_DEDUP_KEYS = {"metering_transaction", "metering_quarantined"}  # by gateway and id


class _RowFindings(NamedTuple):
    """A row, the secrets that are in it, and what has been found so far."""

    row: dict[str, Any]
    secrets: KnownSecrets
    found: FindingCounts


@dataclass(frozen=True, kw_only=True)
class KeyScrub:
    """One run. Without `apply` it changes nothing, and says what it would."""

    apply: bool
    prompts: Collection[str] = ()  # names of metadata that are left out
    say: Callable[[str], None] = lambda _: None

    def run(self) -> FindingCounts:
        found: FindingCounts = Counter()
        for place in SCRUBBED_TABLES:
            self.say(f"Looking through {place.table}")
            for rows in _row_batches(place):
                with atomic():
                    found += self._scrub(place, rows)
        self.say(f"Looking through {AUDIT_TABLE}")
        found += self._scrub_audit()
        if self.apply and found:
            _record_scrub(found)
        return found

    def _scrub(self, place: ScrubbedTable, rows: Sequence[dict[str, Any]]) -> FindingCounts:
        found: FindingCounts = Counter()
        known = _known_keys_among(key_candidates([_scrubbed_values(place, row) for row in rows]))
        for row in rows:
            before = _scrubbed_values(place, row)
            looked_at = _RowFindings(row, _secrets_in_value(before, known), found)
            after = {name: self._cut(place, name, before[name], looked_at) for name in before}
            changed = {name: after[name] for name in before if after[name] != before[name]}
            if changed and self.apply:
                _write_scrubbed_row(place, row, changed)
        return found

    def _cut(self, place: ScrubbedTable, name: str, value: Any, looked_at: _RowFindings) -> Any:
        _, secrets, found = looked_at
        if name == place.calls:
            return self._cut_calls(place, value, looked_at)
        shown = redact_value(value, secrets)
        found[place.table, KEYS_FOUND] += shown != value
        if name == "path" and shown and shown != strip_url_to_path(shown):
            found[place.table, PATHS_FOUND] += 1
            shown = strip_url_to_path(shown)
        if (
            name == "content"
            and shown.get("path")
            and shown["path"] != strip_url_to_path(shown["path"])
        ):
            found[place.table, PATHS_FOUND] += 1
            shown = shown | {"path": strip_url_to_path(shown["path"])}
        if name == "metadata" and shown and not shown.keys().isdisjoint(self.prompts):
            found[place.table, PROMPTS_FOUND] += 1
            shown = {each: said for each, said in shown.items() if each not in self.prompts}
        return shown

    def _cut_calls(self, place: ScrubbedTable, value: Any, looked_at: _RowFindings) -> Any:
        calls = value if isinstance(value, list) else [value]
        shown = []
        for call in calls:
            clean = call | {
                name: self._cut(place, name, call[name], looked_at)
                for name in REDACTED_FIELDS
                if name in call
            }
            old_id, new_id = call.get("transaction_id"), clean.get("transaction_id")
            if old_id != new_id and "identity" in call:
                gateway_id = looked_at.row["gateway_id"]
                plain = dedup_key_of_id(gateway_id, old_id)
                keyed = keyed_dedup_key_of_id(gateway_id, old_id)
                for mark in ("identity", "shared_id"):
                    if clean.get(mark) == plain:
                        clean[mark] = keyed
            shown.append(clean)
        return shown if isinstance(value, list) else shown[0]

    @atomic
    def _scrub_audit(self) -> FindingCounts:
        """Events from the first that is changed on have new digests, for each covers the last."""
        found: FindingCounts = Counter()
        if self.apply:
            head = lock_chain_end().hex()
        changed: dict[int, AuditEvent] = {}
        events = AuditEvent.objects.order_by("pk")
        for batch in _event_chunks(events.iterator(SCRUB_BATCH_EVENTS), SCRUB_BATCH_EVENTS):
            known = _known_keys_among(
                key_candidates([[event.target, event.details] for event in batch])
            )
            for event in batch:
                said = {"target": event.target, "details": event.details}
                shown = redact_value(said, _secrets_in_value(said, known))
                if shown != said:
                    event.target, event.details = shown["target"], shown["details"]
                    changed[event.pk] = event
        found[AUDIT_TABLE, KEYS_FOUND] += len(changed)
        if self.apply and changed:
            self.say(f"The audit's last digest was {head}, and is {_rechain_audit(changed)}")
        return +found


def find_keys_elsewhere(known_places: Iterable[ScrubbedTable] = SCRUBBED_TABLES) -> FindingCounts:
    """Columns of other tables in which a key stands: names that were entered, which a person mends.

    What is a name and a key at once is no secret.
    """
    own = {(place.table, name) for place in known_places for name in _scrubbed_columns(place)}
    own |= {(AUDIT_TABLE, "target"), (AUDIT_TABLE, "details")}
    found: FindingCounts = Counter()
    for table, column in _text_columns():
        if (table, column) in own:
            continue
        for texts in _distinct_texts(table, column):
            known = _known_keys_among(key_candidates(texts))
            for text in texts:
                found[f"{table}.{column}", KEYS_FOUND] += (
                    redact_value(text, _secrets_in_value(text, known)) != text
                )
    return +found


def _scrubbed_columns(place: ScrubbedTable) -> list[str]:
    return [*place.texts, *place.objects, *([place.calls] if place.calls else [])]


def _scrubbed_values(place: ScrubbedTable, row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _scrubbed_columns(place)}


def _known_keys_among(parts: Collection[str]) -> set[str]:
    """Those of these texts that are keys, or wait in quarantine as the key of a call."""
    by_mark = {fingerprint(part): part for part in parts}
    with connection.cursor() as cursor:
        cursor.execute(FIND_KNOWN_FINGERPRINTS, {"marks": list(by_mark)})
        return {by_mark[mark] for (mark,) in cursor}


def _secrets_in_value(value: Any, known: set[str]) -> KnownSecrets:
    here = key_candidates(value) & known if known else set()
    return known_secrets(
        *(each for each in sorted(here, key=len) if not is_entered_name(CallerKey(each)))
    )


def _row_batches(place: ScrubbedTable) -> Iterator[list[dict[str, Any]]]:
    """All rows, by their key: those that are written meanwhile are encoded without keys."""
    order = ", ".join(place.key)
    is_identified = (
        place.calls or place.table in TABLES_WITH_DEDUP_KEYS or place.table == "metering_conflict"
    )
    columns = [*place.key, *(["gateway_id"] if is_identified else [])]
    columns += [
        *place.texts,
        *(f"{name}::text" for name in (*place.objects, *_call_columns(place))),
    ]
    names = [each.partition("::")[0] for each in columns]
    last: list[Any] | None = None
    while True:
        after = f"WHERE ({order}) > ({', '.join(['%s'] * len(place.key))})" if last else ""
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {', '.join(columns)} FROM {place.table} {after}"
                f" ORDER BY {order} LIMIT {SCRUB_BATCH_ROWS}",
                last or [],
            )
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
        if not rows:
            return
        last = [rows[-1][name] for name in place.key]
        for row in rows:
            for name in (*place.objects, *_call_columns(place)):
                row[name] = json.loads(row[name], parse_float=Decimal) if row[name] else None
        yield rows


def _call_columns(place: ScrubbedTable) -> list[str]:
    return [place.calls] if place.calls else []


def _write_scrubbed_row(place: ScrubbedTable, row: dict[str, Any], changed: dict[str, Any]) -> None:
    where = " AND ".join(f"{name} = %s" for name in place.key)
    key = [row[name] for name in place.key]
    with connection.cursor() as cursor:
        if place.table == "metering_discoveredsource":  # its calls lead to it again
            cursor.execute(f"DELETE FROM {place.table} WHERE {where}", key)
            return
        if place.is_added_to:
            cursor.execute("SET LOCAL revcred.scrubbing = 'on'")
        sets = {
            name: _encode_scrubbed_json(value).decode()
            if name not in place.texts and value is not None
            else value
            for name, value in changed.items()
        }
        if place.table in TABLES_WITH_DEDUP_KEYS and "transaction_id" in changed:
            _replace_dedup_keys(row["gateway_id"], row["transaction_id"])
        assigned = ", ".join(f"{name} = %s" for name in sets)
        cursor.execute(
            f"UPDATE {place.table} SET {assigned} WHERE {where}",
            [*sets.values(), *key],
        )
        if place.is_added_to:
            cursor.execute("SET LOCAL revcred.scrubbing = 'off'")


def _replace_dedup_keys(gateway_id: int, transaction_id: str) -> None:
    marks = {
        "old": UUID(dedup_key_of_id(gateway_id, transaction_id)),
        "new": UUID(keyed_dedup_key_of_id(gateway_id, transaction_id)),
    }
    with connection.cursor() as cursor:
        for column in ("identity", "shared_id"):
            cursor.execute(REPLACE_DEDUP_KEY.format(column=column), marks)


def _rechain_audit(changed: dict[int, AuditEvent]) -> str:
    first = min(changed)
    events = AuditEvent.objects.order_by("pk")
    last = events.filter(pk__lt=first).values_list("digest", flat=True).last()
    before = bytes(last) if last else b""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL revcred.scrubbing = 'on'")
        for batch in _event_chunks(
            events.filter(pk__gte=first).iterator(SCRUB_BATCH_EVENTS), SCRUB_BATCH_EVENTS
        ):
            anew = [changed.get(event.pk, event) for event in batch]
            for event in anew:
                event.digest = before = event.chained_to(before)
            AuditEvent.objects.bulk_update(anew, ["target", "details", "digest"])
        cursor.execute("SET LOCAL revcred.scrubbing = 'off'")
    return before.hex()


@atomic
def _record_scrub(found: FindingCounts) -> None:
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
        cursor.execute(FIND_TEXT_COLUMNS)
        rows: list[tuple[str, str]] = cursor.fetchall()
    return rows


def _distinct_texts(table: str, column: str) -> Iterator[list[str]]:
    """The texts of a column, some at a time."""
    quoted = connection.ops.quote_name
    with atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT {quoted(column)}::text FROM {quoted(table)}"
            f" WHERE {quoted(column)} IS NOT NULL"
        )
        while rows := cursor.fetchmany(SCRUB_BATCH_ROWS):
            yield [text for (text,) in rows]


def _event_chunks(items: Iterable[AuditEvent], size: int) -> Iterator[list[AuditEvent]]:
    chunk: list[AuditEvent] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
