"""The address at which a gateway reads digests of valid keys, and what changed in them since."""

from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from msgspec import Meta
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.views import APIView

from metering.api.authentication import GatewayAuthentication, MayPost, admission_of
from metering.api.documentation import COMMON_ERROR_SCHEMAS
from metering.api.doors import IgnoreAcceptHeader
from metering.api.key_inventory import KEY_TAGS
from metering.inventories.key_states import KEY_STATES
from metering.inventories.snapshot import SnapshotCursor, SnapshotPage, read_snapshot
from metering.models import GatewayToken
from revcred.api.errors import ConflictingState, MalformedRequest
from revcred.api.rendering import StructRenderer
from revcred.api.schema import ERROR_SCHEMA, json_schema_of

NDJSON = "application/x-ndjson"
KeyStateText = Annotated[str, Meta(extra_json_schema={"enum": list(KEY_STATES)})]


class SnapshotKey(msgspec.Struct, kw_only=True):
    """A key as a gateway may hold it. Only one that is `active` may be let in."""

    digest: Annotated[str, Meta(description="HMAC-SHA256 under EXPORT_KEY, in hexadecimal digits.")]
    credential: Annotated[str, Meta(description="Its public id; empty once the key was deleted.")]
    state: KeyStateText
    until: Annotated[datetime | None, Meta(description="It is not valid from then on.")]


class SnapshotEnd(msgspec.Struct, kw_only=True):
    """The last line. Without it the answer was cut."""

    cursor: Annotated[str, Meta(description="`since` of the next request.")]
    more: Annotated[bool, Meta(description="True: ask again at once.")]
    complete: Annotated[
        bool,
        Meta(
            description="True: keys of these pages that are not in them,"
            " are not valid. False: only changes are told."
        ),
    ]


class MayReadDigests(MayPost):
    """Permission to read digests of valid keys."""

    message = "This token may not read digests of keys."
    scope = GatewayToken.Scope.DIGESTS


class SnapshotView(APIView):
    """The view of the keys that are valid at a gateway, as digests."""

    authentication_classes = (GatewayAuthentication,)
    permission_classes = (MayReadDigests,)
    renderer_classes = (StructRenderer,)
    content_negotiation_class = IgnoreAcceptHeader

    @extend_schema(
        operation_id="list_valid_keys",
        summary="Digests of the keys that are valid, and what changed since",
        tags=KEY_TAGS,
        description=(
            "One object a line. The last line has the cursor to go on from: without it, all keys "
            "that count at this gateway are listed, in pages; with it, only those that have "
            "changed. A key may be told of twice, and is never passed over. Neither keys nor "
            "secrets can be read here."
        ),
        parameters=[
            OpenApiParameter("since", OpenApiTypes.STR, description="The cursor of the last line.")
        ],
        responses={
            (200, NDJSON): {"oneOf": [json_schema_of(SnapshotKey), json_schema_of(SnapshotEnd)]},
            **dict.fromkeys((400, 409), ERROR_SCHEMA),
            **COMMON_ERROR_SCHEMAS,
        },
    )
    def get(self, request: Request) -> HttpResponse:
        admission = admission_of(request)
        if admission.test_token:
            message = "A test token reads no digests."
            raise PermissionDenied(message, "not_allowed")
        if not settings.EXPORT_KEY:
            message = "This installation has no EXPORT_KEY, so there are no digests to read."
            raise ConflictingState(message, "no_export_key")
        text = request.query_params.get("since", "")
        cursor = SnapshotCursor.from_text(text)
        if text and cursor is None:
            message = "`since` is no cursor of an answer. Leave it out to begin anew."
            raise MalformedRequest(message)
        page = read_snapshot(admission.gateway, cursor)
        body = b"".join(msgspec.json.encode(line) + b"\n" for line in _snapshot_lines(page))
        return HttpResponse(
            body,
            status=HTTPStatus.OK,
            content_type=NDJSON,
            headers={"Cache-Control": "no-store"},
        )


def _snapshot_lines(page: SnapshotPage) -> Iterator[msgspec.Struct]:
    for key in page.keys:
        yield SnapshotKey(
            digest=key.digest, credential=key.credential, state=key.state, until=key.until
        )
    yield SnapshotEnd(cursor=str(page.cursor), more=not page.is_last, complete=page.is_complete)
