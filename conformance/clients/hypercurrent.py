"""hypercurrent-metering: finished calls, halves of calls, and the question whose key it is."""

import time

from hypercurrent_metering import (
    ApiClient,
    ApiEventDTO,
    ApiEventsControllerApi,
    MeteringControllerApi,
    MeteringRequestDTO,
)
from hypercurrent_metering.rest import ApiException
from telling import ADDRESS, KEY, SUBSCRIPTION, TOKEN, call, new_id

api = ApiClient()
api.configuration.host = f"{ADDRESS}/meter/v1/api"
api.default_headers["x-api-key"] = TOKEN
metering, events = MeteringControllerApi(api), ApiEventsControllerApi(api)

CALL = {
    "method": "GET",
    "response_code": 200,
    "backend_latency": 100,
    "gateway_latency": 14,
    "request_headers": ["accept"],
    "response_headers": ["content-type"],
    "request_message_size": 1024,
    "response_message_size": 4096,
}
SEEN = {
    "elements": {"calls": 1},
    "method": "GET",
    "status": 200,
    "request_bytes": 1024,
    "response_bytes": 4096,
}

with call("meter(application)", {"path": "/by-key"}, **SEEN):
    metering.meter(MeteringRequestDTO(application=KEY, url="/by-key", **CALL))

with call("meter(productKey)", {"path": "/by-subscription"}, matched_by="subscription", **SEEN):
    metering.meter(MeteringRequestDTO(product_key=SUBSCRIPTION, url="/by-subscription", **CALL))

with call("meter(application, productKey)", {"path": "/by-both"}, **SEEN):
    metering.meter(
        MeteringRequestDTO(application=KEY, product_key=SUBSCRIPTION, url="/by-both", **CALL)
    )


def request(path: str, name: str) -> ApiEventDTO:
    return ApiEventDTO(
        request_id=name,
        event_type="REQUEST",
        application=KEY,
        method="GET",
        uri=path,
        current_millis=int(time.time() * 1000),
    )


def response(name: str) -> ApiEventDTO:
    return ApiEventDTO(
        request_id=name,
        event_type="RESPONSE",
        response_code=200,
        request_message_size=1024,
        response_message_size=4096,
        backend_latency=99.5,
        elapsed_time=100,
        current_millis=int(time.time() * 1000),
    )


name = new_id()
with call("event(REQUEST), event(RESPONSE)", {"path": "/halves"}, **SEEN):
    events.event(request("/halves", name))
    events.event(response(name))

name = new_id()
with call("event(RESPONSE), event(REQUEST)", {"path": "/halves-turned"}, **SEEN):
    events.event(response(name))
    events.event(request("/halves-turned", name))

with call("valid(application)"):
    metering.valid(application=KEY)

with call("valid(productKey)"):
    metering.valid(product_key=SUBSCRIPTION)

for asked in ({"application": "nobodys-key"}, {"product_key": "nobodys-subscription"}):
    with call(f"valid({next(iter(asked))}), unknown"):
        try:
            metering.valid(**asked)
        except ApiException as error:
            assert error.status == 404, error.status  # noqa: PT017 - outside of any test
        else:
            raise AssertionError("It was taken for valid.")
