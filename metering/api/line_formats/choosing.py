"""The format that reads a gateway's lines: the one chosen on its page, or the one of its kind."""

from functools import cache
from threading import Lock

import msgspec
from cachetools import TTLCache, cached

from metering.api.line_formats.built_in import (
    BUILT_IN_BY_KIND,
    BUILT_IN_BY_NAME,
    BUILT_IN_FORMATS,
)
from metering.api.line_formats.compiled import CompiledFormat
from metering.api.line_formats.definition import parse_definition
from metering.models import LineFormat
from revcred.models import Gateway

# A new version of an admin's own format is used within this time.
OWN_FORMAT_CACHE_SECONDS = 2.0
MAX_CACHED_FORMATS = 200


# Traefik's, if it asks revcred about each call: the answer says whose the call is.
CHECKED_TRAEFIK_FORMAT = "traefik-checked"


class UnknownFormat(LookupError):
    """There is no format of this name."""


def name_of_format(gateway: Gateway) -> str:
    """Return the name of the format that a gateway's lines have."""
    if gateway.line_format:
        return gateway.line_format
    kind = Gateway.Kind(gateway.kind)
    if kind == Gateway.Kind.TRAEFIK and gateway.check_mode != Gateway.CheckMode.OFF:
        return CHECKED_TRAEFIK_FORMAT
    return BUILT_IN_BY_KIND[kind].name


def format_of_gateway(gateway: Gateway) -> CompiledFormat:
    """Return the format of the gateway's lines. Raises UnknownFormat."""
    return format_named(name_of_format(gateway))


def format_named(name: str) -> CompiledFormat:
    """Return the format of this name, of an own one the latest version. Raises UnknownFormat."""
    return built_in_format(name) if name in BUILT_IN_BY_NAME else _own_format(name)


@cache
def built_in_format(name: str) -> CompiledFormat:
    found = BUILT_IN_BY_NAME[name]
    return CompiledFormat(found.name, found.version, found.definition)


def forget_own_formats() -> None:
    """Empty the cache, so that the next question asks the database."""
    _own_format.cache_clear()


@cached(TTLCache(MAX_CACHED_FORMATS, OWN_FORMAT_CACHE_SECONDS), lock=Lock())
def _own_format(name: str) -> CompiledFormat:
    found = LineFormat.objects.filter(name=name).order_by("-version").first()
    if found is None:
        raise UnknownFormat(name)
    definition = parse_definition(msgspec.json.encode(found.definition))
    return CompiledFormat(name, found.version, definition)


def format_choices() -> list[tuple[str, str]]:
    """Return the name and title of each format that a gateway can have."""
    latest = LineFormat.objects.order_by("name", "-version").distinct("name")
    own = [(each.name, f"{each.name}, version {each.version}") for each in latest]
    return [*((each.name, each.title) for each in BUILT_IN_FORMATS), *own]
