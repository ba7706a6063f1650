"""Warnings of a preview: what rows would do that nobody may overlook, though it is no fault."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from django.db.backends.utils import CursorWrapper
from django.utils import timezone
from django.utils.translation import gettext

from revcred.models import Upload
from revcred.texts import number_of
from revcred.uploads import staging
from revcred.uploads.columns import ListKind
from revcred.uploads.opening import applicable_rows, plan_arguments
from revcred.uploads.plans.products import PRODUCT_OF_PLAN, SUBSCRIPTIONS_WITH_PLANS
from revcred.uploads.reading.list_reader import ROWS_ABOVE_HEADER

MAX_WARNING_EXAMPLES = 5
MAX_NEW_SUBSCRIPTIONS_SHOWN = 20

# Settings of a gateway by which its next calls are counted, or answered, in another way.
SETTINGS_OF_NEXT_CALLS = (
    *("suspended_at", "accepted_days", "ids_from_callers", "event_subject", "event_elements"),
    *("counted_records", "check_mode", "key_place", "key_name", "check_refuses_over_quota"),
    "signs_claims",
)

# code, count, message, examples; `UploadWarning` of the API describes them
PreviewWarning: TypeAlias = dict[str, Any]

# By code. Those that a preview keeps are English.
WARNING_MESSAGES: Mapping[str, Callable[[int], str]] = {
    "tokens": lambda _: gettext(
        "The file seems to have tokens. No list makes a token: issue those of a gateway on its"
        " page. These columns are not used:"
    ),
    "counted_differently": lambda count: number_of(
        count,
        "From the moment of applying on, calls of %(count)s gateway are counted, refused or let"
        " through by other settings than now.",
        "From the moment of applying on, calls of %(count)s gateways are counted, refused or let"
        " through by other settings than now.",
    ),
    "above_header": lambda count: number_of(
        count,
        "%(count)s row above the header is not used.",
        "%(count)s rows above the header are not used.",
    ),
    "left_out": lambda _: gettext(
        "The file has more than the rows of this list. These are left out:"
    ),
    "superseded_first": lambda count: number_of(
        count,
        "%(count)s rows are left out, because another row says the same and you chose to keep the"
        " first one.",
        "%(count)s rows are left out, because another row says the same and you chose to keep the"
        " first one.",
    ),
    "superseded_last": lambda count: number_of(
        count,
        "%(count)s rows are left out, because another row says the same and you chose to keep the"
        " last one.",
        "%(count)s rows are left out, because another row says the same and you chose to keep the"
        " last one.",
    ),
    "hashes": lambda _: gettext(
        "A column holds hashes of keys. Callers send the keys themselves, which cannot be computed"
        " from hashes: the column is not used."
    ),
    "similar_customers": lambda count: number_of(
        count,
        "%(count)s new customers differ from others only in case, accents or punctuation. If they"
        " are the same, correct the list: otherwise they become two.",
        "%(count)s new customers differ from others only in case, accents or punctuation. If they"
        " are the same, correct the list: otherwise they become two.",
    ),
    "similar_plans": lambda count: number_of(
        count,
        "%(count)s new products differ from others only in case, accents or punctuation. If they"
        " are the same, correct the list: otherwise they become two.",
        "%(count)s new products differ from others only in case, accents or punctuation. If they"
        " are the same, correct the list: otherwise they become two.",
    ),
    "similar_names": lambda count: number_of(
        count,
        "%(count)s new credentials differ from others only in case, accents or punctuation. If"
        " they are the same, correct the list: otherwise they become two.",
        "%(count)s new credentials differ from others only in case, accents or punctuation. If"
        " they are the same, correct the list: otherwise they become two.",
    ),
    "feeds_nothing": lambda count: number_of(
        count,
        "%(count)s new credential feeds no subscription. Calls with these keys are charged to"
        " nobody: they wait in quarantine until the credential has a subscription.",
        "%(count)s new credentials feed no subscription. Calls with these keys are charged to"
        " nobody: they wait in quarantine until the credential has a subscription.",
    ),
    "joined_plans": lambda count: number_of(
        count,
        "%(count)s row names what may be several plans, and is taken for one. If they are several,"
        " choose what separates them, under “Several plans in one cell”.",
        "%(count)s rows name what may be several plans, and is taken for one. If they are several,"
        " choose what separates them, under “Several plans in one cell”.",
    ),
    "ambiguous": lambda count: number_of(
        count,
        "%(count)s row feeds several subscriptions whose products count the same calls. A call"
        " that does not name its subscription is ambiguous and waits in quarantine. Give each of"
        " the products its own sources, or name one plan in a row.",
        "%(count)s rows feed several subscriptions whose products count the same calls. A call"
        " that does not name its subscription is ambiguous and waits in quarantine. Give each of"
        " the products its own sources, or name one plan in a row.",
    ),
}

# in: rows that change something; out: the sets of products that they feed, of those whose
# subscriptions no call could choose between, with the number of rows
#
# Two products count the same calls if one of them counts all, both count a source, or both count
# calls of no source.
AMBIGUOUS_PRODUCTS_QUERY = f"""
WITH plans AS MATERIALIZED (
    SELECT planned, p.id, p.external_key
    FROM (
        SELECT DISTINCT planned FROM (SELECT DISTINCT plan FROM {{source}} row) d
        CROSS JOIN unnest(string_to_array(plan, '|')) planned
    ) e
    CROSS JOIN {PRODUCT_OF_PLAN}
), fed AS MATERIALIZED (
    SELECT customer, subscription, plan, count(*) AS rows
    FROM {{source}} row WHERE subscription LIKE '%%|%%' GROUP BY customer, subscription, plan
), sets AS MATERIALIZED (
    SELECT products, names, sum(rows) AS rows
    FROM (
        SELECT
            fed.rows,
            array_agg(coalesce(s.product_id, p.id, %(product)s::bigint, 0) ORDER BY named)
                AS products,
            string_agg(coalesce(s.product, p.external_key, planned, named), ' + ' ORDER BY named)
                AS names
        FROM fed
        CROSS JOIN {SUBSCRIPTIONS_WITH_PLANS}
        LEFT JOIN plans p USING (planned)
        LEFT JOIN LATERAL (
            SELECT x.product_id, o.external_key::text AS product
            FROM revcred_subscription x JOIN revcred_product o ON o.id = x.product_id
            WHERE x.external_key = named ORDER BY x.active_from DESC LIMIT 1
        ) s ON true
        GROUP BY fed.customer, fed.subscription, fed.plan, fed.rows
    ) d
    GROUP BY products, names
)
SELECT names, rows FROM sets
WHERE EXISTS (
    SELECT
    FROM unnest(products) WITH ORDINALITY a (id, nth)
    JOIN unnest(products) WITH ORDINALITY b (id, nth) ON a.nth < b.nth
    LEFT JOIN revcred_product pa ON pa.id = a.id
    LEFT JOIN revcred_product pb ON pb.id = b.id
    WHERE NOT coalesce(pa.restricted, false) OR NOT coalesce(pb.restricted, false)
        OR pa.also_without_source AND pb.also_without_source
        OR EXISTS (
            SELECT FROM revcred_product_sources x JOIN revcred_product_sources y USING (source_id)
            WHERE x.product_id = a.id AND y.product_id = b.id
        )
)
ORDER BY rows DESC, names
"""

# in: rows that change something; out: new subscriptions of plans, numbered ones first
NEW_SUBSCRIPTIONS_QUERY = f"""
SELECT customer, planned, named, p.external_key, is_numbered, count
FROM (
    SELECT d.*, named <> wanted AS is_numbered, count(*) OVER () AS count
    FROM (
        SELECT
            customer, named, min(planned) AS planned, min(number) AS number,
            left(replace(replace(
                %(plan_keys)s, '{{{{customer}}}}', customer
            ), '{{{{plan}}}}', regexp_replace(min(planned), '[[:space:],;]+', '-', 'g')), 190)
                AS wanted
        FROM {{source}} row CROSS JOIN {SUBSCRIPTIONS_WITH_PLANS}
        WHERE plan IS NOT NULL AND planned IS NOT NULL
            AND NOT EXISTS (SELECT FROM revcred_subscription s WHERE s.external_key = named)
        GROUP BY customer, named
    ) d
    ORDER BY is_numbered DESC, number LIMIT %(shown)s
) first
CROSS JOIN {PRODUCT_OF_PLAN}
ORDER BY is_numbered DESC, number
"""

# in: all rows; out: plans with a separator whose parts are all plans by themselves, with their rows
JOINED_PLANS_QUERY = """
WITH named AS MATERIALIZED (
    SELECT planned, sum(rows) AS rows
    FROM (
        SELECT plan, count(*) AS rows FROM {table} WHERE plan IS NOT NULL GROUP BY plan
    ) d CROSS JOIN unnest(string_to_array(plan, '|')) planned
    GROUP BY planned
), known AS MATERIALIZED (
    SELECT lower(planned) AS name FROM named
    UNION SELECT lower(external_key::text) FROM revcred_product
    UNION SELECT lower(name) FROM revcred_product
)
SELECT planned, rows FROM named
WHERE planned ~ '[,;/]' AND NOT EXISTS (
    SELECT FROM regexp_split_to_table(planned, '[,;/]') part
    WHERE NOT EXISTS (SELECT FROM known WHERE known.name = lower(btrim(part)))
)
ORDER BY rows DESC, planned
"""

# A name without case, accents and punctuation.
COMPARABLE = "lower(regexp_replace(normalize({name}::text, NFKD), '[^[:alnum:]]', '', 'g'))"

# in: rows that change something; out: new customers, each with one that is called alike
SIMILAR_CUSTOMERS_QUERY = f"""
WITH named AS MATERIALIZED (
    SELECT customer AS name, {COMPARABLE.format(name="customer")} AS comparable,
        EXISTS (SELECT FROM revcred_customer c WHERE c.external_key = d.customer) AS is_known
    FROM (SELECT DISTINCT customer FROM {{source}} row) d
), others AS MATERIALIZED (
    SELECT name, comparable FROM named
    UNION SELECT external_key::text, {COMPARABLE.format(name="external_key")} FROM revcred_customer
    UNION SELECT name::text, {COMPARABLE.format(name="name")} FROM revcred_customer
)
SELECT n.name, min(o.name), count(*) OVER () AS count
FROM named n JOIN others o ON o.comparable = n.comparable AND o.name <> n.name
WHERE NOT n.is_known AND n.comparable <> ''
GROUP BY n.name ORDER BY n.name LIMIT %s
"""

# in: rows that change something; out: new plans, each with one that is called alike
SIMILAR_PLANS_QUERY = f"""
WITH named AS MATERIALIZED (
    SELECT planned AS name, {COMPARABLE.format(name="planned")} AS comparable
    FROM (SELECT DISTINCT plan FROM {{source}} row WHERE plan IS NOT NULL) d
    CROSS JOIN unnest(string_to_array(plan, '|')) planned
    GROUP BY planned
), new AS (
    SELECT named.* FROM named CROSS JOIN LATERAL (SELECT name AS planned) n
    CROSS JOIN {PRODUCT_OF_PLAN} WHERE p.id IS NULL
), others AS (
    SELECT name, comparable FROM named
    UNION SELECT name::text, {COMPARABLE.format(name="name")} FROM revcred_product
)
SELECT n.name, min(o.name), count(*) OVER () AS count
FROM new n JOIN others o ON o.comparable = n.comparable AND o.name <> n.name
WHERE n.comparable <> ''
GROUP BY n.name ORDER BY n.name LIMIT %s
"""

# in: rows that change something; out: new names of credentials, each with one that is called alike
# at the same customer
SIMILAR_NAMES_QUERY = f"""
WITH named AS MATERIALIZED (
    SELECT customer, name, {COMPARABLE.format(name="name")} AS comparable
    FROM {{source}} row WHERE known_action = 'create'
), others AS (
    SELECT customer, name, comparable FROM named
    UNION
    SELECT c.external_key::text, k.name::text, {COMPARABLE.format(name="k.name")}
    FROM revcred_credential k JOIN revcred_customer c ON c.id = k.customer_id
    WHERE k.revoked_at IS NULL AND c.external_key IN (SELECT customer FROM named)
)
SELECT n.customer || ': ' || n.name, min(o.name), count(*) OVER () AS count
FROM named n JOIN others o ON o.customer = n.customer AND o.comparable = n.comparable
    AND o.name <> n.name
WHERE n.comparable <> ''
GROUP BY n.customer, n.name ORDER BY n.customer, n.name LIMIT %s
"""


def find_warnings(cursor: CursorWrapper, upload: Upload) -> list[PreviewWarning]:
    """Return the warnings of a planned upload, the gravest first."""
    warnings = [*_left_out_warning(upload), *_superseded_warning(cursor, upload)]
    if upload.kind == ListKind.CREDENTIALS:
        warnings += [
            *_hashes_warning(upload),
            *_joined_plans_warning(cursor, upload),
            *_unfed_warning(cursor, upload),
            *_ambiguous_warning(cursor, upload),
            *_similar_warnings(cursor, upload),
        ]
    if upload.kind == ListKind.GATEWAYS:
        warnings += [*_tokens_warning(upload), *_counting_warning(cursor, upload)]
    return warnings


def warning_message(code: str, count: int, choices: Mapping[str, str] | None = None) -> str:
    """Return the sentence of a warning in the current language. `choices`: of the upload.

    It is empty for a code of another version.
    """
    if code == "superseded":
        code = f"superseded_{(choices or {}).get('duplicates')}"
    return WARNING_MESSAGES[code](count) if code in WARNING_MESSAGES else ""


def shown_warnings(upload: Upload) -> list[PreviewWarning]:
    """Return the warnings of a preview in the language of the page."""
    return [
        warning
        | {
            "message": warning_message(warning["code"], warning["count"], upload.choices)
            or warning["message"]
        }
        for warning in upload.preview.get("warnings", ())
    ]


def _tokens_warning(upload: Upload) -> Iterator[PreviewWarning]:
    tokens = upload.findings.get("tokens", ())
    if tokens:
        yield {
            "code": "tokens",
            "count": len(tokens),
            "message": warning_message("tokens", len(tokens)),
            "examples": [upload.header[at] for at in tokens],
        }


def _counting_warning(cursor: CursorWrapper, upload: Upload) -> Iterator[PreviewWarning]:
    """Yield the gateways whose next calls are counted, or answered, in another way."""
    cursor.execute(
        f"SELECT name, count(*) OVER () FROM {staging.staging_table(upload.pk)}"
        " WHERE action = 'update' AND after ?| %s ORDER BY number LIMIT %s",
        [[*SETTINGS_OF_NEXT_CALLS], MAX_WARNING_EXAMPLES],
    )
    if found := cursor.fetchall():
        count = found[0][-1]
        yield {
            "code": "counted_differently",
            "count": count,
            "message": warning_message("counted_differently", count),
            "examples": [name for name, _ in found],
        }


def _left_out_warning(upload: Upload) -> Iterator[PreviewWarning]:
    """Yield what the file has and no row is made of, with counts."""
    left_out = dict(upload.findings.get("left_out", {}))
    if above := left_out.pop(ROWS_ABOVE_HEADER, 0):
        yield {
            "code": "above_header",
            "count": above,
            "message": warning_message("above_header", above),
            "examples": [],
        }
    if left_out:
        yield {
            "code": "left_out",
            "count": sum(left_out.values()),
            "message": warning_message("left_out", sum(left_out.values())),
            "examples": [f"{count:,} {what}" for what, count in sorted(left_out.items())],
        }


def _superseded_warning(cursor: CursorWrapper, upload: Upload) -> Iterator[PreviewWarning]:
    cursor.execute(f"SELECT count(*) FROM {staging.staging_table(upload.pk)} WHERE is_superseded")
    (count,) = cursor.fetchone()
    if count:
        yield {
            "code": "superseded",
            "count": count,
            "message": warning_message("superseded", count, upload.choices),
            "examples": [],
        }


def _hashes_warning(upload: Upload) -> Iterator[PreviewWarning]:
    mapped = {*upload.mapping}
    hashes = [at for at in upload.findings.get("hashes", ()) if str(at) not in mapped]
    if hashes and "key" not in upload.mapping.values():
        yield {
            "code": "hashes",
            "count": len(hashes),
            "message": warning_message("hashes", len(hashes)),
            "examples": [upload.header[at] for at in hashes],
        }


def _similar_warnings(cursor: CursorWrapper, upload: Upload) -> Iterator[PreviewWarning]:
    for code, query in (
        ("similar_customers", SIMILAR_CUSTOMERS_QUERY),
        ("similar_plans", SIMILAR_PLANS_QUERY),
        ("similar_names", SIMILAR_NAMES_QUERY),
    ):
        cursor.execute(query.format(source=applicable_rows(upload)), [MAX_WARNING_EXAMPLES])
        found = cursor.fetchall()
        if found:
            count = found[0][-1]
            yield {
                "code": code,
                "count": count,
                "message": warning_message(code, count),
                "examples": [f"{given} · {other}" for given, other, _ in found],
            }


def _unfed_warning(cursor: CursorWrapper, upload: Upload) -> Iterator[PreviewWarning]:
    cursor.execute(
        f"SELECT count(*) FROM {staging.staging_table(upload.pk)}"
        " WHERE action = 'create' AND subscription IS NULL"
    )
    (count,) = cursor.fetchone()
    if count:
        yield {
            "code": "feeds_nothing",
            "count": count,
            "message": warning_message("feeds_nothing", count),
            "examples": [],
        }


def _joined_plans_warning(cursor: CursorWrapper, upload: Upload) -> Iterator[PreviewWarning]:
    cursor.execute(JOINED_PLANS_QUERY.format(table=staging.staging_table(upload.pk)))
    found = cursor.fetchall()
    count = int(sum(rows for _, rows in found))
    if count:
        yield {
            "code": "joined_plans",
            "count": count,
            "message": warning_message("joined_plans", count),
            "examples": [f"{plan} ({int(rows):,})" for plan, rows in found[:MAX_WARNING_EXAMPLES]],
        }


def _ambiguous_warning(cursor: CursorWrapper, upload: Upload) -> Iterator[PreviewWarning]:
    arguments = plan_arguments(upload, at=timezone.now())
    cursor.execute(
        AMBIGUOUS_PRODUCTS_QUERY.format(source=applicable_rows(upload)),
        arguments,
    )
    found = cursor.fetchall()
    count = int(sum(rows for _, rows in found))
    if count:
        yield {
            "code": "ambiguous",
            "count": count,
            "message": warning_message("ambiguous", count),
            "examples": [
                f"{names} ({int(rows):,})" for names, rows in found[:MAX_WARNING_EXAMPLES]
            ],
        }


def find_new_subscriptions(cursor: CursorWrapper, upload: Upload) -> dict[str, Any]:
    """Return `new_subscriptions` of `Upload.preview`: those of plans, with their external keys."""
    if upload.kind != ListKind.CREDENTIALS:
        return {"count": 0, "first": []}
    arguments = plan_arguments(upload, at=timezone.now())
    cursor.execute(
        NEW_SUBSCRIPTIONS_QUERY.format(source=applicable_rows(upload)),
        arguments | {"shown": MAX_NEW_SUBSCRIPTIONS_SHOWN},
    )
    found = cursor.fetchall()
    return {
        "count": found[0][-1] if found else 0,
        "first": [
            {
                "customer": customer,
                "plan": plan,
                "external_key": key,
                "product": product,
                "is_numbered": is_numbered,
            }
            for customer, plan, key, product, is_numbered, _ in found
        ],
    }
