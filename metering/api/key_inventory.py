"""The address at which a gateway's agent sends the list of keys that the gateway lets in."""

import re
from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import msgspec
from drf_spectacular.utils import OpenApiExample, extend_schema
from msgspec import UNSET, Meta, UnsetType
from rest_framework.exceptions import APIException, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from metering.api.authentication import GatewayAuthentication, MayPost, admission_of
from metering.api.bodies import read_body
from metering.api.decoding import text_problem
from metering.api.documentation import COMMON_ERROR_SCHEMAS
from metering.inventories import receiving
from metering.inventories.receiving import InventoryEntry
from metering.models import GatewayToken, InventoriedKey
from revcred.api.errors import ConflictingState, MalformedRequest
from revcred.api.rendering import StructRenderer
from revcred.api.schema import ERROR_SCHEMA, RequiredBodySchema, json_schema_of
from revcred.external_keys import KEY_TOO_LONG_MESSAGE, KeyTooLong, trim_key
from revcred.models import Gateway

KEY_TAGS = ["Keys of gateways"]
MAX_MISSING_PAGES_NAMED = 20
IS_DIGEST = re.compile(r"[0-9a-fA-F]{64}").fullmatch
NOT_A_STEP_MESSAGE = "Send one object with `step`: `begin`, `page` or `end`, and its members."
# As the decoder says where a mistake is. All else of its messages may quote the body.
MISTAKE_PLACE = re.compile(r" - at `\$\.?(?P<place>[a-z_.]*)`$")


class BeginStep(msgspec.Struct, tag_field="step", tag="begin", kw_only=True):
    """The beginning of an inventory. Another one that the gateway has not ended is dropped."""

    read_from: Annotated[
        str, Meta(min_length=1, max_length=50, pattern="^[a-z0-9-]+$", examples=["haproxy"])
    ]


class PostedEntry(msgspec.Struct, kw_only=True):
    """A key that the gateway lets in: exactly one of `key`, `digest` and `alias`."""

    key: Annotated[str, Meta(description="What callers send.")] | UnsetType = UNSET
    digest: (
        Annotated[str, Meta(description="Of such a key, 64 hexadecimal digits, as exported.")]
        | UnsetType
    ) = UNSET
    alias: (
        Annotated[str, Meta(description="An id that the gateway logs instead of the key.")]
        | UnsetType
    ) = UNSET
    enabled: bool = True
    created_at: Annotated[datetime, Meta(tz=True)] | None = None
    label: Annotated[str, Meta(description="Such as the consumer's name.")] = ""


class PageStep(msgspec.Struct, tag_field="step", tag="page", kw_only=True):
    """A part of an inventory. A page that is sent again replaces what was sent before."""

    inventory: UUID
    page: Annotated[int, Meta(ge=0, lt=receiving.MAX_PAGES, description="From 0, without gaps.")]
    keys: Annotated[list[msgspec.Raw], Meta(max_length=receiving.MAX_KEYS_PER_PAGE)]


class EndStep(msgspec.Struct, tag_field="step", tag="end", kw_only=True):
    """The end of an inventory, which is used from then on."""

    inventory: UUID
    pages: Annotated[int, Meta(ge=0, le=receiving.MAX_PAGES)]


class RejectedEntry(msgspec.Struct, kw_only=True):
    """An entry of a page that was not kept."""

    index: Annotated[int, Meta(description="Position in `keys`, from 0.")]
    code: str
    message: str


class InventoryAnswer(msgspec.Struct, kw_only=True):
    """The outcome of a step. `keys`: those of the page, or in the end of the inventory."""

    inventory: UUID
    keys: int = 0
    rejected: list[RejectedEntry] = []
    ended_at: datetime | None = None


class EntryRejected(Exception):
    """An entry that is not kept: a code for programs and a reason that quotes nothing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


_decode_step = msgspec.json.Decoder(BeginStep | PageStep | EndStep).decode
_decode_entry = msgspec.json.Decoder(PostedEntry).decode


class MaySendInventory(MayPost):
    """Permission to send an inventory of the gateway's keys."""

    message = "This token may not send inventories of keys."
    scope = GatewayToken.Scope.INVENTORY


def _documented_body() -> dict[str, object]:
    page = json_schema_of(PageStep)
    page["properties"]["keys"]["items"] = json_schema_of(PostedEntry)
    return {"oneOf": [json_schema_of(BeginStep), page, json_schema_of(EndStep)]}


class KeyInventoryView(APIView):
    """The view that takes an inventory of a gateway's keys, step by step."""

    authentication_classes = (GatewayAuthentication,)
    permission_classes = (MaySendInventory,)
    renderer_classes = (StructRenderer,)
    schema = RequiredBodySchema()

    @extend_schema(
        operation_id="send_key_inventory",
        summary="Send the list of keys that the gateway lets in",
        tags=KEY_TAGS,
        description=(
            "In steps: `begin`, then pages of up to 1,000 keys, then `end`. From then on the "
            "inventory is compared with the register: see the gateway's page. Keys become "
            "fingerprints at once and are not kept. After any error, or without an answer, send "
            "the same step again; after 404, begin again."
        ),
        request={"application/json": _documented_body()},
        responses={
            200: json_schema_of(InventoryAnswer),
            **dict.fromkeys((400, 404, 409, 413, 415), ERROR_SCHEMA),
            **COMMON_ERROR_SCHEMAS,
        },
        examples=[
            OpenApiExample(
                "Begin", value={"step": "begin", "read_from": "haproxy"}, request_only=True
            ),
            OpenApiExample(
                "A page",
                value={
                    "step": "page",
                    "inventory": "8f6f1c1e-3e0b-4a53-9d1c-0f3f0b7c9d11",
                    "page": 0,
                    "keys": [
                        {"key": "the-callers-own-key", "label": "acme"},
                        {"alias": "kong-credential-7", "enabled": False},
                    ],
                },
                request_only=True,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        admission = admission_of(request)
        if admission.test_token:
            message = "A test token sends no inventories."
            raise PermissionDenied(message, "not_allowed")
        step = _step_in(read_body(request._request))
        try:
            return Response(_take(step, admission.gateway), status=HTTPStatus.OK)
        except receiving.UnknownInventory as error:
            message = "The gateway has begun no such inventory, or another one since. Begin again."
            raise UnknownInventoryError(message) from error
        except receiving.InventoryEnded as error:
            message = "This inventory was ended. Begin another one."
            raise ConflictingState(message, "inventory_ended") from error
        except receiving.PagesMissing as error:
            named = ", ".join(map(str, error.pages[:MAX_MISSING_PAGES_NAMED]))
            message = f"Pages are missing: {named}. Send them, then end the inventory."
            raise ConflictingState(message, "pages_missing") from error


class UnknownInventoryError(APIException):
    """The gateway has begun no such inventory."""

    status_code = HTTPStatus.NOT_FOUND
    default_code = "unknown_inventory"


def _step_in(body: bytes) -> BeginStep | PageStep | EndStep:
    """Return the step in a body. Raises MalformedRequest, which quotes nothing of the body."""
    try:
        step: BeginStep | PageStep | EndStep = _decode_step(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        place = _place_of(error)
        where = f" The mistake is in `{place}`." if place else ""
        # Not as its cause: the decoder's message may hold a part of a key.
        raise MalformedRequest(NOT_A_STEP_MESSAGE + where) from None
    return step


def _place_of(error: Exception) -> str:
    """Return where in the body the decoder found a mistake; empty if it does not say."""
    found = MISTAKE_PLACE.search(str(error))
    return found["place"] if found else ""


def _take(step: BeginStep | PageStep | EndStep, gateway: Gateway) -> InventoryAnswer:
    if isinstance(step, BeginStep):
        begun = receiving.begin_inventory(gateway=gateway, read_from=step.read_from)
        return InventoryAnswer(inventory=begun.pk)
    if isinstance(step, EndStep):
        ended = receiving.end_inventory(gateway=gateway, inventory=step.inventory, pages=step.pages)
        return InventoryAnswer(inventory=ended.pk, keys=ended.keys, ended_at=ended.ended_at)
    entries, rejected = [], []
    for index, raw in enumerate(step.keys):
        try:
            entries.append(_entry_in(raw))
        except EntryRejected as error:
            rejected.append(RejectedEntry(index=index, code=error.code, message=error.message))
    keys = receiving.keep_page(
        gateway=gateway, inventory=step.inventory, page=step.page, entries=entries
    )
    return InventoryAnswer(inventory=step.inventory, keys=keys, rejected=rejected)


def _entry_in(raw: msgspec.Raw) -> InventoryEntry:
    """Return an entry of a page. Raises EntryRejected."""
    try:
        posted = _decode_entry(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        place = _place_of(error)
        where = f" `{place}` is not what it has to be." if place else ""
        raise EntryRejected("invalid", f"It is no entry of an inventory.{where}") from None
    texts = {
        kind: text
        for kind in InventoriedKey.Kind
        if (text := getattr(posted, kind.value)) is not UNSET
    }
    if len(texts) != 1:
        message = "Name exactly one of `key`, `digest` and `alias`."
        raise EntryRejected("invalid", message)
    ((kind, text),) = texts.items()
    try:
        text = trim_key(text)
    except KeyTooLong:
        raise EntryRejected("too_long", KEY_TOO_LONG_MESSAGE) from None
    if not text or text_problem(text):
        raise EntryRejected("invalid", f"`{kind.value}` is empty, or is no text.")
    if kind == InventoriedKey.Kind.DIGEST and not IS_DIGEST(text):
        raise EntryRejected("invalid", "A digest has 64 hexadecimal digits.")
    return InventoryEntry(
        kind=kind,
        text=text,
        is_enabled=posted.enabled,
        created_at=posted.created_at,
        label="" if text_problem(posted.label) else posted.label,
    )
