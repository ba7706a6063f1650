"""What else a client says of a call, as far as it is kept."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from metering.api.decoding import Refused
from metering.api.transactions import MOST_METADATA, within_limits


def kept(said: Mapping[str, Any], labels: Collection[str] = ()) -> dict[str, Any]:
    """These labels, or all that is said: the smallest first, up to what metadata may hold."""
    named = {
        name: value
        for name, value in said.items()
        if value is not None and (not labels or name in labels)
    }
    return named if _may_be_kept(named) else _fitting(named)


def _fitting(said: Mapping[str, Any]) -> dict[str, Any]:
    fitting: dict[str, Any] = {}
    left = MOST_METADATA - len("{}")
    for name, value in sorted(said.items(), key=_size):
        left -= _size((name, value))
        if left >= 0 and _may_be_kept({name: value}):
            fitting[name] = value
    return fitting


def _size(member: tuple[str, Any]) -> int:
    return len(msgspec.json.encode(dict([member])))


def _may_be_kept(said: dict[str, Any]) -> bool:
    try:
        within_limits(said)
    except Refused:
        return False
    return True
