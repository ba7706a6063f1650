import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, ProgrammingError, connection
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from psycopg.errors import QueryCanceled

from revcred.runtime.middleware import (
    BrowserFeaturesMiddleware,
    DatabaseUnavailableMiddleware,
    PrivatePagesMiddleware,
    database_unavailable_response,
    server_error_response,
)
from revcred.runtime.schema_version import is_older_than_database
from tests import factories
from tests.owner import record_migration

PAGE = "/credentials/"
MACHINES = ["/v1/transactions", "/readyz", "/metrics"]


def away(*_):
    raise OperationalError


def middleware():
    return DatabaseUnavailableMiddleware(lambda _: HttpResponse())


# --- The database is away -------------------------------------------------------------------------


@pytest.mark.parametrize("path", MACHINES)
@pytest.mark.parametrize("error", [OperationalError(), InterfaceError()])
def test_a_machine_is_told_in_its_own_terms(rf, path, error):
    answer = middleware().process_exception(rf.post(path), error)

    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert answer["Content-Type"] == "application/json"


@pytest.mark.django_db
def test_code_that_is_older_than_the_database_has_newer_code_answer(rf):
    gone = ProgrammingError("column is gone")
    assert middleware().process_exception(rf.get(PAGE), gone) is None
    is_older_than_database.cache_clear()
    record_migration("metering", "9999_of_tomorrow")

    answer = middleware().process_exception(rf.get(PAGE), gone)

    is_older_than_database.cache_clear()
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")


@pytest.mark.parametrize("path", ["/v1/nowhere", "/v1/uploads/one"])
def test_a_machine_is_told_as_json_that_there_is_nothing(client, path):
    answer = client.get(path)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_person_is_told_on_a_page_that_there_is_nothing(client):
    answer = client.get("/nowhere")

    assert answer.status_code == 404
    assert "Page not found" in answer.text


@pytest.mark.django_db
def test_staff_are_told_on_a_page_of_the_administration(client):
    staff = factories.a_user(is_staff=True)
    client.force_login(staff)

    for path, status, said in (
        ("/admin/nowhere/", 404, "There is nothing at this address"),
        ("/admin/revcred/customer/add/", 403, "Your roles do not include this right"),
    ):
        answer = client.get(path)
        assert (answer.status_code, said in answer.text) == (status, True)
        assert "administration" in answer.text


@pytest.mark.django_db
def test_staff_are_told_what_to_do_about_what_takes_too_long(client):
    def slow(execute, sql, *args):
        if "revcred_customer" in sql:
            raise OperationalError from QueryCanceled()
        return execute(sql, *args)

    client.force_login(factories.a_user(is_staff=True, is_superuser=True))
    address = reverse("admin:revcred_customer_changelist")
    with connection.execute_wrapper(slow):
        answer = client.get(address, {"credentials": "no"})

    assert answer.status_code == 503
    assert "This took too long" in answer.text
    assert f'href="{address}"' in answer.text


def test_a_person_is_told_on_a_page(rf):
    answer = middleware().process_exception(rf.get(PAGE), OperationalError())

    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
    assert "Temporarily unavailable" in answer.content.decode()


@pytest.mark.parametrize("error", [DatabaseError(), ValueError()])
def test_what_is_our_own_fault_is_not_excused(rf, error):
    assert middleware().process_exception(rf.get(PAGE), error) is None


@pytest.mark.django_db
def test_a_page_says_so_whoever_asks(client):
    """Also where the session, which it would be greeted by, cannot be read."""
    client.force_login(factories.a_user())

    with connection.execute_wrapper(away):
        answer = client.get(reverse("storefront:home"))

    assert answer.status_code == 503
    assert "Temporarily unavailable" in answer.content.decode()


# --- Something is broken --------------------------------------------------------------------------


def after(error, request):
    try:
        raise error
    except type(error):
        return server_error_response(request)


def test_a_database_that_went_away_in_a_middleware_is_away(rf):
    assert after(OperationalError(), rf.get(PAGE)).status_code == 503


@pytest.mark.parametrize("path", MACHINES)
def test_a_machine_learns_that_something_is_broken(rf, path):
    answer = after(ValueError("a detail"), rf.post(path))

    assert (answer.status_code, answer["Content-Type"]) == (500, "application/json")
    assert "a detail" not in answer.content.decode()


def test_a_person_learns_it_on_a_page(rf):
    answer = after(ValueError("a detail"), rf.get(PAGE))

    assert answer.status_code == 500
    assert "Something went wrong" in answer.content.decode()
    assert "a detail" not in answer.content.decode()


def test_the_page_asks_no_database(rf):
    with connection.execute_wrapper(away):
        assert database_unavailable_response(rf.get(PAGE)).status_code == 503


# --- What is private ------------------------------------------------------------------------------


def kept_by_caches(rf, settings, *, signed_in, said=None):
    request = rf.get(PAGE)
    if signed_in:
        request.COOKIES[settings.SESSION_COOKIE_NAME] = "a session"
    headers = {"Cache-Control": said} if said else {}
    return PrivatePagesMiddleware(lambda _: HttpResponse(headers=headers))(request).get(
        "Cache-Control"
    )


def test_a_page_for_somebody_is_kept_by_no_cache(rf, settings):
    kept = kept_by_caches(rf, settings, signed_in=True)

    assert kept == "max-age=0, no-cache, no-store, must-revalidate, private"


def test_what_a_page_says_itself_is_left_alone(rf, settings):
    kept = kept_by_caches(rf, settings, signed_in=True, said="no-store")

    assert kept == "no-store"


def test_a_page_for_everybody_may_be_kept(rf, settings):
    assert kept_by_caches(rf, settings, signed_in=False) is None


def test_a_form_that_was_open_too_long_gets_a_page_of_ours(db):
    answer = Client(enforce_csrf_checks=True).post("/account/login/")

    page = answer.content.decode()
    assert answer.status_code == 403
    assert "This form was open too long" in page
    assert 'href="/account/login/"' in page
    assert "DEBUG" not in page


def test_an_unknown_name_of_the_host_gets_a_page_of_ours_or_json(db, settings):
    settings.ALLOWED_HOSTS = ["testserver"]

    page = Client().get("/account/login/", HTTP_HOST="evil.example")
    program = Client().post("/v1/transactions", HTTP_HOST="evil.example")

    assert page.status_code == program.status_code == 400
    assert "This address does not work" in page.content.decode()
    assert "evil.example" not in page.content.decode()


# --- Policies of pages ----------------------------------------------------------------------------


@pytest.mark.django_db
def test_pages_switch_off_what_they_do_not_need(sign_in):
    browser = sign_in(factories.a_subscriber(factories.a_customer()))

    for path in ("/", "/usage/", "/account/login/", "/nowhere/"):
        answer = browser.get(path)
        assert "camera=()" in answer["Permissions-Policy"], path
        assert "publickey-credentials-get=(self)" in answer["Permissions-Policy"], path
        assert answer["Cross-Origin-Resource-Policy"] == "same-origin", path


def test_machines_are_sent_no_policies_of_browsers(rf):
    answer = BrowserFeaturesMiddleware(lambda _: HttpResponse())(rf.get("/v1/transactions"))

    assert "Permissions-Policy" not in answer


@pytest.mark.django_db
def test_pages_of_subscribers_require_trusted_types_and_the_administration_does_not(sign_in):
    required = "require-trusted-types-for 'script'"
    subscriber = sign_in(factories.a_subscriber(factories.a_customer()))
    staff = sign_in(factories.an_admin())

    for path in ("/", "/usage/", "/credentials/", "/account/password/change/"):
        assert required in subscriber.get(path)["Content-Security-Policy"], path
    assert required not in staff.get("/admin/")["Content-Security-Policy"]
