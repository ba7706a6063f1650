"""Notes of the demo in `.run/demo.json`: its URL, accounts to sign in with, keys to call with."""

import json
import os
from pathlib import Path
from typing import TypedDict

from django.conf import settings

NOTES_PATH = Path(settings.BASE_DIR) / ".run" / "demo.json"


class DemoAccount(TypedDict):
    email: str
    password: str


class DemoGatewayAccess(TypedDict):
    name: str
    token: str


class DemoCaller(TypedDict):
    name: str
    external_key: str
    old_key: str | None  # in a rotation, as long as it is valid
    customer: str
    customer_name: str
    subscription: str
    subscription_name: str


class DemoNotes(TypedDict):
    url: str
    admin: DemoAccount
    subscribers: list[DemoAccount]
    gateway: DemoGatewayAccess
    credentials: list[DemoCaller]


def read_notes() -> DemoNotes | None:
    """Return the notes, or None if there are none yet."""
    try:
        notes: DemoNotes = json.loads(NOTES_PATH.read_text())
    except FileNotFoundError:
        return None
    return notes


def write_notes(notes: DemoNotes) -> None:
    """Write the notes, whole or not at all, readable by their owner only."""
    NOTES_PATH.parent.mkdir(mode=0o700, exist_ok=True)
    draft = NOTES_PATH.with_suffix(".new")
    # O_EXCL: a file or link that somebody else left there would not have our permissions.
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(notes, file, indent=2, ensure_ascii=False)
    draft.replace(NOTES_PATH)
