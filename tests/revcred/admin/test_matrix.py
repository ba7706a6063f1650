"""Every page of the administration, asked and posted to by every role: who may do what.

`matrix.txt` is the table of what is allowed. A cell says:

    do    opens, and what is posted there changes something
    post  is posted to only, and changes something
    see   opens, and what is posted there changes nothing
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
from pathlib import Path
from unittest.mock import patch

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.transaction import atomic, set_rollback
from django.template.response import SimpleTemplateResponse
from django.test import Client
from django.views.generic import RedirectView

from tests.revcred.admin import matrix

pytestmark = pytest.mark.django_db(transaction=True)

TABLE = Path(__file__).with_name("matrix.txt")
SIGNING_OUT = "logout"  # is for everybody, and would end the actor's session
WITHOUT_NAME = {None}  # redirects of old addresses, and the answer to addresses that are none
SECONDS = 60


class Matrix:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.copy = place.with_name("uploads-as-they-were")
        self.world = matrix.World()
        shutil.copytree(place, self.copy)
        self.clients = {name: _client(user) for name, user in self.world.actors.items()}
        self.requests = 0
        self.written_by_get: list[str] = []
        self.failed: list[str] = []

    def line(self, page: str, case: matrix.Case) -> tuple[str, ...]:
        return (page, case.target, *(self.cell(page, case, actor) for actor in matrix.ACTORS))

    def cell(self, page: str, case: matrix.Case, actor: str) -> str:
        user = self.world.actors[actor]
        url = matrix.address_of(page, case, self.world, user)
        said = self.said(page, case, user, url)
        opens, wrote = self.send(actor, "get", url)
        if wrote:
            self.written_by_get.append(f"{page}, {case.target}, {actor}: {wrote}")
        taken, wrote = self.send(actor, "post", url, said)
        if wrote:
            return "do" if opens else "post"
        return "see" if opens else "ask" if taken else "."

    def send(self, actor: str, method: str, url: str, said=None) -> tuple[bool, dict[str, int]]:
        """Return whether it was answered, and which rows it wrote. All of it is taken back."""
        client = self.clients[actor]
        self.requests += 1
        with (
            atomic(),
            matrix.Writes() as writes,
            patch.object(SimpleTemplateResponse, "rendered_content", ""),
        ):
            response = getattr(client, method)(url, said)
            wrote = writes.so_far()
            set_rollback(True)
        client.cookies.pop("messages", None)
        if wrote and "/upload/" in url:
            shutil.rmtree(self.place)
            shutil.copytree(self.copy, self.place)
        if response.status_code >= 500:
            self.failed.append(f"{method} {url} by {actor}: {response.status_code}")
        return response.status_code < 400 and not _leads_to_sign_in(response), wrote

    def said(self, page: str, case: matrix.Case, user, url: str) -> dict:
        """What the page's form holds for a superuser, and over it what the case says."""
        if case.form:
            form = case.form(case.at(self.world, user))
        else:
            with atomic():
                form = self.form_at(url)
                set_rollback(True)
        said = form | case.said
        if said.get("file"):
            said["file"] = SimpleUploadedFile("new.csv", b"email,customer\nx@example.com,acme\n")
        return said

    def form_at(self, url: str) -> dict:
        if not hasattr(self, "forms"):
            self.forms: dict[str, dict] = {}
        if url not in self.forms:
            response = self.clients["superuser"].get(url)
            is_page = response.status_code == 200 and not response.streaming
            self.forms[url] = matrix.largest_form(response.content.decode()) if is_page else {}
        return self.forms[url]


def _client(user) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    session = client.session
    session["account_authentication_methods"] = [{"method": "mfa", "at": time.time()}]
    session["account_authentication_methods_user"] = str(user.pk)
    session.save()
    return client


def _leads_to_sign_in(response) -> bool:
    return response.status_code == 302 and "login" in response["Location"]


@pytest.fixture
def place(settings, tmp_path):
    settings.UPLOADS_DIR = tmp_path / "uploads"
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    logging.disable(logging.WARNING)  # each refusal is a line
    yield settings.UPLOADS_DIR
    logging.disable(logging.NOTSET)


def test_who_may_do_what(place, capsys):
    asked = Matrix(place)
    cases = matrix.cases(asked.world)
    began = time.monotonic()
    lines = [asked.line(page, case) for page, of_page in sorted(cases.items()) for case in of_page]
    took = time.monotonic() - began
    table = matrix.columns([("page", "target", *matrix.ACTORS), *lines]) + "\n"
    with capsys.disabled():
        sys.stdout.write(
            f"\nmatrix: {len(cases)} pages, {len(lines)} cases, {len(matrix.ACTORS)} roles,"
            f" {asked.requests} requests, {took:.0f} s\n"
        )
    if os.environ.get("MATRIX") == "write":
        TABLE.write_text(table)

    assert asked.failed == []
    assert asked.written_by_get == []
    assert table.splitlines() == TABLE.read_text().splitlines()


def test_every_page_has_its_case(place):
    there_are = matrix.pages_there_are()

    assert set(there_are) - WITHOUT_NAME - {SIGNING_OUT} == set(matrix.cases(matrix.World()))
    for pattern in there_are[None]:
        view = getattr(pattern.callback, "view_class", None)
        assert view is RedirectView or pattern.callback.__name__ == "catch_all_view"
