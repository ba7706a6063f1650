"""A large customer base, a million credentials within a minute. Runs inside `manage.py shell`.

What the application checks row by row holds here by construction: foreign keys are not looked
at while it is written, indexes are built in the end, and the constraints that forbid overlaps
are put back then, and so checked. For ten million these would take longer than all the rest
together; the benchmark of a long history leaves them away, for nothing that it measures asks them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.transaction import atomic

from bench.sizes import PRODUCTS, customers_of
from bench.stack import say
from bench.traffic import key
from metering.models import GatewayToken
from metering.models.gateways import generate_gateway_token
from revcred.accounts.sessions import SessionStore
from revcred.fingerprints import fingerprint
from revcred.models import ExternalKey, Gateway, Membership, Subscriber, User, UserToken

LONG_AGO = "2024-01-01T00:00Z"
BACKEND = "allauth.account.auth_backends.AuthenticationBackend"

ROWS = """
INSERT INTO revcred_product (
    id, name, version, external_key, published, also_without_source, restricted
)
SELECT n, 'Product ' || n, '1', 'product-' || n, true, false, false
FROM generate_series(1, %(products)s) n;

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
SELECT
    n, %(long_ago)s, 'key',
    encode(
        substring(sha256(%(outer)s || sha256(%(inner)s || convert_to(key, 'UTF8'))) FOR 16), 'hex'
    )::uuid,
    right(key, 4), %(long_ago)s, n
FROM (
    SELECT n, 'bench-key-' || lpad(number, greatest(7, length(number)), '0') AS key
    FROM (SELECT n, (n - 1)::text AS number FROM generate_series(1, %(credentials)s) n) numbered
) keyed;

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
# For a superuser, as the benchmark is of its own server.
NOT_READY = """
UPDATE pg_index SET indisready = false, indisvalid = false
WHERE indrelid = ANY (%s::regclass[])
"""
BLOCK = 64  # bytes, of SHA-256


def seed(credentials: int, *, overlaps: bool = True) -> None:
    """So many credentials, one subscription a customer; prints the token of the one gateway.

    Without `overlaps`, what forbids them is gone.
    """
    with atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SET LOCAL maintenance_work_mem = '1GB'")
        cursor.execute("SET LOCAL session_replication_role = replica")
        with _overlaps_allowed(cursor, put_back=overlaps), _indexed_later(cursor):
            _fill(cursor, credentials)
    if not ExternalKey.objects.filter(fingerprint=fingerprint(key(0))).exists():
        message = "The fingerprints made here are not the application's."
        raise RuntimeError(message)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
    issue("Bench")


def issue(name: str) -> None:
    """One gateway more; prints its token."""
    gateway = Gateway.objects.create(name=name)
    _, token = GatewayToken.issue(gateway, name="", scopes=list(GatewayToken.Scope))
    say(token)


def issue_uploader() -> None:
    """A member of the staff who may bring lists; prints his token."""
    user = User.objects.create(email="lists@revcred.example", is_staff=True, is_superuser=True)
    say(UserToken.issue(user, name="", scopes=[UserToken.Scope.CHECK])[1])


def unknown_tokens(count: int) -> None:
    """Tokens of the right form that nobody was given, on one line."""
    say(" ".join(generate_gateway_token() for _ in range(count)))


def sign_in() -> None:
    """Prints the session of a superuser."""
    _begin_session(User.objects.create_superuser("bench@example.com", None))


def sign_in_owner(customer: int) -> None:
    """Prints the session of an owner of the customer. Staff sign in as nobody's owner."""
    user = User.objects.create_user("owner@example.com", None)
    subscriber = Subscriber.objects.create(email=user.email, user=user)
    Membership.objects.create(
        customer_id=customer, subscriber=subscriber, role=Membership.Role.OWNER
    )
    _begin_session(user)


def _begin_session(user: User) -> None:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = BACKEND
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    say(str(session.session_key))


def _fill(cursor: CursorWrapper, credentials: int) -> None:
    sizes = {
        "credentials": credentials,
        "customers": customers_of(credentials),
        "products": PRODUCTS,
    }
    for statement in filter(str.strip, ROWS.split(";")):
        cursor.execute(statement, sizes | _hmac() | {"long_ago": LONG_AGO})
    for table in FILLED:
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)",
            [f"revcred_{table}", credentials + PRODUCTS],
        )


def _hmac() -> dict[str, bytes]:
    """What HMAC-SHA256 puts before the message and before its digest: for PostgreSQL to use."""
    secret = settings.FINGERPRINT_KEY.encode()
    padded = (sha256(secret).digest() if len(secret) > BLOCK else secret).ljust(BLOCK, b"\0")
    inner, outer = (bytes(byte ^ each for byte in padded) for each in (0x36, 0x5C))
    return {"inner": inner + b"key\0", "outer": outer}


@contextmanager
def _overlaps_allowed(cursor: CursorWrapper, *, put_back: bool) -> Iterator[None]:
    """To build an exclusion constraint takes two thirds of the time to keep it up."""
    cursor.execute(OVERLAPS)
    constraints = cursor.fetchall()
    for table, name, _ in constraints:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    yield
    for table, name, definition in constraints if put_back else ():
        cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")


@contextmanager
def _indexed_later(cursor: CursorWrapper) -> Iterator[None]:
    """Indexes are neither kept up nor used until they are built anew, in the end."""
    tables = [f"revcred_{table}" for table in FILLED]
    cursor.execute(NOT_READY, [tables])
    yield
    for table in tables:
        cursor.execute(f"REINDEX TABLE {table}")
