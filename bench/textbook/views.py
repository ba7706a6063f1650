from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from bench.textbook.models import Call
from bench.textbook.tasks import attribute
from metering.api.authentication import GatewayAuthentication, MayPost, admission_of
from revcred.fingerprints import fingerprint


class FingerprintField(serializers.CharField):
    def to_internal_value(self, data: Any) -> UUID:  # type: ignore[override]
        return fingerprint(super().to_internal_value(data))


class CallSerializer(serializers.ModelSerializer[Call]):
    key = FingerprintField(source="fingerprint")

    class Meta:
        model = Call
        fields = (
            *("transaction_id", "occurred_at", "key", "method", "path", "status"),
            *("request_bytes", "response_bytes", "latency_ms", "elements"),
        )


class Calls(APIView):
    authentication_classes = (GatewayAuthentication,)
    permission_classes = (MayPost,)

    def post(self, request: Request) -> Response:
        said = request.data if isinstance(request.data, list) else [request.data]
        serializer = CallSerializer(data=said, many=True)
        serializer.is_valid(raise_exception=True)
        gateway = admission_of(request).gateway
        calls = Call.objects.bulk_create(
            Call(gateway=gateway, **fields) for fields in serializer.validated_data
        )
        for call in calls:
            attribute.delay(call.pk)
        return Response({"accepted": len(calls)}, status=202)
