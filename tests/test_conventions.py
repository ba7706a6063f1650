"""The house rules that no linter knows."""

import inspect
import re
import subprocess
import tomllib
from collections import Counter
from importlib import import_module
from io import StringIO
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import models

from metering.models import GatewayToken
from revcred.celery import app as celery
from revcred.models import AuditEvent, KeyringCheck, Suspension
from tests import factories

ROOT = Path(__file__).parents[1]
OURS = ("revcred", "metering", "storefront")
MODELS = [each for name in OURS for each in apps.get_app_config(name).get_models()]
ACTS = [
    import_module(name)
    for name in (
        "metering.actions",
        "revcred.actions.addresses",
        "revcred.actions.credentials",
        "revcred.actions.reveals",
        "revcred.actions.sign_ins",
        "revcred.actions.subscribers",
        "revcred.actions.subscriptions",
        "revcred.actions.users",
    )
]

# Where code goes that has no place.
JUNK_DRAWERS = {"utils", "util", "helpers", "common", "core", "misc", "services", "managers"}

DECISION_SECTIONS = ["Context", "Decision", "Also considered", "Consequences"]
DECISION_HEAD = re.compile(
    r"# (?P<title>\S.*)\n\n"
    r"Status: (?P<status>accepted|superseded by \d{4}) · Date: \d{4}-\d{2}-\d{2}\n\n"
)
# The target of a link or picture, without the title and the heading that it may name.
MARKDOWN_TARGET = re.compile(r"\]\(<?([^)\s#>]+)[^)]*\)")
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:|//")


def modules():
    return [path for name in OURS for path in (ROOT / name).rglob("*.py")]


def committed():
    """What is or is about to be in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


def relative(paths):
    return sorted(str(path.relative_to(ROOT)) for path in paths)


# --- Files ----------------------------------------------------------------------------------------


def test_every_dependency_says_why_it_is_there():
    text = (ROOT / "pyproject.toml").read_text()
    declared = tomllib.loads(text)
    wanted = [*declared["project"]["dependencies"]]
    for group in declared["dependency-groups"].values():
        wanted += group
    explained = re.findall(r'^  "(.+)", +# \S.*$', text, re.MULTILINE)

    assert sorted(set(wanted) - set(explained)) == []


def test_the_lists_of_packages_name_no_place_to_get_them_from():
    lines = [
        line.strip()
        for path in (ROOT / "requirements").glob("*.txt")
        for line in path.read_text().splitlines()
    ]

    assert [line for line in lines if "://" in line or line.startswith("--index")] == []


def test_no_file_knows_where_it_lies_on_this_machine():
    here = str(ROOT).encode()

    assert relative(path for path in committed() if here in path.read_bytes()) == []


def test_there_is_no_junk_drawer():
    names = {path: {path.stem, *path.relative_to(ROOT).parts} for path in modules()}

    assert relative(path for path in names if names[path] & JUNK_DRAWERS) == []


# --- Documents ------------------------------------------------------------------------------------


def decisions():
    return sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))


def documents():
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_decision_has_a_status_a_date_and_the_four_sections():
    texts = {path: path.read_text() for path in decisions()}
    sections = {path: re.findall("^## (.+)$", texts[path], re.MULTILINE) for path in texts}

    assert relative(path for path in texts if not DECISION_HEAD.match(texts[path])) == []
    assert relative(path for path in texts if sections[path] != DECISION_SECTIONS) == []


def test_every_decision_has_a_number_of_its_own():
    numbers = Counter(path.name[:5] for path in decisions())

    assert [number for number in numbers if not re.fullmatch(r"\d{4}-", number)] == []
    assert [number for number in numbers if numbers[number] > 1] == []


def test_the_table_of_decisions_lists_each_with_its_title_and_status():
    rows = []
    for path in decisions():
        head = DECISION_HEAD.match(path.read_text())
        rows.append(f"| {path.name[:4]} | [{head['title']}]({path.name}) | {head['status']} |")
    table = (ROOT / "docs/decisions/README.md").read_text()

    assert re.findall(r"^\| \d.*$", table, re.MULTILINE) == rows


def test_every_link_between_documents_leads_to_a_file():
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in documents()
        for target in MARKDOWN_TARGET.findall(path.read_text())
        if not ADDRESS.match(target) and not (path.parent / target).is_file()
    ]

    assert broken == []


# --- Models ---------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_migrations_say_what_the_models_say():
    said = StringIO()

    call_command("makemigrations", "--check", "--dry-run", stdout=said)

    assert said.getvalue() == "No changes detected\n"


def test_every_model_has_a_name_for_its_rows():
    assert [each for each in MODELS if each.__str__ is models.Model.__str__] == []


@pytest.mark.django_db
def test_no_row_is_called_by_a_key_secret_or_token():
    key, secret = "a-key-that-nobody-may-see", "a-secret-that-nobody-may-see"
    customer = factories.a_customer()
    subscription = factories.a_subscription(customer)
    credential = factories.a_credential(customer, key, secret, subscriptions=[subscription])
    gateway_token, token = GatewayToken.issue(factories.a_gateway(), name="edge", scopes=[])
    Suspension.objects.create(credential=credential, active_from=factories.LONG_AGO)
    KeyringCheck.matches()
    its_key = credential.keys.get()

    called = [
        str(each)
        for each in (
            credential,
            its_key,
            its_key.sealed,
            credential.assignments.get(),
            credential.suspensions.get(),
            gateway_token,
            KeyringCheck.objects.get(),
            *AuditEvent.objects.all(),
        )
    ]

    given_away = [(name, text) for name in called for text in (key, secret, token) if text in name]
    assert given_away == []


def test_every_rule_about_data_has_a_name():
    """Django makes up others from column names and a hash, which nobody recognises in an error."""
    rules = [rule for each in MODELS for rule in each._meta.constraints]

    assert [rule for rule in rules if not re.fullmatch(r"[a-z]+(_[a-z]+)+", rule.name)] == []


# --- What people and the machine do ---------------------------------------------------------------


def test_an_act_is_called_by_its_words():
    acts = [
        act
        for module in ACTS
        for name, act in inspect.getmembers(module, inspect.isfunction)
        if act.__module__ == module.__name__ and not name.startswith("_")
    ]
    by_position = [
        f"{act.__module__}.{act.__name__}: {parameter}"
        for act in acts
        for parameter in inspect.signature(act).parameters.values()
        if parameter.kind is not parameter.KEYWORD_ONLY
    ]

    assert by_position == []


def test_a_task_carries_nothing():
    """The table is the queue. A bell that carried data could lose it."""
    import_module("metering.tasks")
    import_module("revcred.tasks")
    tasks = {name: task for name, task in celery.tasks.items() if not name.startswith("celery.")}

    assert {name: list(inspect.signature(task.run).parameters) for name, task in tasks.items()} == {
        "metering.work_open_claims": [],
        "metering.pair_partial_transactions": [],
        "metering.process_inbox": [],
        "revcred.send_mail": [],
        "revcred.process_uploads": [],
    }
