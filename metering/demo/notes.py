"""What scripts and the demo gateway read: where it runs, as whom to sign in, keys to call with."""

import json
import os
from pathlib import Path
from typing import TypedDict

from django.conf import settings

PATH = Path(settings.BASE_DIR) / ".run" / "demo.json"


class Account(TypedDict):
    email: str
    password: str


class Reporter(TypedDict):
    name: str
    token: str


class Caller(TypedDict):
    name: str
    external_key: str
    old_key: str | None  # in a rotation, as long as it is valid
    customer: str
    customer_name: str
    subscription: str
    subscription_name: str


class Notes(TypedDict):
    url: str
    admin: Account
    subscribers: list[Account]
    gateway: Reporter
    credentials: list[Caller]


def read() -> Notes | None:
    """None if nothing was noted yet."""
    try:
        notes: Notes = json.loads(PATH.read_text())
    except FileNotFoundError:
        return None
    return notes


def write(notes: Notes) -> None:
    """Whole or not at all, and for its owner's eyes only."""
    PATH.parent.mkdir(mode=0o700, exist_ok=True)
    draft = PATH.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(notes, file, indent=2, ensure_ascii=False)
    draft.replace(PATH)
