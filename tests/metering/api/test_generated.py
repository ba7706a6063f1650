"""A few generated requests at every operation; `make fuzz` sends a thousand, and asks more."""

import pytest
import schemathesis
from hypothesis import settings
from requests import Request

from tests.metering.api.documented import schema

few = schemathesis.Config.from_dict({"phases": {"coverage": {"enabled": False}}})
documented = schemathesis.openapi.from_dict(schema(), config=few)


@pytest.mark.django_db
@pytest.mark.filterwarnings("ignore:Skipped test cases with unsupported payload media types")
@documented.parametrize()
@settings(max_examples=8)
def test_the_answer_is_documented(case, client, token):
    asked = Request(**case.as_transport_kwargs("http://testserver")).prepare()
    headers = {name: value for name, value in asked.headers.items() if name != "Authorization"}

    response = client.generic(
        asked.method,
        asked.path_url,
        asked.body or b"",
        content_type=asked.headers.get("Content-Type", ""),
        headers=headers | {"x-api-key": token},
    )

    documented = {int(status) for status in case.operation.definition.raw["responses"]}
    if case.method.lower() != case.operation.method.lower():
        documented |= {200, 405}  # OPTIONS, and what is not there
    assert response.status_code in documented
    assert response.status_code < 500
