"""Look for secrets in what is stored and logged, in whatever form they may be there."""

import base64
import html
import re
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import unquote

BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}")
HEXADECIMAL = re.compile(r"(?:[0-9a-f]{2}){8,}")
TABLES = """
SELECT format('%I', relname) FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1
"""


def everything(cursor: Any) -> str:
    """Return all columns of all tables as text, a row a line, led by the table's name."""
    cursor.execute(TABLES)
    lines = []
    for (table,) in cursor.fetchall():
        cursor.execute(f"SELECT t::text FROM {table} t ORDER BY 1")  # noqa: S608
        lines += [f"{table} {row}" for (row,) in cursor.fetchall()]
    return "\n".join(lines)


def hits(text: str, secrets: Collection[str]) -> list[str]:
    """Return those of the secrets that a text holds, in whatever form."""
    forms = list(_readings(text))
    return sorted({secret for secret in secrets for form in forms if secret in form})


def lines_with(text: str, secrets: Collection[str]) -> list[str]:
    """Return the beginnings of the lines that hold any."""
    return [line[:400] for line in text.splitlines() if hits(line, secrets)]


def _readings(text: str) -> Iterator[str]:
    """The text, and what its escapes, its base64 and its hexadecimal digits say; also twice."""
    once = list(_layer(text))
    yield text
    yield from once
    for each in once:
        yield from _layer(each)


def _layer(text: str) -> Iterator[str]:
    if "%" in text:
        yield unquote(text)
    if "&#" in text:
        yield html.unescape(text)
    runs = set(BASE64.findall(text))
    yield " ".join(_decoded(run[offset:]) for run in runs for offset in range(4))
    digits = set(HEXADECIMAL.findall(text))
    yield " ".join(bytes.fromhex(each).decode("latin-1") for each in digits)


def _decoded(run: str) -> str:
    standard = run.replace("-", "+").replace("_", "/")
    return base64.b64decode(standard + "A" * (-len(standard) % 4)).decode("latin-1")
