import pytest
from django.urls import reverse

URL = "storefront:styleguide"


@pytest.mark.django_db
def test_it_shows_components_in_development(client, settings):
    settings.ENVIRONMENT = "development"

    page = client.get(reverse(URL)).content.decode()

    for part in (
        "Active, but charged to nothing",  # states
        "Enter a valid email address.",  # fields
        'class="quota-bar ahead"',  # rows
        "series-6",  # charts
        ", 8 times",  # history
        "--series-1",  # tokens
    ):
        assert part in page


@pytest.mark.django_db
@pytest.mark.parametrize("environment", ["production", "test"])
def test_it_is_nowhere_else(client, settings, environment):
    settings.ENVIRONMENT = environment

    assert client.get(reverse(URL)).status_code == 404
