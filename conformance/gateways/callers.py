"""Keys that callers show, and what each of them is."""

from enum import StrEnum

CUSTOMER, SUBSCRIPTION, PRODUCT = "acme", "acme-maps", "maps"
OTHER_CUSTOMER = "globex"
LEAVING_KEY = "the-key-that-is-revoked-at-{}-5f81c2"


class Key(StrEnum):
    """The key of a caller. Each is long and odd, so that no log has it by accident."""

    GOOD = "the-good-key-93c1f7a4e0"
    OTHER = "the-other-key-58d3e20f9b"  # good, of another customer
    UNKNOWN = "an-unknown-key-71d0b2c6aa"
    SUSPENDED = "the-suspended-key-4be2917f03"
    REVOKED = "the-revoked-key-c80f65d19e"
    EXPIRED = "the-expired-key-0a7de48b52"
    EXHAUSTED = "the-exhausted-key-e6139fb28d"
    # Sent in a query, where these recipes do not look for keys.
    IN_QUERY = "a-key-in-a-query-2f94ad70bc"


def credential_name(key: str) -> str:
    """Return the name of the credential with a key, which does not hold the whole key."""
    return key.rpartition("-")[0]
