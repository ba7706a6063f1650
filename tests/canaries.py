"""What a secret may look like where it was not meant to be, and where that is looked for."""

import base64

from conformance import leaks
from conformance.leaks import hits, lines_with
from tests.owner import owner_cursor

__all__ = ["FORMS", "columns", "everything", "hits", "lines_with"]


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
    "base64 twice": lambda secret: in_base64()(in_base64(":")(secret)),
    "hexadecimal digits": lambda secret: secret.encode().hex(),
    "HTML": lambda secret: "".join(f"&#{ord(each)};" for each in secret),
    "basic": lambda secret: f"Basic {in_base64('me:')(secret)}",
}


def everything():
    with owner_cursor() as cursor:
        return leaks.everything(cursor)


def columns():
    """How many there are, of all tables and partitions."""
    with owner_cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public'"
        )
        return cursor.fetchone()[0]
