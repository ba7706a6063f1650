"""Rejections over the API: the latest items of a gateway that were rejected, and why."""

from datetime import datetime
from typing import Annotated

import msgspec
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from msgspec import Meta
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from metering.api.authentication import GatewayAuthentication, MayRead, admission_of
from metering.api.documentation import COMMON_ERROR_SCHEMAS, TRANSACTION_TAGS
from metering.inbox.rejections import MAX_REJECTIONS_PER_GATEWAY
from metering.models import Rejection
from revcred.api.rendering import StructRenderer
from revcred.api.schema import json_schema_of


class ListedRejection(msgspec.Struct, kw_only=True):
    """A rejected item."""

    rejected_at: datetime
    door: Annotated[str, Meta(description="The address it was posted to.")]
    index: Annotated[int | None, Meta(description="Position in the body, from 0.")]
    transaction_id: str | None
    field: str | None
    code: str
    message: str
    item: Annotated[str | None, Meta(description="What was rejected, without keys, if kept.")]


class ListedRejections(msgspec.Struct, kw_only=True):
    """The gateway's latest rejected items, and how many there are by reason."""

    rejections: list[ListedRejection]
    counts: Annotated[dict[str, int], Meta(description="By code, of all that are kept.")]


class RejectionsView(APIView):
    """The view of a gateway's own rejected items, the latest first."""

    authentication_classes = (GatewayAuthentication,)
    permission_classes = (MayRead,)
    renderer_classes = (StructRenderer,)

    @extend_schema(
        operation_id="list_rejections",
        summary="The latest rejected items",
        tags=TRANSACTION_TAGS,
        description=(
            "The last 1,000 items of the gateway that were rejected, the latest first, by whatever "
            "door they came."
        ),
        parameters=[
            OpenApiParameter("code", OpenApiTypes.STR, description="Only those of this code.")
        ],
        responses={200: json_schema_of(ListedRejections), **COMMON_ERROR_SCHEMAS},
    )
    def get(self, request: Request) -> Response:
        admission, code = admission_of(request), request.query_params.get("code", "")
        of_gateway = Rejection.objects.filter(gateway=admission.gateway)
        # What a test token posts is on the page of test calls, and none of it is here.
        found = [] if admission.test_token else list(of_gateway[:MAX_REJECTIONS_PER_GATEWAY])
        counts: dict[str, int] = {}
        for rejection in found:
            counts[rejection.code] = counts.get(rejection.code, 0) + 1
        listed = [_listed(each) for each in found if code in {"", each.code}]
        return Response(ListedRejections(rejections=listed, counts=counts))


def _listed(rejection: Rejection) -> ListedRejection:
    return ListedRejection(
        rejected_at=rejection.rejected_at,
        door=rejection.door,
        index=rejection.place,
        transaction_id=rejection.transaction_id or None,
        field=rejection.field or None,
        code=rejection.code,
        message=rejection.message,
        item=rejection.item,
    )
