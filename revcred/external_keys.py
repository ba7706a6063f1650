"""The text of an external key: trimmed and limited the same wherever one comes in.

Doors, forms, lists and actions ask here, so that no list takes a key that every call would be
rejected with.
"""

MAX_KEY_CHARACTERS = 4_096  # long JSON Web Tokens are used as keys
KEY_TOO_LONG_MESSAGE = f"A key has at most {MAX_KEY_CHARACTERS:,} characters."


class KeyTooLong(ValueError):
    """A key of more than MAX_KEY_CHARACTERS."""

    def __init__(self) -> None:
        super().__init__(KEY_TOO_LONG_MESSAGE)


def trim_key(text: str) -> str:
    """The key without white space around it: no caller means the end of a line.

    Raises:
        KeyTooLong: more than MAX_KEY_CHARACTERS are left.
    """
    key = text.strip()
    if len(key) > MAX_KEY_CHARACTERS:
        raise KeyTooLong
    return key
