"""What to do now that it runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from revcred.launcher.terminal import bold

PLACES = """
{title}

  Storefront  {url}/
  Admin       {url}/admin/
  API         {url}/v1/docs/
"""
PERSON = "  {role:<11} {email}  password {password}\n"
TRIAL = """
  Report a call, then ask whose it was:

id=hello-$(date +%s)
curl -sS {url}/v1/transactions -H 'Authorization: Bearer {token}' \\
  -H 'Content-Type: application/json' \\
  -d '{{"transaction_id": "'$id'", "occurred_at": "'$(date -u +%FT%TZ)'", "key": "{key}"}}'; echo
sleep 2
curl -sS {url}/v1/transactions/$id -H 'Authorization: Bearer {token}'; echo
"""
ENDING = """
  Ctrl-C stops everything. The next `make run` goes on with the same data.
"""


def greeting(url: str, demo: Path, *, seconds: float) -> str:
    facts = _facts(demo)
    title = bold(f"revcred is ready after {seconds:.1f} s")
    parts = [PLACES.format(title=title, url=url), *_people(facts), *_trial(url, facts), ENDING]
    return "".join(parts)


def _people(facts: dict[str, Any]) -> Iterator[str]:
    if not facts:
        return
    yield "\n"
    yield PERSON.format(role="Admin", **facts["admin"])
    for subscriber in facts["subscribers"][:2]:
        yield PERSON.format(role="Subscriber", **subscriber)


def _trial(url: str, facts: dict[str, Any]) -> Iterator[str]:
    if facts:
        token, key = facts["gateway"]["token"], facts["credentials"][0]["external_key"]
        yield TRIAL.format(url=url, token=token, key=key)


def _facts(demo: Path) -> dict[str, Any]:
    """What `manage.py demo` wrote; nothing, if the demo data was never loaded here."""
    try:
        return dict(json.loads(demo.read_text()))
    except (OSError, ValueError):
        return {}
