"""What an administration looks at, beside the customer base that `bench.seeding` makes.

Customers and people with names of several words and accents, holders, suspensions, last uses,
tags, a long audit, and a quarantine. Written by PostgreSQL itself.
"""

import psycopg

from bench.stack import Bench

CUSTOMERS = 200_000  # in all
SUBSCRIBERS = 300_000
EVENTS = 1_000_000
QUARANTINED = 300_000
GROUPS = 2_000  # of the quarantine
LARGEST_CUSTOMER = 7  # has a tenth of all credentials, beside its own

WORDS = (
    "ARRAY['Zürich','Mosel','Harbour','Pine','Käse','Façade','Nordic','Alpha','Bergen','Orbit',"
    "'Lumen','Quartz','Sable','Tundra','Umbra','Velvet','Willow','Xenon','Yarrow','Zephyr']"
)
KINDS = "ARRAY['Maps','Logistik','Foods','Energie','Systèmes','Partners','Works','Union','Trade']"

ROWS = f"""
INSERT INTO revcred_customer
    (id, name, external_key, email_domains, tags, metadata, created_at)
SELECT
    n, ({WORDS})[1 + n %% 20] || ' ' || ({WORDS})[1 + n / 20 %% 20] || ' '
        || ({KINDS})[1 + n / 400 %% 9] || ' ' || n,
    'org-' || n, '{{}}', CASE n %% 10 WHEN 0 THEN ARRAY['partner'] ELSE '{{}}' END, '{{}}',
    now() - n * interval '1 minute'
FROM generate_series(%(customers)s + 1, %(all_customers)s) n;

INSERT INTO revcred_subscription
    (id, active_from, active_until, external_key, name, created_at, customer_id, product_id)
SELECT
    n, '2024-01-01', CASE n %% 7 WHEN 0 THEN '2025-01-01'::timestamptz END, 'sub-' || n, '',
    '2024-01-01', n, 1 + n %% 10
FROM generate_series(%(customers)s + 1, %(all_customers)s) n;

UPDATE revcred_credential SET customer_id = %(largest)s WHERE id %% 10 = 3;

UPDATE revcred_assignment SET customer_id = %(largest)s, subscription_id = %(largest)s
WHERE credential_id %% 10 = 3;

INSERT INTO revcred_subscriber (id, email, name, created_at)
SELECT
    n, 'person' || n || '@' || lower(({KINDS})[1 + n %% 9]) || '.example',
    ({WORDS})[1 + n %% 20] || ' ' || ({WORDS})[1 + n / 20 %% 20], now()
FROM generate_series(1, %(subscribers)s) n;

INSERT INTO revcred_membership (customer_id, subscriber_id, role)
SELECT 1 + n %% %(all_customers)s, n, (ARRAY['owner','member','viewer'])[1 + n %% 3]
FROM generate_series(1, %(subscribers)s) n;

INSERT INTO revcred_credential_holders (credential_id, subscriber_id)
SELECT 1 + (n * 7) %% %(credentials)s, n FROM generate_series(1, %(subscribers)s) n;

INSERT INTO revcred_suspension (credential_id, active_from)
SELECT n, now() - interval '1 day' FROM generate_series(1, %(credentials)s, 97) n;

INSERT INTO revcred_keyuse (external_key_id, last_used_at)
SELECT n, now() - (n %% 1000000) * interval '10 seconds'
FROM generate_series(1, %(credentials)s, 2) n;

UPDATE revcred_credential SET
    tags = CASE id %% 50 WHEN 0 THEN ARRAY['partner', 'eu'] ELSE ARRAY['eu'] END,
    expires_at = CASE id %% 20 WHEN 0 THEN now() + (id %% 4000 - 1000) * interval '1 hour' END,
    environment = CASE id %% 30 WHEN 0 THEN 'staging' ELSE environment END
WHERE id %% 10 = 0;

INSERT INTO revcred_auditevent
    (at, actor_id, actor, verb, target_type, target_id, target, details, digest)
SELECT
    now() - (%(events)s - n) * interval '1 minute', 1 + n %% 9,
    'admin' || 1 + n %% 9 || '@example.com',
    (ARRAY['changed','issued','suspended','rotated','signed_in'])[1 + n %% 5],
    (ARRAY['revcred.credential','revcred.customer'])[1 + n %% 2], 1 + n %% %(all_customers)s,
    'Thing ' || n, '{{}}', '\\x00'
FROM generate_series(1, %(events)s) n;

INSERT INTO metering_quarantined
    (id, gateway_id, transaction_id, occurred_at, received_at, subscription_named, source_named,
     method, path, elements, hint, reason, quarantined_at, error, fingerprint, released_by,
     release_note)
SELECT
    overlay(md5(n::text) PLACING lpad(to_hex(
        (extract(epoch FROM now()) * 1000)::bigint - n * 1000
    ), 12, '0') || '7000a' FROM 1)::uuid,
    (SELECT min(id) FROM revcred_gateway), 'lost-' || n, now() - n * interval '1 second',
    now() - n * interval '1 second', '', '', 'GET', '/v1/x', '{{"calls": 1}}',
    lpad((n %% %(groups)s)::text, 4, '0'), 'unknown_key', now() - n * interval '1 second', '',
    md5((n %% %(groups)s)::text)::uuid, '', ''
FROM generate_series(1, %(quarantined)s) n;
"""  # noqa: S608 - composed of constants of its own


def fill(bench: Bench, customers: int) -> None:
    """Fill what an administration looks at. `customers`: how many there are before."""
    values = {
        "credentials": bench.credentials,
        "customers": customers,
        "all_customers": max(CUSTOMERS, customers),
        "subscribers": SUBSCRIBERS,
        "events": EVENTS,
        "quarantined": QUARANTINED,
        "groups": GROUPS,
        "largest": LARGEST_CUSTOMER,
    }
    with psycopg.ClientCursor(bench.database) as cursor:
        cursor.execute("SET session_replication_role = replica")
        for statement in filter(str.strip, ROWS.split(";\n")):
            cursor.execute(statement.encode(), values)
        for table in ("customer", "subscription", "subscriber"):
            cursor.execute(f"SELECT setval('revcred_{table}_id_seq', 10000000)".encode())
        cursor.execute("SET session_replication_role = origin")
        cursor.execute("VACUUM ANALYZE")
