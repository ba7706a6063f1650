"""Validation of external keys: trimmed and limited the same wherever one comes in.

Doors, forms, uploads and actions ask here, so that no upload takes a key with which every call
would be rejected.
"""

MAX_KEY_CHARACTERS = 4_096  # long JSON Web Tokens are used as keys
KEY_TOO_LONG_MESSAGE = f"A key has at most {MAX_KEY_CHARACTERS:,} characters."


class KeyTooLong(ValueError):
    """The key has more than MAX_KEY_CHARACTERS."""

    def __init__(self) -> None:
        super().__init__(KEY_TOO_LONG_MESSAGE)


def trim_key(text: str) -> str:
    """Return the key without white space around it, such as the end of a line.

    Raises KeyTooLong.
    """
    # Before the limit: white space around a key does not count.
    key = text.strip()
    if len(key) > MAX_KEY_CHARACTERS:
        raise KeyTooLong
    return key
