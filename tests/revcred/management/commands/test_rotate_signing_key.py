"""The command that exchanges the key of claims for backends."""

import pytest
from django.core.management import call_command
from django.utils import timezone

from revcred.models import SigningKey
from revcred.signing import rotate_keys
from tests.revcred.test_signing import names, signing_key

pytestmark = pytest.mark.django_db


def test_at_once_nothing_older_is_worth_anything():
    now = timezone.now()
    signing_key(now)
    rotate_keys(now)

    call_command("rotate_signing_key", "--now")

    (left,) = SigningKey.objects.all()
    assert names(timezone.now()) == {left.key_id} == {signing_key(timezone.now())}


def test_without_a_key_the_command_makes_one_that_signs(capsys):
    call_command("rotate_signing_key")

    assert signing_key(timezone.now()) in capsys.readouterr().out
