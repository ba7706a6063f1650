"""One id through the answer, the log and the audit; and whose word is taken for it."""

import logging
import re

import pytest
from celery import Celery
from django.urls import reverse

from revcred.models import AuditEvent, AuditVerb
from revcred.request_id import choose_request_id, current_request_id, working_for
from tests import factories

PROXY, STRANGER = "10.20.0.2", "198.51.100.1"
NUMBER = "6f1ed002ab5595859014ebf0951522d9"  # as nginx makes them
A_UUID = "3ff18560-923f-4932-95ae-3b5d58fd0373"
OWN = re.compile(r"[0-9a-f]{32}")


@pytest.mark.parametrize("sent", [A_UUID, A_UUID.upper()])
@pytest.mark.parametrize("peer", [PROXY, STRANGER, ""])
def test_a_uuid_is_taken_from_anybody(settings, sent, peer):
    settings.TRUSTED_PROXIES = [PROXY]

    assert choose_request_id(sent, peer=peer) == sent


def test_a_number_is_taken_from_a_proxy_alone(settings):
    settings.TRUSTED_PROXIES = [PROXY]

    assert choose_request_id(NUMBER, peer=PROXY) == NUMBER
    assert OWN.fullmatch(choose_request_id(NUMBER, peer=STRANGER))


@pytest.mark.parametrize(
    "sent",
    [
        *("", "abc", "a" * 65, "two words", "line\nbreak", "edge-7.a_0042", "my-secret-key-0001"),
        *(f"{A_UUID} ", f"{A_UUID}\n", "1;DROP TABLE", "rvg_0123456789abcdef"),
    ],
)
def test_no_other_word_is_taken_from_anybody(settings, sent):
    settings.TRUSTED_PROXIES = [PROXY]

    assert OWN.fullmatch(choose_request_id(sent, peer=PROXY))


def test_every_answer_has_one(client):
    answers = [client.get(path) for path in ("/healthz", "/nowhere", "/v1/nowhere", "/v1/docs/")]
    ids = [answer["X-Request-ID"] for answer in answers]

    assert len(set(ids)) == 4
    assert all(OWN.fullmatch(each) for each in ids)
    assert current_request_id() == ""


@pytest.mark.django_db
def test_answer_log_and_audit_carry_the_same(client, log):
    user = factories.a_user()
    said = {"login": user.email, "password": factories.PASSWORD}
    answer = client.post(reverse("account_login"), said, headers={"x-request-id": A_UUID})
    client.get("/nowhere", headers={"x-request-id": A_UUID})

    assert answer["X-Request-ID"] == A_UUID
    assert AuditEvent.objects.get(verb="signed_in").details == {"request_id": A_UUID}
    assert log().endswith(f"Not Found: /… request={A_UUID}\n")
    assert AuditEvent.objects.first_broken() is None


@pytest.mark.django_db
def test_an_event_shows_its_request_on_its_own_page(admin_client):
    with working_for(A_UUID):
        event = AuditEvent.objects.record(AuditVerb.CHANGED, target=factories.a_customer(), by=None)

    assert (
        A_UUID in admin_client.get(reverse("admin:revcred_auditevent_change", args=[event.pk])).text
    )


def test_lines_of_a_task_carry_its_id(log):
    app = Celery("tests", set_as_current=False)

    @app.task(name="tests.says", shared=False)
    def says():
        logging.getLogger("revcred").warning("It is done")

    says.apply(task_id=A_UUID)
    logging.getLogger("revcred").warning("Nobody asked")

    assert log().splitlines()[0].endswith(f"It is done request={A_UUID}")
    assert log().endswith("Nobody asked\n")
