"""JSON that somebody types: taken if PostgreSQL keeps it and Python reads it back."""

import json
import re
from math import isfinite
from typing import Any, ClassVar

from django import forms

MAX_JSON_DEPTH = 20  # levels of nesting
UNSTORABLE_CHARACTERS = re.compile(
    "[\0\ud800-\udfff]"
)  # as escapes, these are JSON and yet no text


class _StorableObjectDecoder(json.JSONDecoder):
    """Says of all that can't be kept what Django expects to hear of all that is no JSON."""

    def decode(self, text: str, *args: Any) -> Any:
        try:
            said = super().decode(text, *args)
        except (ValueError, RecursionError):
            said = None
        if not (isinstance(said, dict) and _is_storable_json(said)):
            message = "It is no object that can be kept"
            raise json.JSONDecodeError(message, "", 0)
        return said


def _is_storable_json(value: Any, levels: int = MAX_JSON_DEPTH) -> bool:
    if isinstance(value, str):
        return not UNSTORABLE_CHARACTERS.search(value)
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, dict):
        return _is_storable_json([*value, *value.values()], levels)
    if isinstance(value, list):
        return levels > 0 and all(_is_storable_json(each, levels - 1) for each in value)
    return True


class JsonObjectField(forms.JSONField):
    """An object. Nothing typed is an empty one."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "invalid": "Enter a valid JSON object, such as {}."
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs | {"decoder": _StorableObjectDecoder})

    def to_python(self, value: Any) -> Any:
        return super().to_python(value) or {}
