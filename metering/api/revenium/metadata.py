"""Metadata of calls of Revenium's clients: fields that have no column of their own."""

from collections.abc import Collection, Mapping
from typing import Any

from metering.api import facts


def kept_metadata(data: Mapping[str, Any], labels: Collection[str] = ()) -> dict[str, Any]:
    """Return the labelled fields, or without labels all of them, as far as metadata can hold them.

    Of too many, the smallest are kept.
    """
    chosen = {
        name: value
        for name, value in data.items()
        if value is not None and (not labels or name in labels)
    }
    return facts.fit_metadata(chosen)
