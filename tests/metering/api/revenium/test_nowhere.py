"""Every address that a client of Revenium may try is answered as JSON, in its manner."""

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess

pytestmark = pytest.mark.django_db

METHODS = ["get", "post", "put", "patch", "delete", "options", "head"]
NOT_FOUND = [
    *("/meter", "/meter/", "/meter/v2", "/meter/v2/nope", "/meter/v3/events", "/meter/v1/api/rate"),
    *("/meter/v2/otlp/v1/nope", "/tool", "/tool/", "/tool/nope", "/tool/events/nope"),
    *("/v2", "/v2/", "/v2/nope", "/v2/otlp", "/v2/sdk/nope", "/v2/api/ai/enforcement-rules/7"),
]
NOT_IMPLEMENTED = [
    *("/profitstream", "/profitstream/", "/profitstream/v2/api/users/me"),
    *("/profitstream/v2/api/credentials?teamId=7", "/profitstream/v1/api/products/7"),
    *("/api/v2", "/api/v2/", "/api/v2/analytics/costs", "/api/v2/insights/a/b"),
]
METRICS = ["/meter/v2/otlp/v1/metrics", "/v2/otlp/v1/metrics", "/meter/v2/otlp/v1/metrics/"]
ALL = (
    [(path, 404, "not_found") for path in NOT_FOUND]
    + [(path, 501, "not_implemented") for path in NOT_IMPLEMENTED]
    + [(path, 410, "gone") for path in METRICS]
)


@pytest.fixture
def asked(client, token):
    def asked(method, path, token=token, **headers):
        client.handler.enforce_csrf_checks = True
        headers = {"accept": "text/html", "x-api-key": token} | headers
        return getattr(client, method)(path, headers=headers)

    return asked


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("path", "status", "code"), ALL)
def test_it_is_an_error_record(asked, method, path, status, code):
    answer = asked(method, path)

    assert (answer.status_code, answer["Content-Type"]) == (status, "application/json")
    if method != "head":
        said = answer.json()
        assert (said["status"], said["path"]) == (status, path.partition("?")[0])
        assert said["errors"][0]["code"] == code


@pytest.mark.parametrize("path", [*NOT_FOUND, *NOT_IMPLEMENTED])
def test_who_is_unknown_gets_an_error_record(asked, path):
    answer = asked("get", path, token="hak_nobody")

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, "unknown_token")


@pytest.mark.parametrize("path", METRICS)
def test_metrics_are_told_without_a_token_and_as_protobuf(client, path):
    protobuf = "application/x-protobuf"
    answer = client.post(path, b"anything", content_type=protobuf)

    assert (answer.status_code, answer["Content-Type"]) == (410, protobuf)
    told = ExportLogsPartialSuccess.FromString(answer.content).error_message
    assert "are not accepted" in told
    assert client.post(path, "{}", content_type="application/json").json()["status"] == 410


@pytest.mark.parametrize("path", ["/v1/nope", "/api/v1/nope", "/v1/metrics"])
def test_other_addresses_are_told_as_json(asked, path):
    answer = asked("post", path)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
