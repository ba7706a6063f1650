"""Public ids of credentials, which stand where no key should: in logs and at backends.

A public id is `cred_` and 32 random hexadecimal digits. Usage under one is known by these digits,
which stand in the column of fingerprints. No key has such a fingerprint: its own is a keyed hash,
so that nobody can choose it.
"""

import re
from uuid import UUID

from django.db import models
from psycopg import sql

PUBLIC_ID_PREFIX = "cred_"
PUBLIC_ID_CHARACTERS = len(PUBLIC_ID_PREFIX) + 32
PUBLIC_ID_PATTERN = f"{PUBLIC_ID_PREFIX}[0-9a-f]{{32}}"
_is_public_id = re.compile(PUBLIC_ID_PATTERN).fullmatch


def public_id_fingerprint(text: str) -> UUID | None:
    """Return what stands for a public id among fingerprints; None if the text is none."""
    return UUID(text[len(PUBLIC_ID_PREFIX) :]) if _is_public_id(text) else None


def public_id_of(fingerprint: UUID) -> str:
    """Return the public id that has this fingerprint, if any has."""
    return f"{PUBLIC_ID_PREFIX}{fingerprint.hex}"


def public_id_in_sql(fingerprint: str) -> sql.Composed:
    """Return the expression of `public_id_of` for a column, such as `j.fingerprint`.

    It is the value to look up in the index of `revcred_credential.public_id`.
    """
    return sql.SQL("('cred_' || replace({}::text, '-', ''))").format(
        sql.Identifier(*fingerprint.split("."))
    )


def fingerprint_in_sql(public_id: str) -> sql.Composed:
    """Return the expression of `public_id_fingerprint` for a column, such as `c.public_id`."""
    return sql.SQL("substr({}, 6)::uuid").format(sql.Identifier(*public_id.split(".")))


class PublicIdOf(models.Func):
    """The public id that has a fingerprint, as `public_id_of` returns it."""

    template = "('cred_' || replace(%(expressions)s::text, '-', ''))"
    output_field = models.CharField()


class FingerprintOfPublicId(models.Func):
    """What stands for a public id among fingerprints."""

    template = "substr(%(expressions)s, 6)::uuid"
    output_field = models.UUIDField()


# Everything that usage of a credential may come under: its keys, its aliases and its public id.
# To be joined by the credential; by the fingerprint no index serves it.
FINGERPRINTS_OF_CREDENTIALS = sql.SQL("""(
        SELECT credential_id, fingerprint FROM revcred_externalkey
        UNION ALL
        SELECT id, {fingerprint} FROM revcred_credential
    )""").format(fingerprint=fingerprint_in_sql("public_id"))
# Those of one credential, as rows that `hooks.count_waiting_for` counts for.
SELECT_FINGERPRINTS_OF_CREDENTIAL = (
    sql.SQL(
        "SELECT NULL::text AS customer, fingerprint, NULL::text AS subscription"
        " FROM {fingerprints} f WHERE credential_id = {{credential:d}}"
    )
    .format(fingerprints=FINGERPRINTS_OF_CREDENTIALS)
    .as_string()
)
