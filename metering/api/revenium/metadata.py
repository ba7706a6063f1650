"""What else a client says of a call, as far as it is kept."""

from collections.abc import Collection, Mapping
from typing import Any

from metering.api import facts


def kept_metadata(said: Mapping[str, Any], labels: Collection[str] = ()) -> dict[str, Any]:
    """These labels, or all that is said: the smallest first, up to what metadata may hold."""
    named = {
        name: value
        for name, value in said.items()
        if value is not None and (not labels or name in labels)
    }
    return facts.fit_metadata(named)
