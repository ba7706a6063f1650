import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.urls import reverse

from tests.owner import owner_cursor

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("ring")]


def away(*_):
    raise OperationalError


def test_a_process_answers_whatever_else_is_away(client):
    with connection.execute_wrapper(away):
        answer = client.get(reverse("healthz"))

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_it_is_ready_when_all_is_there(client):
    answer = client.get(reverse("readyz"))

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_it_is_not_ready_without_the_database(client):
    with connection.execute_wrapper(away):
        answer = client.get(reverse("readyz"))

    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert answer.json()["code"] == "unavailable"


def test_it_is_not_ready_with_another_ring(client, ring):
    client.get(reverse("readyz"))
    ring("second")

    answer = client.get(reverse("readyz"))

    assert (answer.status_code, answer.json()["status"]) == (503, "refused")


def test_it_is_not_ready_before_the_migrations(client):
    newest = MigrationRecorder.Migration.objects.filter(app="revcred").latest("pk")
    with owner_cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE id = %s", [newest.pk])

    answer = client.get(reverse("readyz"))

    assert (answer.status_code, answer.json()) == (503, {"status": "migrations pending"})


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_monitoring_may_use_any_name_of_the_inner_network(client, path):
    assert client.get(path, HTTP_HOST="web:8000").status_code == 200
    assert client.get(path, HTTP_HOST="10.0.0.7").status_code == 200


@pytest.mark.parametrize("path", ["/", "/account/login/", "/v1/docs/", "/healthz/", "/metricsx"])
def test_nothing_else_is_found_under_an_inner_name(client, path):
    assert client.get(path, HTTP_HOST="web:8000").status_code == 400
