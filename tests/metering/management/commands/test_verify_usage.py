import re

import pytest
from django.core.management import CommandError, call_command

from metering.models import Usage
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "the-key-of-what-is-compared"


@pytest.fixture
def usage():
    customer = factories.a_customer()
    factories.a_credential(customer, KEY, subscriptions=[factories.a_subscription(customer)])
    factories.settled(*[factories.a_call(KEY) for _ in range(3)])
    return Usage.objects.filter(element="calls")


def test_usage_that_equals_the_ledger_is_said_to(usage, capsys):
    call_command("verify_usage")

    assert capsys.readouterr().out == "Usage equals the ledger: 0 differences.\n"


def test_usage_that_differs_fails_and_says_where(usage, capsys):
    usage.update(quantity=7)

    with pytest.raises(CommandError, match=r"^1 differences\.$"):
        call_command("verify_usage")

    said = capsys.readouterr().out
    assert re.search(r"credential \d+ calls: usage says 7\S* in 3, the ledger 3\S* in 3", said)


def test_hours_before_the_first_day_are_not_compared(usage, capsys):
    usage.update(quantity=7)

    call_command("verify_usage", "--since", "2096-01-01")

    assert "0 differences" in capsys.readouterr().out
