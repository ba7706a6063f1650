"""What all of Revenium's doors share: one object in a body, leniently read, and their records."""

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, TypeVar
from uuid import uuid4

import msgspec
from msgspec.structs import replace
from rest_framework.exceptions import APIException

from metering.api import facts
from metering.api.decoding import Refused, refusal_of
from metering.api.doors import Answer, Dialect, Manner, Post, Reading
from metering.api.quantities import exact, values_of
from metering.api.revenium import fields, idempotency
from metering.api.revenium.records import Invalid, error_record, rate_limit
from metering.api.transactions import Window
from metering.inbox import calls
from metering.inbox.calls import Call
from metering.pairing.partial_transactions import Side
from revcred.api.errors import Malformed
from revcred.models import Gateway

Said = Mapping[str, Any]
IDS = ("transactionId", "requestId")
KEYS = ("value", "application", "credential", "subscriberCredential", "clientId")
# By the names that clients send them under.
FACTS: Mapping[str, facts.Read] = {
    "responseCode": facts.status,
    **dict.fromkeys(("requestMessageSize", "responseMessageSize"), facts.size),
    **dict.fromkeys(
        (
            "backendLatency",
            "gatewayLatency",
            "elapsedTime",
            "totalDuration",
            "requestDuration",
            "durationMs",
        ),
        facts.latency,
    ),
    "method": facts.method,
    **dict.fromkeys(("url", "uri", "resource"), facts.whole_text),
}
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
        self._decode = msgspec.json.Decoder(self.item, strict=False, float_hook=exact).decode

    @abstractmethod
    def call_of(self, item: Any, said: Said, post: Post) -> Call:
        """The call that `item` means, with what else was `said` of it. Raises Refused."""

    def read(self, post: Post) -> Reading:
        try:
            item = self.decoded(post.body)
            said = values_of(msgspec.Raw(post.body))
            call = with_odd_facts(self.call_of(item, said, post), said)
            check_text(call)
            side = self.side_of(item)
        except Refused as refused:
            raise Invalid(refused, *_id_and_key_in(post.body)) from refused
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


def _id_and_key_in(body: bytes) -> tuple[str | None, str | None]:
    """The id and the key of a call that is not taken, as far as they can be read."""
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, None
    subscriber = said.get("subscriber")
    if isinstance(subscriber, dict) and isinstance(subscriber.get("credential"), dict):
        said = said | subscriber["credential"]
    return _first_text(said, IDS), _first_text(said, KEYS)


def _first_text(said: Said, names: Iterable[str]) -> str | None:
    found = next((said[name] for name in names if said.get(name)), None)
    return str(found) if isinstance(found, str | int) else None


def marks_of(field: str, key: fields.Text) -> dict[str, Any]:
    """The key as a call has it, until it is encoded. Raises Refused."""
    return calls.marks_of(fields.key(field, key))


def id_of(field: str, said: fields.Text, post: Post) -> str:
    """With neither id nor idempotency key nothing tells it from a repeat. Raises Refused."""
    return fields.text(field, said, most=fields.LONGEST_ID) or new_id(post)


def new_id(post: Post) -> str:
    key = idempotency.key_of(post)
    return str(idempotency.mark_of(post, key) if key else uuid4())


def dated(said: datetime | None, post: Post) -> dict[str, Any]:
    """When it happened: as said, or on arrival where nothing is said.

    Clients of these doors read no rejection: what is outside the window waits in quarantine.
    """
    if said is None:
        return {"occurred_at": post.now.astimezone(UTC), "undated": True}
    return {"occurred_at": said, "outside": not Window.of(post.gateway, post.now).holds(said)}


def with_odd_facts(call: Call, said: Said, reads: Mapping[str, facts.Read] = FACTS) -> Call:
    """The call with those facts among its metadata that could not be read."""
    if odd := facts.odd_ones(said, reads):
        call.metadata = facts.beside(call.metadata, odd)
    return call


def check_text(call: Call) -> None:
    """See that no text has a NUL. Of what decides nothing it is taken out. Raises Refused."""
    if not NUL.search(_encode(replace(call, key=None))):
        return
    call.method, call.path = facts.without_nul(call.method), facts.without_nul(call.path)
    call.metadata = facts.without_nul(call.metadata)
    if NUL.search(_encode(replace(call, key=None))):
        raise Refused(None, "bad_text", "It contains a NUL character.")
