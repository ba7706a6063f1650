"""A form field for JSON objects that PostgreSQL can store and Python can read back."""

import json
import re
from math import isfinite
from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext

from revcred.models.customers import MAX_METADATA_CHARACTERS
from revcred.texts import gettext_lazy, grouped

# Python's decoder recurses: without a limit, deep nesting ends in a RecursionError elsewhere.
MAX_JSON_DEPTH = 20  # levels
# NUL and lone surrogates are valid JSON as escapes, but PostgreSQL stores no such text.
UNSTORABLE_CHARACTERS = re.compile("[\0\ud800-\udfff]")


class _StorableObjectDecoder(json.JSONDecoder):
    """Rejects what cannot be stored like a text that is no JSON, as Django's field expects."""

    def decode(self, text: str, *args: Any) -> Any:
        try:
            value = super().decode(text, *args)
        except (ValueError, RecursionError):
            value = None
        if not (isinstance(value, dict) and _is_storable_json(value)):
            message = "It is not an object that can be stored"
            raise json.JSONDecodeError(message, "", 0)
        return value


def _is_storable_json(value: Any, levels: int = MAX_JSON_DEPTH) -> bool:
    """Return True if PostgreSQL's jsonb takes the value. `levels`: nesting still allowed."""
    if isinstance(value, str):
        return not UNSTORABLE_CHARACTERS.search(value)
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, dict):
        return _is_storable_json([*value, *value.values()], levels)
    if isinstance(value, list):
        return levels > 0 and all(_is_storable_json(item, levels - 1) for item in value)
    return True


class JsonObjectField(forms.JSONField):
    """A JSON object of at most MAX_METADATA_CHARACTERS. An empty input is an empty object."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "invalid": gettext_lazy("Enter a valid JSON object, such as {}.")
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs | {"decoder": _StorableObjectDecoder})

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and len(value) > MAX_METADATA_CHARACTERS:
            message = gettext("It has more than %(most)s characters.") % {
                "most": grouped(MAX_METADATA_CHARACTERS)
            }
            raise forms.ValidationError(message, code="too_long")
        return super().to_python(value) or {}
