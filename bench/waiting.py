"""What waits for its owner, and the owner's appearing. Runs inside `manage.py shell`."""

import time

from bench.stack import say
from revcred.actions import credentials
from revcred.actions.credentials import NewKey
from revcred.fingerprints import fingerprint_hex
from revcred.models import Customer


def mark(key: str) -> None:
    """Prints the key's fingerprint."""
    say(fingerprint_hex(key))


def own(key: str) -> None:
    """Issue a credential with that key, as an admin does; prints the moment it was there."""
    customer = Customer.objects.earliest("pk")
    credentials.issue_credential(
        customer=customer,
        name=key,
        by=None,
        new_key=NewKey(key=key),
        subscriptions=[customer.subscriptions.earliest("pk")],
    )
    say(repr(time.time()))
