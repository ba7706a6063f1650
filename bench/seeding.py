"""A large customer base, within a minute or two. Runs inside `manage.py shell`.

What the application checks row by row holds here by construction: foreign keys are not looked
at while it is written, and the constraints that forbid overlaps are put back, and so checked,
in the end.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.transaction import atomic

from bench.stack import say
from bench.traffic import key
from metering.models import GatewayToken
from revcred.fingerprints import fingerprint_hex
from revcred.models import Gateway, User

CREDENTIALS_OF_A_CUSTOMER = 100
PRODUCTS = 10
LONG_AGO = "2024-01-01T00:00Z"
BACKEND = "allauth.account.auth_backends.AuthenticationBackend"

ROWS = """
INSERT INTO revcred_product (id, name, version, external_key, published)
SELECT n, 'Product ' || n, '1', 'product-' || n, true FROM generate_series(1, %(products)s) n;

INSERT INTO revcred_customer
    (id, name, external_key, email_domains, tags, metadata, created_at)
SELECT n, 'Customer ' || n, 'customer-' || n, '{}', '{}', '{}', %(long_ago)s
FROM generate_series(1, %(customers)s) n;

INSERT INTO revcred_subscription
    (id, active_from, external_key, name, created_at, customer_id, product_id)
SELECT
    n, %(long_ago)s, 'subscription-' || n, 'Subscription ' || n, %(long_ago)s, n,
    1 + n %% %(products)s
FROM generate_series(1, %(customers)s) n;

INSERT INTO revcred_credential
    (id, name, environment, tags, revocation_reason, created_at, customer_id)
SELECT
    n, 'Credential ' || n, 'production', '{}', '', %(long_ago)s, 1 + n %% %(customers)s
FROM generate_series(1, %(credentials)s) n;

INSERT INTO revcred_externalkey
    (id, active_from, kind, fingerprint, hint, created_at, credential_id)
SELECT number, %(long_ago)s, 'key', fingerprint, hint, %(long_ago)s, number FROM bench_key;

INSERT INTO revcred_assignment
    (id, active_from, created_at, credential_id, customer_id, subscription_id)
SELECT
    n, %(long_ago)s, %(long_ago)s, n, 1 + n %% %(customers)s, 1 + n %% %(customers)s
FROM generate_series(1, %(credentials)s) n;
"""
FILLED = ("product", "customer", "subscription", "credential", "externalkey", "assignment")
OVERLAPS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'x'
    AND conrelid IN ('revcred_externalkey'::regclass, 'revcred_assignment'::regclass)
"""


def seed(credentials: int) -> None:
    """So many credentials, one subscription a customer; prints the token of the one gateway."""
    with atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SET LOCAL maintenance_work_mem = '512MB'")
        cursor.execute("SET LOCAL session_replication_role = replica")
        _copy_keys(cursor, credentials)
        with _overlaps_allowed(cursor):
            _fill(cursor, credentials)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
    _, token = GatewayToken.issue(
        Gateway.objects.create(name="Bench"), name="", scopes=list(GatewayToken.Scope)
    )
    say(token)


def sign_in() -> None:
    """Prints the session of a superuser."""
    user = User.objects.create_superuser("bench@example.com", None)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = BACKEND
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    say(str(session.session_key))


def _copy_keys(cursor: CursorWrapper, credentials: int) -> None:
    cursor.execute(
        "CREATE TEMP TABLE bench_key (number bigint, fingerprint uuid, hint text) ON COMMIT DROP"
    )
    with cursor.copy("COPY bench_key FROM STDIN") as copy:
        for start in range(0, credentials, 10_000):
            copy.write("".join(_lines(start, min(start + 10_000, credentials))))


def _lines(start: int, end: int) -> Iterator[str]:
    for number in range(start, end):
        text = key(number)
        yield f"{number + 1}\t{fingerprint_hex(text)}\t{text[-4:]}\n"


def _fill(cursor: CursorWrapper, credentials: int) -> None:
    customers = max(1, credentials // CREDENTIALS_OF_A_CUSTOMER)
    sizes = {"credentials": credentials, "customers": customers, "products": PRODUCTS}
    for statement in filter(str.strip, ROWS.split(";")):
        cursor.execute(statement, sizes | {"long_ago": LONG_AGO})
    for table in FILLED:
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)",
            [f"revcred_{table}", credentials + PRODUCTS],
        )


@contextmanager
def _overlaps_allowed(cursor: CursorWrapper) -> Iterator[None]:
    """To build an exclusion constraint takes two thirds of the time to keep it up."""
    cursor.execute(OVERLAPS)
    constraints = cursor.fetchall()
    for table, name, _ in constraints:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    yield
    for table, name, definition in constraints:
        cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
