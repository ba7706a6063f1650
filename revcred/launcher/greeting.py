"""The text that `make run` prints once everything runs: where to click and what to try."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from revcred.launcher.terminal import as_bold

ADDRESSES_TEXT = """
{title}

  Storefront  {url}/
  Admin       {url}/admin/
  API         {url}/v1/docs/
"""
PERSON_LINE = "  {role:<11} {email}  password {password}\n"
TRIAL_TEXT = """
  Report a call, then ask whose it was:

id=hello-$(date +%s)
curl -sS {url}/v1/transactions -H 'Authorization: Bearer {token}' \\
  -H 'Content-Type: application/json' \\
  -d '{{"transaction_id": "'$id'", "occurred_at": "'$(date -u +%FT%TZ)'", "key": "{key}"}}'; echo
sleep 2
curl -sS {url}/v1/transactions/$id -H 'Authorization: Bearer {token}'; echo
"""
ENDING_TEXT = """
  Ctrl-C stops everything. The next `make run` goes on with the same data.
"""


def greeting_text(url: str, demo: Path, *, seconds: float) -> str:
    facts = _demo_facts(demo)
    title = as_bold(f"revcred is ready after {seconds:.1f} s")
    parts = [
        ADDRESSES_TEXT.format(title=title, url=url),
        *_people_lines(facts),
        *_trial_text(url, facts),
        ENDING_TEXT,
    ]
    return "".join(parts)


def _people_lines(facts: dict[str, Any]) -> Iterator[str]:
    if not facts:
        return
    yield "\n"
    yield PERSON_LINE.format(role="Admin", **facts["admin"])
    for subscriber in facts["subscribers"][:2]:
        yield PERSON_LINE.format(role="Subscriber", **subscriber)


def _trial_text(url: str, facts: dict[str, Any]) -> Iterator[str]:
    # A database that the environment names may have no demo data.
    if facts:
        token, key = facts["gateway"]["token"], facts["credentials"][0]["external_key"]
        yield TRIAL_TEXT.format(url=url, token=token, key=key)


def _demo_facts(demo: Path) -> dict[str, Any]:
    """Return what `manage.py demo` wrote; nothing if the demo data was never loaded here."""
    try:
        return dict(json.loads(demo.read_text()))
    except (OSError, ValueError):
        return {}
