"""Find keys, secrets and tokens in stored calls and audit events, and cut them out.

Those issued by revcred have a shape of their own. All others are found by fingerprint: each part of
a text that may be a key is compared with all known keys and those in quarantine. Keys in other
tables are only reported, for there they are names that a person has entered.
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
from metering.inbox.redaction import CallerKey, KeyTrace, is_entered_name
from revcred.fingerprints import fingerprint
from revcred.models import AuditEvent
from revcred.models.audit import lock_chain_end
from revcred.redaction import (
    KnownSecrets,
    drop_unsearched,
    key_candidates,
    known_secrets,
    redact_value,
)

SCRUB_BATCH_ROWS = 500
SCRUB_BATCH_EVENTS = 1_000

KEYS_FOUND = "keys and tokens"
PATHS_FOUND = "paths with a host or a query"
PROMPTS_FOUND = "prompts and answers"
TOO_LONG_FOUND = "texts that take too long to search"

FIND_KNOWN_FINGERPRINTS = """
SELECT fingerprint FROM revcred_externalkey WHERE fingerprint = ANY(%(fingerprints)s)
UNION SELECT fingerprint FROM metering_quarantined WHERE fingerprint = ANY(%(fingerprints)s)
"""
# in: a dedup key; out: all rows of the transaction in ledger and quarantine, with their keys.
FIND_ROWS_OF_TRANSACTION = """
WITH RECURSIVE chain AS (
    SELECT transaction AS id, ARRAY[occurred_at, received_at] AS moments
    FROM metering_seentransaction WHERE dedup_key = %s
    UNION
    SELECT successor.id, chain.moments
    FROM chain CROSS JOIN LATERAL (
        SELECT id FROM metering_transaction
        WHERE corrects = chain.id AND occurred_at = ANY (chain.moments)
        UNION ALL SELECT id FROM metering_quarantined WHERE corrects = chain.id
    ) successor
)
SELECT t.id, t.occurred_at, k.fingerprint, k.hint
FROM chain
JOIN metering_transaction t ON t.id = chain.id AND t.occurred_at = ANY (chain.moments)
LEFT JOIN revcred_externalkey k ON k.id = t.external_key_id
UNION ALL
SELECT q.id, NULL, q.fingerprint, q.hint
FROM chain JOIN metering_quarantined q ON q.id = chain.id
"""
# So that the same call, sent again under its id, is still recognised as a repeat.
REPLACE_DEDUP_KEY = """
UPDATE metering_seentransaction r SET {column} = %(new)s
WHERE {column} = %(old)s
    AND NOT EXISTS (SELECT FROM metering_seentransaction o WHERE o.dedup_key = %(new)s)
"""
# Every column that can hold text, so that a table added later is looked at, too.
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

FindingCounts = Counter[tuple[str, str]]  # rows, by table and by what was found in them


@dataclass(frozen=True, kw_only=True)
class ScrubbedTable:
    """A table, its primary key, and the columns in which a key may stand."""

    table: str
    key: Sequence[str] = ("id",)
    texts: Sequence[str] = ()
    objects: Sequence[str] = ()  # of JSON
    calls: str = ""  # a column with one call or an array of them, as JSON in text
    is_append_only: bool = False  # its trigger takes no update, unless it is told of a scrub


CALL_TEXT_COLUMNS = ("transaction_id", "subscription_named", "source_named", "method", "path")
SCRUBBED_TABLES = (
    ScrubbedTable(
        table="metering_transaction",
        key=("id", "occurred_at"),
        texts=CALL_TEXT_COLUMNS,
        objects=("metadata", "names"),
        is_append_only=True,
    ),
    ScrubbedTable(
        table="metering_quarantined", texts=CALL_TEXT_COLUMNS, objects=("metadata", "names")
    ),
    ScrubbedTable(table="metering_conflict", texts=("transaction_id",), objects=("content",)),
    ScrubbedTable(table="metering_rejection", texts=("transaction_id", "field", "message", "item")),
    ScrubbedTable(table="metering_discoveredsource", texts=("name",)),
    ScrubbedTable(table="metering_idempotentpost", key=("key_hash",), objects=("answer",)),
    ScrubbedTable(table="metering_delivery", calls="body"),
    ScrubbedTable(table="metering_partialtransaction", key=("dedup_key", "side"), calls="call"),
)
RECHAINED_FIELDS = ("target", "details", "salt", "personal_digest", "seal", "digest")
AUDIT_TABLE = "revcred_auditevent"
# Whose transactions have a dedup key, made of gateway and id, in metering_seentransaction.
TABLES_WITH_DEDUP_KEYS = {"metering_transaction", "metering_quarantined"}


class _RowFindings(NamedTuple):
    """A row, the secrets in it, and the counts that its findings are added to."""

    row: dict[str, Any]
    secrets: KnownSecrets
    found: FindingCounts


@dataclass(frozen=True, kw_only=True)
class KeyScrub:
    """One scrub of all tables. Without `apply` it only counts what it would change."""

    apply: bool
    prompts: Collection[str] = ()  # keys of metadata that are removed, with their values
    say: Callable[[str], None] = lambda _: None

    def run(self) -> FindingCounts:
        """Scrub all tables, record it in the audit, and return what was found."""
        found: FindingCounts = Counter()
        for scrubbed in SCRUBBED_TABLES:
            self.say(f"Looking through {scrubbed.table}")
            for rows in _row_batches(scrubbed):
                # Committed batch by batch: a long run holds no locks, and can be run again.
                with atomic():
                    found += self._scrub(scrubbed, rows)
        self.say(f"Looking through {AUDIT_TABLE}")
        found += self._scrub_audit()
        if self.apply and found:
            _record_scrub(found)
        return found

    def _scrub(self, scrubbed: ScrubbedTable, rows: Sequence[dict[str, Any]]) -> FindingCounts:
        found: FindingCounts = Counter()
        candidates = key_candidates([_scrubbed_values(scrubbed, row) for row in rows])
        known = _known_keys_among(candidates.parts)
        for row in rows:
            before = _scrubbed_values(scrubbed, row)
            findings = _RowFindings(row, _secrets_in_value(before, known), found)
            after = {name: self._cut(scrubbed, name, before[name], findings) for name in before}
            searched = drop_unsearched(after, candidates.unsearched)
            found[scrubbed.table, TOO_LONG_FOUND] += searched != after
            changed = {name: searched[name] for name in before if searched[name] != before[name]}
            if changed and self.apply:
                _write_scrubbed_row(scrubbed, row, changed)
        return found

    def _cut(self, scrubbed: ScrubbedTable, name: str, value: Any, findings: _RowFindings) -> Any:
        _, secrets, found = findings
        if name == scrubbed.calls:
            return self._cut_calls(scrubbed, value, findings)
        shown = redact_value(value, secrets)
        found[scrubbed.table, KEYS_FOUND] += shown != value
        if name == "path" and shown and shown != strip_url_to_path(shown):
            found[scrubbed.table, PATHS_FOUND] += 1
            shown = strip_url_to_path(shown)
        if (
            name == "content"
            and shown.get("path")
            and shown["path"] != strip_url_to_path(shown["path"])
        ):
            found[scrubbed.table, PATHS_FOUND] += 1
            shown = shown | {"path": strip_url_to_path(shown["path"])}
        if name == "metadata" and shown and not shown.keys().isdisjoint(self.prompts):
            found[scrubbed.table, PROMPTS_FOUND] += 1
            shown = {key: kept for key, kept in shown.items() if key not in self.prompts}
        return shown

    def _cut_calls(self, scrubbed: ScrubbedTable, value: Any, findings: _RowFindings) -> Any:
        calls = value if isinstance(value, list) else [value]
        shown = []
        for call in calls:
            clean = call | {
                name: self._cut(scrubbed, name, call[name], findings)
                for name in REDACTED_FIELDS
                if name in call
            }
            old_id, new_id = call.get("transaction_id"), clean.get("transaction_id")
            if old_id != new_id and "dedup_key" in call:
                gateway_id = findings.row["gateway_id"]
                plain = dedup_key_of_id(gateway_id, old_id)
                keyed = keyed_dedup_key_of_id(gateway_id, old_id)
                for field in ("dedup_key", "shared_id"):
                    if clean.get(field) == plain:
                        clean[field] = keyed
            shown.append(clean)
        return shown if isinstance(value, list) else shown[0]

    @atomic
    def _scrub_audit(self) -> FindingCounts:
        """Scrub audit events. From the first changed one on, all get new digests.

        Each digest covers the one before, and the end of the chain is locked meanwhile.
        """
        found: FindingCounts = Counter()
        if self.apply:
            head = lock_chain_end().hex()
        changed: dict[int, AuditEvent] = {}
        events = AuditEvent.objects.order_by("pk")
        for batch in _event_chunks(events.iterator(SCRUB_BATCH_EVENTS), SCRUB_BATCH_EVENTS):
            candidates = key_candidates([[event.target, event.details] for event in batch])
            known = _known_keys_among(candidates.parts)
            for event in batch:
                texts = {"target": event.target, "details": event.details}
                shown = redact_value(texts, _secrets_in_value(texts, known))
                if shown != texts:
                    event.target, event.details = shown["target"], shown["details"]
                    changed[event.pk] = event
        found[AUDIT_TABLE, KEYS_FOUND] += len(changed)
        if self.apply and changed:
            new_head = _rechain_audit(changed)
            self.say(f"The audit's last digest was {head} and is now {new_head}")
        return +found


class StoredRows(NamedTuple):
    """The rows of one transaction, by primary key, and fingerprint and hint of their keys."""

    ledger: list[tuple[Any, ...]]
    quarantined: list[tuple[Any, ...]]
    keys: set[tuple[UUID, str]]


def stored_rows_of(dedup_key: UUID) -> StoredRows:
    """Return the rows that a transaction has, and had before corrections."""
    with connection.cursor() as cursor:
        cursor.execute(FIND_ROWS_OF_TRANSACTION, [dedup_key])
        rows = cursor.fetchall()
    return StoredRows(
        [(pk, moment) for pk, moment, *_ in rows if moment],
        [(pk,) for pk, moment, *_ in rows if not moment],
        {(fingerprint, hint or "") for *_, fingerprint, hint in rows if fingerprint},
    )


def scrub_stored_rows(stored: StoredRows, trace: KeyTrace) -> None:
    """Cut a key out of the rows of the transaction that it belongs to."""
    ledger, quarantine = SCRUBBED_TABLES[:2]
    for scrubbed, keys in ((ledger, stored.ledger), (quarantine, stored.quarantined)):
        for row in _rows_by_key(scrubbed, keys):
            before = _scrubbed_values(scrubbed, row)
            found = trace.found_in(before)
            texts = (text for text in found.parts if not is_entered_name(CallerKey(text)))
            after = redact_value(before, known_secrets(*texts))
            after = drop_unsearched(after, found.unsearched)
            changed = {name: after[name] for name in before if after[name] != before[name]}
            if changed:
                _write_scrubbed_row(scrubbed, row, changed)


def find_keys_elsewhere(known_tables: Iterable[ScrubbedTable] = SCRUBBED_TABLES) -> FindingCounts:
    """Count keys in all columns that `KeyScrub` does not change, by column.

    They are names that a person has entered, and has to correct. A key that is also a name of a
    customer or the like is no secret, and not counted.
    """
    own = {
        (scrubbed.table, name) for scrubbed in known_tables for name in _scrubbed_columns(scrubbed)
    }
    own |= {(AUDIT_TABLE, "target"), (AUDIT_TABLE, "details")}
    found: FindingCounts = Counter()
    for table, column in _text_columns():
        if (table, column) in own:
            continue
        for texts in _distinct_texts(table, column):
            known = _known_keys_among(key_candidates(texts).parts)
            for text in texts:
                found[f"{table}.{column}", KEYS_FOUND] += (
                    redact_value(text, _secrets_in_value(text, known)) != text
                )
    return +found


def _scrubbed_columns(scrubbed: ScrubbedTable) -> list[str]:
    return [*scrubbed.texts, *scrubbed.objects, *([scrubbed.calls] if scrubbed.calls else [])]


def _scrubbed_values(scrubbed: ScrubbedTable, row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _scrubbed_columns(scrubbed)}


def _known_keys_among(texts: Collection[str]) -> set[str]:
    """Return the texts that are known keys, or keys of calls in quarantine."""
    by_fingerprint = {fingerprint(text): text for text in texts}
    with connection.cursor() as cursor:
        cursor.execute(FIND_KNOWN_FINGERPRINTS, {"fingerprints": list(by_fingerprint)})
        return {by_fingerprint[found] for (found,) in cursor}


def _secrets_in_value(value: Any, known: set[str]) -> KnownSecrets:
    here = key_candidates(value).parts & known if known else set()
    return known_secrets(
        *(key for key in sorted(here, key=len) if not is_entered_name(CallerKey(key)))
    )


def _row_batches(scrubbed: ScrubbedTable) -> Iterator[list[dict[str, Any]]]:
    """Yield all rows in batches, in the order of their primary key.

    Rows written meanwhile may be missed: they are encoded without keys already.
    """
    order = ", ".join(scrubbed.key)
    last: list[Any] | None = None
    while True:
        after = f"WHERE ({order}) > ({', '.join(['%s'] * len(scrubbed.key))})" if last else ""
        which = f"{after} ORDER BY {order} LIMIT {SCRUB_BATCH_ROWS}"
        rows = _select_rows(scrubbed, which, last or [])
        if not rows:
            return
        last = [rows[-1][name] for name in scrubbed.key]
        yield rows


def _rows_by_key(
    scrubbed: ScrubbedTable, keys: Sequence[Sequence[Any]]
) -> Iterator[dict[str, Any]]:
    where = " AND ".join(f"{name} = %s" for name in scrubbed.key)
    for key in keys:
        yield from _select_rows(scrubbed, f"WHERE {where}", key)


def _select_rows(
    scrubbed: ScrubbedTable, which: str, arguments: Sequence[Any]
) -> list[dict[str, Any]]:
    """Return rows with what is scrubbed of them, JSON decoded. `which` follows FROM in SQL."""
    is_identified = (
        scrubbed.calls
        or scrubbed.table in TABLES_WITH_DEDUP_KEYS
        or scrubbed.table == "metering_conflict"
    )
    columns = [*scrubbed.key, *(["gateway_id"] if is_identified else [])]
    columns += [
        *scrubbed.texts,
        *(f"{name}::text" for name in (*scrubbed.objects, *_call_columns(scrubbed))),
    ]
    names = [column.partition("::")[0] for column in columns]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(columns)} FROM {scrubbed.table} {which}", arguments)
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
    for row in rows:
        for name in (*scrubbed.objects, *_call_columns(scrubbed)):
            row[name] = json.loads(row[name], parse_float=Decimal) if row[name] else None
    return rows


def _call_columns(scrubbed: ScrubbedTable) -> list[str]:
    return [scrubbed.calls] if scrubbed.calls else []


def _write_scrubbed_row(
    scrubbed: ScrubbedTable, row: dict[str, Any], changed: dict[str, Any]
) -> None:
    where = " AND ".join(f"{name} = %s" for name in scrubbed.key)
    key = [row[name] for name in scrubbed.key]
    with connection.cursor() as cursor:
        # Deleted, not changed: two scrubbed names may be equal, and calls bring it back anyway.
        if scrubbed.table == "metering_discoveredsource":
            cursor.execute(f"DELETE FROM {scrubbed.table} WHERE {where}", key)
            return
        if scrubbed.is_append_only:
            cursor.execute("SET LOCAL revcred.scrubbing = 'on'")
        sets = {
            name: _encode_scrubbed_json(value).decode()
            if name not in scrubbed.texts and value is not None
            else value
            for name, value in changed.items()
        }
        if scrubbed.table in TABLES_WITH_DEDUP_KEYS and "transaction_id" in changed:
            _replace_dedup_keys(row["gateway_id"], row["transaction_id"])
        assigned = ", ".join(f"{name} = %s" for name in sets)
        cursor.execute(
            f"UPDATE {scrubbed.table} SET {assigned} WHERE {where}",
            [*sets.values(), *key],
        )
        if scrubbed.is_append_only:
            cursor.execute("SET LOCAL revcred.scrubbing = 'off'")


def _replace_dedup_keys(gateway_id: int, transaction_id: str) -> None:
    dedup_keys = {
        "old": UUID(dedup_key_of_id(gateway_id, transaction_id)),
        "new": UUID(keyed_dedup_key_of_id(gateway_id, transaction_id)),
    }
    with connection.cursor() as cursor:
        for column in ("dedup_key", "shared_id"):
            cursor.execute(REPLACE_DEDUP_KEY.format(column=column), dedup_keys)


def _rechain_audit(changed: dict[int, AuditEvent]) -> str:
    """Write the changed events and all later digests, and return the last digest."""
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
                before = event.chain_after(before)
            AuditEvent.objects.bulk_update(anew, RECHAINED_FIELDS)
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
    """Yield the different texts of a column in batches."""
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
