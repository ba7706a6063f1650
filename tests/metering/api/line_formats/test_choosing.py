import pytest

from metering.api.line_formats.choosing import UnknownFormat, format_of_gateway
from revcred.models import Gateway

pytestmark = pytest.mark.django_db


def test_a_gateway_has_the_format_of_its_kind_unless_another_is_chosen():
    assert format_of_gateway(Gateway(kind="kong")).name == "kong"
    assert format_of_gateway(Gateway(kind="nginx", line_format="combined")).name == "combined"
    assert format_of_gateway(Gateway(kind="traefik")).name == "traefik"
    checked = Gateway(kind="traefik", check_mode=Gateway.CheckMode.OBSERVE)
    assert format_of_gateway(checked).name == "traefik-checked"


def test_a_format_that_is_gone_is_an_error():
    with pytest.raises(UnknownFormat):
        format_of_gateway(Gateway(line_format="gone"))
