"""What a secret may look like where it was not meant to be, and where that is looked for."""

import base64
import re
from urllib.parse import unquote

from django.db import connection


def in_base64(before="", behind=""):
    return lambda secret: base64.b64encode(f"{before}{secret}{behind}".encode()).decode()


FORMS = {
    "as it is": str,
    "bearer": lambda secret: f"Bearer {secret}",
    "in a query": lambda secret: f"/maps?api_key={secret}&zoom=3",
    "percent-encoded": lambda secret: "".join(f"%{byte:02X}" for byte in secret.encode()),
    "base64": in_base64(),
    "base64 behind one byte": in_base64(":", behind="!"),
    "base64 behind two bytes": in_base64("u:"),
    "basic": lambda secret: f"Basic {in_base64('me:')(secret)}",
}
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}")


def everything():
    """All columns of all tables as text; what is bytes is in hexadecimal digits, and also read."""
    dump = []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('%I', relname) FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT t::text FROM {table} t ORDER BY 1")
            dump += [f"{table} {row}" for (row,) in cursor]
    return "\n".join(dump)


def columns():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public'"
        )
        return cursor.fetchone()[0]


def readings(text):
    """The text, and what its escapes, its base64 and its hexadecimal digits say."""
    yield text
    if "%" in text:
        yield unquote(text)
    yield " ".join(
        _decoded(run[offset:]) for run in set(BASE64.findall(text)) for offset in range(4)
    )
    digits = re.findall(r"(?:[0-9a-f]{2}){8,}", text)
    yield " ".join(bytes.fromhex(each).decode("latin-1") for each in set(digits))


def _decoded(run):
    standard = run.replace("-", "+").replace("_", "/")
    return base64.b64decode(standard + "A" * (-len(standard) % 4)).decode("latin-1")


def hits(text, secrets):
    """Those of the secrets that a text holds, in whatever form."""
    forms = list(readings(text))
    return sorted({secret for secret in secrets for form in forms if secret in form})


def lines_with(text, secrets):
    """Which lines hold any: for who has to mend it."""
    return [line[:400] for line in text.splitlines() if hits(line, secrets)]
