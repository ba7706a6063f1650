"""The format that reads a gateway's lines: the one chosen on its page, or the one of its kind."""

from functools import cache

from metering.api.line_formats.built_in import (
    BUILT_IN_BY_KIND,
    BUILT_IN_BY_NAME,
    BUILT_IN_FORMATS,
)
from metering.api.line_formats.compiled import CompiledFormat
from revcred.models import Gateway


class UnknownFormat(LookupError):
    """A gateway's format no longer exists."""


def format_of_gateway(gateway: Gateway) -> CompiledFormat:
    """Return the format of the gateway's lines. Raises UnknownFormat."""
    if not gateway.line_format:
        return built_in_format(BUILT_IN_BY_KIND[Gateway.Kind(gateway.kind)].name)
    return built_in_format(gateway.line_format)


@cache
def built_in_format(name: str) -> CompiledFormat:
    """Return the compiled format of this name. Raises UnknownFormat."""
    found = BUILT_IN_BY_NAME.get(name)
    if found is None:
        raise UnknownFormat(name)
    return CompiledFormat(found.name, found.version, found.definition)


def format_choices() -> list[tuple[str, str]]:
    """Return the name and title of each format that a gateway can have."""
    return [(each.name, each.title) for each in BUILT_IN_FORMATS]
