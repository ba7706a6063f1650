"""What else a client says of a call, as far as it is kept."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from metering.api.decoding import Refused
from metering.api.transactions import MOST_METADATA, within_limits


def kept(said: Mapping[str, Any], labels: Collection[str] = ()) -> dict[str, Any]:
    """These labels, or all that is said: the smallest first, up to what metadata may hold."""
    fitting: dict[str, Any] = {}
    left = MOST_METADATA - len("{}")
    sized = [
        (len(msgspec.json.encode({name: said[name]})), name)
        for name in labels or said
        if said.get(name) is not None and _may_be_kept(said[name])
    ]
    for size, name in sorted(sized):
        left -= size
        if left < 0:
            break
        fitting[name] = said[name]
    return fitting


def _may_be_kept(value: Any) -> bool:
    try:
        within_limits({"": value})
    except Refused:
        return False
    return True
