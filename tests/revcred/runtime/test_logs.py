"""Nothing that a request or an error quotes gets into the log: neither keys nor other values."""

import json
import logging
import os
import re
import threading
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from celery import Celery
from django.conf import settings as django_settings
from django.core.exceptions import DisallowedHost, SuspiciousOperation, ValidationError
from django.db import DataError, IntegrityError, connection
from django.db.transaction import atomic
from django.test import Client
from django.urls import get_resolver
from django.urls.resolvers import URLPattern
from django.utils.module_loading import import_string

from revcred.models import Customer
from revcred.runtime import logs
from tests import factories

pytestmark = pytest.mark.django_db

CANARY = "bIrd-K3y.of/another_4hape"
PIECES = (CANARY, quote(CANARY, safe=""), "bIrd-", "another_4hape")  # none is in any source
NGINX = Path(__file__).parents[3] / "deploy/nginx.conf"


def is_clean(text):
    assert not [piece for piece in PIECES if piece.lower() in text.lower()], text
    return True


# --- Requests -------------------------------------------------------------------------------------

FIRST_PARTS = sorted(logs._first_path_segments())
PATHS = [
    f"/{CANARY}",
    f"//{CANARY}",
    f"/nowhere/{CANARY}",
    f"/static/{CANARY}.js",
    f"/admin/revcred/credential/{CANARY}/change/",
    f"/v1/transactions/{quote(CANARY, safe='')}",
    f"/account/invitation/{CANARY}",
    f"/account/password/reset/key/1-{CANARY}/",
    f"/meter/v2/{CANARY}",
    *(f"/{first}/{CANARY}" for first in FIRST_PARTS),
    *(f"/{first}{CANARY}" for first in FIRST_PARTS),
]
HEADERS = [
    *("HTTP_HOST", "HTTP_ORIGIN", "HTTP_REFERER", "HTTP_COOKIE", "HTTP_AUTHORIZATION"),
    *("HTTP_X_API_KEY", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO"),
    *(
        "HTTP_X_REQUEST_ID",
        "HTTP_IDEMPOTENCY_KEY",
        "HTTP_ACCEPT",
        "HTTP_CONTENT_ENCODING",
        "HTTP_USER_AGENT",
    ),
    *("HTTP_IF_MODIFIED_SINCE", "HTTP_X_CSRFTOKEN", "HTTP_RANGE", "CONTENT_LENGTH", "CONTENT_TYPE"),
]
TARGETS = ["/", "/account/login/", "/admin/", "/v1/transactions", "/meter/v2/events", "/v1/uploads"]
METHODS = ["get", "post", "put", "delete"]


@pytest.mark.parametrize("method", METHODS)
def test_no_part_of_an_unknown_address(log, method):
    client = Client(raise_request_exception=False, enforce_csrf_checks=True)
    for path in PATHS:
        getattr(client, method)(f"{path}?key={CANARY}", HTTP_HOST="localhost")

    assert is_clean(log())
    assert log().count("\n") > len(PATHS) / 3


@pytest.mark.parametrize("path", [f"//{CANARY}", f"//{CANARY}/..", f"///{CANARY}"])
def test_no_part_of_an_address_that_begins_with_slashes(log, path):
    # The client would take what follows two slashes for a host.
    Client().get("/", PATH_INFO=path)

    assert is_clean(log())
    assert "Not Found" in log()


@pytest.mark.parametrize("header", HEADERS)
def test_no_header(log, header):
    for scheme in ("{}", "Bearer {}", "https://{}", "multipart/form-data; boundary={}", "a={}"):
        for secure in (False, True):
            client = Client(raise_request_exception=False, enforce_csrf_checks=True)
            for target in TARGETS:
                for method in ("get", "post"):
                    said = {"HTTP_HOST": "localhost"} | {header: scheme.format(CANARY)}
                    getattr(client, method)(target, secure=secure, **said)

    assert is_clean(log())


BODIES = {
    "no JSON": (f'{{"a": "{CANARY}', "application/json"),
    "no UTF-8": (f"{CANARY}\xff".encode("latin-1"), "application/json"),
    "no form": (f"--x\r\n{CANARY}".encode(), "multipart/form-data; boundary=x"),
    "half a field": (
        f'--x\r\nContent-Disposition: form-data; name="{CANARY}"\r\n\r\n{CANARY}'.encode(),
        "multipart/form-data; boundary=x",
    ),
    "another charset": (CANARY.encode(), f"application/json; charset={CANARY}"),
    "no charset of a form": (
        f"a={CANARY}".encode(),
        f"application/x-www-form-urlencoded; charset={CANARY}",
    ),
    "many fields": (
        "&".join(f"{CANARY}{n}=1" for n in range(2_000)),
        "application/x-www-form-urlencoded",
    ),
    "no gzip": (CANARY.encode(), "application/json"),
    "a list": (json.dumps([CANARY]), "application/json"),
}


@pytest.mark.parametrize("body", BODIES)
def test_no_body(log, body):
    content, kind = BODIES[body]
    client = Client(raise_request_exception=False)
    for target in TARGETS:
        for more in ({}, {"HTTP_CONTENT_ENCODING": "gzip"}):
            client.generic("POST", target, content, content_type=kind, **more)

    assert is_clean(log())


# --- Exceptions -----------------------------------------------------------------------------------


def unique():
    Customer.objects.create(name="A", external_key=CANARY)
    with atomic():
        Customer.objects.create(name="B", external_key=CANARY)


def in_sql(statement, arguments=None):
    def run():
        with atomic(), connection.cursor() as cursor:
            cursor.execute(statement, arguments)

    return run


def raising(error):
    def run():
        raise error

    return run


def chained():
    try:
        {}[CANARY]
    except KeyError as error:
        message = f"no {CANARY}"
        raise ValueError(message) from error


def in_context():
    try:
        int(CANARY)
    except ValueError:
        {}[CANARY]


def noted():
    error = RuntimeError("it failed")
    error.add_note(f"with {CANARY}")
    raise error


EXCEPTIONS = {
    "IntegrityError": unique,
    "DataError": in_sql("SELECT %s::int", [CANARY]),
    "ProgrammingError": in_sql(f'SELECT "{CANARY}"'),
    "RaiseException": in_sql(f"DO $$ BEGIN RAISE EXCEPTION '{CANARY}'; END $$"),
    "ValidationError": raising(ValidationError({"key": [f"“{CANARY}” is no key."]})),
    "KeyError": raising(KeyError(CANARY)),
    "chained": chained,
    "in context": in_context,
    "noted": noted,
    "JSONDecodeError": lambda: json.loads(f'{{"{CANARY}'),
    "UnicodeDecodeError": lambda: f"{CANARY}\xff".encode("latin-1").decode(),
    "group": raising(ExceptionGroup(CANARY, [ValueError(CANARY), KeyError(CANARY)])),
    "SuspiciousOperation": raising(SuspiciousOperation(CANARY)),
    "DisallowedHost": raising(DisallowedHost(f"Invalid HTTP_HOST header: '{CANARY}'.")),
}
LOGGERS = [
    *("revcred.somewhere", "metering.somewhere", "django.request", "celery.app.trace"),
    *("_granian", "asyncio", "psycopg"),
]


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_a_page_that_fails(log, monkeypatch, name):
    def fails(request, *args, **kwargs):
        EXCEPTIONS[name]()

    match = get_resolver().resolve("/healthz")
    monkeypatch.setattr(
        "django.urls.resolvers.URLPattern.resolve",
        _with(fails, match.route),
    )
    client = Client(raise_request_exception=False)
    answer = client.get("/healthz", {"key": CANARY})

    assert answer.status_code in {400, 500, 503}
    assert is_clean(log())
    assert is_clean(answer.content.decode())
    if answer.status_code == 500:
        assert re.search(r"Traceback.*\n.*File", log())
        assert "healthz" in log()


def _with(view, route):
    resolve = URLPattern.resolve

    def resolved(self, path):
        match = resolve(self, path)
        if match and match.route == route:
            match.func = view
        return match

    return resolved


@pytest.mark.parametrize("name", EXCEPTIONS)
@pytest.mark.parametrize("logger", LOGGERS)
def test_an_exception_that_is_logged(log, logger, name):
    told = logging.getLogger(logger)
    try:
        EXCEPTIONS[name]()
    except Exception as error:  # noqa: BLE001 - they are of all kinds
        told.exception("It failed")
        told.error("It failed: %s", error)
        told.error("It failed: %r", error)
        told.error(error)
        expected = type(error).__name__

    assert is_clean(log())
    assert log().count("It failed") == 3
    assert expected in log()


def test_a_violated_constraint_is_named(log):
    with pytest.raises(IntegrityError) as failed:
        unique()
    logging.getLogger("revcred").error("It failed", exc_info=failed.value)

    assert "UniqueViolation (23505, revcred_customer, " in log()
    assert 'File "' in log()


def test_what_another_formatter_kept_is_not_used(log):
    try:
        raising(DataError(CANARY))()
    except DataError as error:
        exc_info = (DataError, error, error.__traceback__)
    record = logging.LogRecord("revcred", logging.ERROR, "here", 1, "It failed", (), exc_info)
    logging.Formatter().format(record)
    assert CANARY in record.exc_text

    assert is_clean(logs.RedactingFormatter().format(record))


def test_a_task_that_fails(log):
    """One of ours, as a worker runs it."""
    app = Celery("tests", set_as_current=False)

    @app.task(name="tests.fails", shared=False)  # not of every other application
    def fails(*arguments, **named):
        raise KeyError(CANARY)

    fails.apply(args=[CANARY], kwargs={"key": CANARY})

    assert "tests.fails" in log()
    assert "KeyError" in log()
    assert is_clean(log())


def test_a_thread_that_ends(log, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    logs.log_threads()
    thread = threading.Thread(target=EXCEPTIONS["KeyError"], name="bell")
    thread.start()
    thread.join()

    assert "The thread bell ended" in log()
    assert "KeyError" in log()
    assert is_clean(log())


# --- What anybody can repeat ----------------------------------------------------------------------


def of_staff(client):
    client.force_login(factories.a_user(is_staff=True))
    return client.get("/admin/revcred/customer/")


def without_csrf_token(client):
    return Client(enforce_csrf_checks=True).post("/account/login/")


def under_another_host(client):
    return client.get("/account/login/", HTTP_HOST="evil.example")


def with_many_fields(client):
    return client.post("/account/login/", {f"a{number}": 1 for number in range(2_000)})


@pytest.mark.parametrize(
    ("ask", "status", "level"),
    [
        (of_staff, 403, "INFO"),
        (without_csrf_token, 403, "INFO"),
        (under_another_host, 400, "INFO"),
        (with_many_fields, 400, "ERROR"),
    ],
)
def test_an_error_of_a_client_is_one_line(log, client, ask, status, level):
    assert ask(client).status_code == status

    (line,) = log().splitlines()
    assert f" {level} django." in line


def test_refusals_are_not_told_to_those_who_want_warnings_only(log, client):
    root = logging.getLogger()
    level = root.level
    root.setLevel("WARNING")
    try:
        of_staff(client)
        under_another_host(client)
    finally:
        root.setLevel(level)

    assert log() == ""


# --- What stays readable --------------------------------------------------------------------------


def test_a_known_page_is_named_by_its_route(log):
    client = Client()
    client.force_login(factories.a_user())
    client.get("/credentials/77/")

    assert "Not Found: /credentials/<int:credential>/" in log()


def test_a_message_that_does_not_fit_fails_nothing(log):
    logging.getLogger("revcred").error("Looked at %d", CANARY)

    assert "Looked at %d" in log()
    assert is_clean(log())


def test_our_own_messages_stay_as_they_are(log):
    logging.getLogger("metering.pairing").warning("Looked at %d halves in %s", 7, "/v1")

    assert "WARNING metering.pairing: Looked at 7 halves in /v1" in log()


def test_every_process_logs_this_way():
    console = django_settings.LOGGING["handlers"]["console"]
    assert "without_keys" in console["filters"]
    for formatter in django_settings.LOGGING["formatters"].values():
        named = formatter.get("class") or formatter["()"]
        assert issubclass(import_string(named), logs.RedactingFormatter)


@pytest.mark.parametrize("path", PATHS)
def test_the_proxy_logs_no_more(path):
    rules = re.findall(r'"~(\^.*)" \$(\w+)(\S*);', NGINX.read_text())
    assert len(rules) == 2
    for rule, group, rest in rules:
        if found := re.search(rule.replace("(?<", "(?P<").replace("(?P<=", "(?<="), path):
            assert is_clean(found[group] + rest)
            break
    else:
        assert path == f"/{CANARY}" or not path.startswith("/")


# --- As JSON --------------------------------------------------------------------------------------


@pytest.fixture
def json_log(log):
    """The objects that the console is told when LOG_FORMAT is json."""
    handlers = [
        each
        for name in ("django", None)
        for each in logging.getLogger(name).handlers
        if each.name == "console"
    ]
    before = [each.formatter for each in handlers]
    for each in handlers:
        each.setFormatter(logs.JsonFormatter())
    yield lambda: [json.loads(line) for line in log().splitlines()]
    for each, formatter in zip(handlers, before, strict=True):
        each.setFormatter(formatter)


def test_each_line_is_an_object(json_log):
    answer = Client().get("/nowhere")
    logging.getLogger("revcred.outbox").warning("Two\nlines of %s", "text")

    refused, said = json_log()
    assert (
        said.items()
        >= {
            "level": "WARNING",
            "logger": "revcred.outbox",
            "message": "Two\nlines of text",
            "process": os.getpid(),
        }.items()
    )
    assert datetime.fromisoformat(said["time"]).utcoffset() == timedelta(0)
    assert "request_id" not in said
    assert refused["request_id"] == answer["X-Request-ID"]


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_object_quotes_no_value(json_log, log, name):
    try:
        EXCEPTIONS[name]()
    except Exception as error:
        logging.getLogger("celery").exception("It failed")
        expected = type(error).__name__

    (said,) = json_log()
    assert is_clean(log())
    assert expected in said["error"]
    assert "Traceback" in said["traceback"]
