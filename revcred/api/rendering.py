"""The JSON of the API: structs are encoded as they are."""

from typing import Any

import msgspec
from rest_framework.renderers import JSONRenderer

# REST framework's own writes decimals as texts, which a client would have to parse.
_encode = msgspec.json.Encoder(decimal_format="number").encode


class StructRenderer(JSONRenderer):
    """Renderer of structs, which writes decimals as JSON numbers with all their digits."""

    def render(self, data: Any, *args: Any, **named: Any) -> bytes:
        return b"" if data is None else _encode(data)
