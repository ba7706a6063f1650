"""What all of Revenium's doors share: one object in a body, leniently read, and their records."""

import re
from abc import abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, TypeVar
from uuid import uuid4

import msgspec
from msgspec.structs import replace
from rest_framework.exceptions import APIException

from metering.api.decoding import Refused, refusal_of
from metering.api.doors import Answer, Dialect, Manner, Post, Reading
from metering.api.quantities import values_of
from metering.api.revenium import fields, idempotency
from metering.api.revenium.records import Invalid, error_record, rate_limit
from metering.api.transactions import Window
from metering.ingestion import Call, Side
from metering.redaction import CallerKey
from revcred.api.errors import Malformed
from revcred.models import Gateway

Said = Mapping[str, Any]
Item = TypeVar("Item", bound=msgspec.Struct)

NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Body(msgspec.Struct, rename="camel", kw_only=True):
    """Nothing is required, and what is not known is passed over."""


class ReveniumManner(Manner):
    def refuse(self, error: APIException, path: str) -> Answer:
        return error_record(error, path)

    def headers(self, gateway: Gateway) -> Mapping[str, str]:
        return rate_limit(gateway)


class ReveniumDialect(ReveniumManner, Dialect, Generic[Item]):
    item: ClassVar[type[msgspec.Struct]]

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(self.item, strict=False).decode

    @abstractmethod
    def call_of(self, item: Any, said: Said, post: Post) -> Call:
        """The call that `item` means, with what else was `said` of it. Raises Refused."""

    def read(self, post: Post) -> Reading:
        try:
            item = self.decoded(post.body)
            call = self.call_of(item, values_of(msgspec.Raw(post.body)), post)
            check_text(call)
            side = self.side_of(item)
        except Refused as refused:
            raise Invalid(refused) from refused
        return Reading([call], side=side)

    def take(self, post: Post) -> Answer:
        return idempotency.once(post, super().take)

    def side_of(self, item: Any) -> Side | None:
        """Which half of a call it is, if it is only half of one. Raises Refused."""
        return None

    def decoded(self, body: bytes) -> Any:
        """Raises Refused, Malformed."""
        try:
            return self._decode(body)
        except msgspec.ValidationError as error:
            raise refusal_of(str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Malformed(f"The body is not JSON: {error}.") from error
        except RecursionError as error:
            raise Malformed("The JSON is nested too deeply.", code="too_deep") from error


def marks_of(field: str, key: fields.Text) -> dict[str, Any]:
    """The key as a call has it, until it is encoded. Raises Refused."""
    said = fields.text(field, key, most=fields.LONGEST_KEY)
    if said is None:
        return {}
    return {"key": CallerKey(said)}


def id_of(field: str, said: fields.Text, post: Post) -> str:
    """With neither id nor idempotency key nothing tells it from a repeat. Raises Refused."""
    return fields.text(field, said, most=fields.LONGEST_ID) or new_id(post)


def new_id(post: Post) -> str:
    key = idempotency.key_of(post)
    return str(idempotency.mark_of(post, key) if key else uuid4())


def dated(said: datetime | None, post: Post) -> dict[str, Any]:
    """When it happened: as said, or on arrival where that could not be settled any more."""
    window = Window.at(post.now)
    if said is None or not window.oldest <= said <= window.newest:
        return {"occurred_at": post.now.astimezone(UTC), "undated": True}
    return {"occurred_at": said}


def check_text(call: Call) -> None:
    if NUL.search(_encode(replace(call, key=None))):
        raise Refused(None, "bad_text", "It contains a NUL character.")
