"""Every page of the administration, asked and posted to by every role: who may do what.

`matrix.txt` is the table of what is allowed. A cell says:

    do    opens, and what is posted there changes something
    post  is posted to only, and changes something
    see   opens, and what is posted there changes nothing
    else  opens, and saves what is posted there, but not what the line is about
    ask   is posted to only, and changes nothing
    .     neither

A page that is not in the table fails. So does a write by whoever may not, also one that is taken
back again. To write the table anew, and to read the difference: MATRIX=write.
"""

import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.auth.backends import ModelBackend
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.transaction import atomic, set_rollback
from django.http import HttpResponse
from django.template.response import SimpleTemplateResponse
from django.test import Client
from django.urls import reverse
from django.views.generic import RedirectView

import revcred.urls
from revcred import roles
from revcred.models import AuditEvent, User
from tests import factories
from tests.revcred.admin import matrix

pytestmark = pytest.mark.django_db(transaction=True)

TABLE = Path(__file__).with_name("matrix.txt")
HOUR = 60 * 60  # seconds: longer than the factor is asked for anew
SIGNING_OUT = "logout"  # is for everybody, and would end the actor's session


class Matrix:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.copy = place.with_name("uploads-as-they-were")
        self.world = matrix.World()
        self.newest_event = AuditEvent.objects.latest("pk").pk
        _permissions.clear()
        shutil.copytree(place, self.copy)
        self.clients = {name: _client(user) for name, user in self.world.actors.items()}
        self.forms: dict[str, dict] = {}
        self.rights: set[str] = set()  # that any page has asked for
        self.requests = 0
        self.written_by_get: list[str] = []
        self.failed: list[str] = []
        self.events = 0
        self.events_from_nowhere: set[str] = set()

    def line(self, page: str, case: matrix.Case) -> tuple[str, ...]:
        return (page, case.target, *(self.cell(page, case, actor) for actor in matrix.ACTORS))

    def cell(self, page: str, case: matrix.Case, actor: str) -> str:
        user = self.world.actors[actor]
        url = matrix.address_of(page, case, self.world, user)
        opens, wrote, _ = self.send(case, actor, "get", url)
        if wrote:
            self.written_by_get.append(f"{page}, {case.target}, {actor}: {wrote}")
        said = self.said(page, case, user, url)
        taken, wrote, is_changed = self.send(case, actor, "post", url, said)
        if wrote and not opens:
            return "post"
        if wrote:
            return "do" if is_changed else "else"
        return "see" if opens else "ask" if taken else "."

    def send(
        self, case: matrix.Case, actor: str, method: str, url: str, said=None
    ) -> tuple[bool, dict[str, int], bool]:
        """Return whether it was answered, which rows it wrote, and whether the fact changed.

        All of it is taken back.
        """
        client, user = self.clients[actor], self.world.actors[actor]
        self.requests += 1
        with atomic(), nothing_drawn(), _listening(self.rights):
            fact = case.fact and case.fact(self.world, user)
            with matrix.Writes() as writes:
                response = getattr(client, method)(url, said)
                if method == "post" and (carried := carried_of(response)):
                    response = client.post(url, carried)  # it is asked first, with figures
                wrote = writes.so_far()
            if AuditEvent._meta.db_table in wrote:
                events = AuditEvent.objects.filter(pk__gt=self.newest_event)
                self.events += events.count()
                nowhere = events.filter(address=None).values_list("verb", "target_type")
                self.events_from_nowhere |= {f"{url}: {each}" for each in nowhere}
            is_changed = case.fact is None or case.fact(self.world, user) != fact
            set_rollback(True)
        response.close()
        client.cookies.pop("messages", None)
        self.restore(url, wrote)
        if response.status_code >= 500:
            self.failed.append(f"{method} {url} by {actor}: {response.status_code}")
        answered = response.status_code < 400 and not _leads_to_sign_in(response)
        return answered, wrote, is_changed

    def restore(self, url: str, wrote: dict[str, int]) -> None:
        """Put the files of uploads back, as their rows are."""
        if wrote and "/upload/" in url:
            shutil.rmtree(self.place)
            shutil.copytree(self.copy, self.place)

    def said(self, page: str, case: matrix.Case, user, url: str) -> dict:
        """What the page's form holds for a superuser, and over it what the case says."""
        form = case.form(case.at(self.world, user)) if case.form else self.form_at(url)
        said = form | case.said
        if said.get("file"):
            said["file"] = SimpleUploadedFile("new.csv", b"email,customer\nx@example.com,acme\n")
        return said

    def form_at(self, url: str) -> dict:
        if url not in self.forms:
            self.requests += 1
            response = self.clients["superuser"].get(url)
            is_page = response.status_code == 200 and not response.streaming
            self.forms[url] = matrix.largest_form(response.content.decode()) if is_page else {}
        return self.forms[url]


def carried_of(response) -> dict:
    """What a page that asks first carries to its button's post; nothing of any other page."""
    carried: dict[str, list] = {}
    for name, value in (getattr(response, "context_data", None) or {}).get("carried", ()):
        carried.setdefault(name, []).append(value)
    return carried


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """Leave out what takes time and decides nothing: pages' text, and reading rights again."""
    with (
        patch.object(SimpleTemplateResponse, "rendered_content", ""),
        patch.object(AdminSite, "each_context", lambda *_: {}),
        patch.object(revcred.urls, "handler403", _refuse, create=True),
        patch.object(ModelBackend, "_get_permissions", _get_permissions),
    ):
        yield


_read_permissions = ModelBackend._get_permissions
_permissions: dict[tuple[int, str], set[str]] = {}


def _get_permissions(self, user, obj, from_name) -> set[str]:
    """Read each actor's permissions once: what a request changes of them is taken back."""
    if (key := (user.pk, from_name)) not in _permissions:
        _permissions[key] = _read_permissions(self, user, obj, from_name)
    return _permissions[key]


@contextmanager
def _listening(rights: set[str]) -> Iterator[None]:
    has_perm = User.has_perm

    def listen(user, right, obj=None):
        rights.add(right)
        return has_perm(user, right, obj)

    with patch.object(User, "has_perm", listen):
        yield


def _refuse(request, exception) -> HttpResponse:
    return HttpResponse(status=403)


def _client(user) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    session = client.session
    session["account_authentication_methods"] = [{"method": "mfa", "at": time.time() + HOUR}]
    session["account_authentication_methods_user"] = str(user.pk)
    session.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key  # all of it is in there
    return client


def _leads_to_sign_in(response) -> bool:
    ways_in = (reverse("account_login"), reverse("admin:login"), reverse("mfa_index"))
    return response.status_code == 302 and response["Location"].startswith(ways_in)


@pytest.fixture
def place(settings, tmp_path):
    settings.UPLOADS_DIR = tmp_path / "uploads"
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    logging.disable(logging.WARNING)  # each refusal is a line
    yield settings.UPLOADS_DIR
    logging.disable(logging.NOTSET)


# Only the content of a list asks for these: see `tests/revcred/uploads/test_rights.py`.
RIGHTS_OF_LISTS = {"revcred.upload_usage"}
# Shows what undoing would move: it is done and rolled back, which PostgreSQL counts as writing.
TRIES_OUT = "revcred_upload_undo,"


def test_who_may_do_what(place, capsys):
    asked = Matrix(place)
    cases = matrix.cases(asked.world)
    there_are = matrix.pages_there_are()
    assert set(cases) == set(there_are) - {None, SIGNING_OUT}, "a page has no case"
    assert all(_changes_nothing(each) for each in there_are[None])

    began, began_cpu = time.monotonic(), time.process_time()
    lines = [asked.line(page, case) for page, of_page in sorted(cases.items()) for case in of_page]
    took, took_cpu = time.monotonic() - began, time.process_time() - began_cpu
    table = matrix.columns([("page", "target", *matrix.ACTORS), *lines]) + "\n"
    with capsys.disabled():
        sys.stdout.write(
            f"\nmatrix: {len(cases)} pages, {len(lines)} cases, {len(matrix.ACTORS)} roles,"
            f" {asked.requests} requests, {asked.events} events, {took:.0f} s, of which"
            f" {took_cpu:.0f} s here\n"
        )
    if os.environ.get("MATRIX") == "write":
        TABLE.write_text(table)

    offered = set(roles.RIGHT_LABELS) - RIGHTS_OF_LISTS
    assert offered - asked.rights == set(), "offered, but no page asks for it"
    assert asked.failed == []
    written = [line for line in asked.written_by_get if not line.startswith(TRIES_OUT)]
    assert written == []
    assert asked.events > len(cases)
    assert asked.events_from_nowhere == set()
    assert table.splitlines() == TABLE.read_text().splitlines()


def _changes_nothing(pattern) -> bool:
    """Return True for Django's own: the redirects of old addresses, and the answer to others."""
    view = getattr(pattern.callback, "view_class", None)
    return view is RedirectView or pattern.callback.__name__ == "catch_all_view"


@pytest.mark.parametrize("who", ["nobody", "a session without a factor", "a subscriber"])
def test_no_page_opens_to(who, place, settings):
    """Neither by looking nor by posting, whatever it is about."""
    settings.STAFF_SECOND_FACTOR = "required"
    world = matrix.World()
    boss = factories.a_user(is_staff=True, is_superuser=True)
    client = Client(raise_request_exception=False)
    if who != "nobody":
        client.force_login(boss if "session" in who else world.subscriber.user)
    opened = []
    for page, of_page in matrix.cases(world).items():
        for case in of_page:
            url = matrix.address_of(page, case, world, world.superuser)
            for method in ("get", "post"):
                with atomic(), matrix.Writes() as writes:
                    # What is looked at has no key in its address: that alone would lead elsewhere.
                    answer = client.post(url, case.said) if method == "post" else client.get(url)
                    wrote = writes.so_far()
                    set_rollback(True)
                if wrote or not (_leads_to_sign_in(answer) or answer.status_code in (403, 405)):
                    opened.append((page, method, answer.status_code, wrote))

    assert opened == []
