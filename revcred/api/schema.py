"""OpenAPI schemas of the API, made from the types that its bodies are decoded into.

So the page cannot promise a field that is not read.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from drf_spectacular.openapi import AutoSchema

from revcred.api.errors import ApiError


def json_schema_of(item: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON schema of a struct, complete in itself."""
    # msgspec writes nested structs as references to components, which would have to be collected
    # from all doors. Inlined, a schema needs nothing around it.
    (_,), components = msgspec.json.schema_components([item], ref_template="{name}")
    schema: dict[str, Any] = _inline_references(components[item.__name__], components)
    return schema


def _inline_references(
    schema: Any, components: Mapping[str, Any], within: Sequence[str] = ()
) -> Any:
    """Return a schema with the components in place of references to them.

    `within` are the components around it. One that contains itself becomes a schema that allows
    anything, or inlining would never end.
    """
    if isinstance(schema, list):
        return [_inline_references(part, components, within) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if name := schema.get("$ref"):
        inner = components[name] if name not in within else {}
        return _inline_references(inner, components, (*within, name))
    return {name: _inline_references(part, components, within) for name, part in schema.items()}


ERROR_SCHEMA = json_schema_of(ApiError)


class RequiredBodySchema(AutoSchema):
    """Schema of a view whose POST needs a body; drf-spectacular takes every body for optional."""

    def _get_request_body(self, direction: Any = "request") -> Any:
        body = super()._get_request_body(direction)  # type: ignore[no-untyped-call]
        return body | {"required": True} if body else body
