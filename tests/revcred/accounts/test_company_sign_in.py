"""Signing in at one's own company, with a real provider in a process of its own."""

import subprocess
import sys
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests
from allauth.socialaccount.models import SocialAccount
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from revcred.actions import company_sign_ins
from revcred.models import (
    AuditEvent,
    CompanySignIn,
    Customer,
    Membership,
    OutgoingMail,
    Session,
    Subscriber,
)
from tests import factories, identity_provider
from tests.identity_provider import AGE, CLIENT, PERSON, SECRET, VERIFIED

pytestmark = pytest.mark.django_db

COMPANY = reverse("account_company_sign_in")
CONFIRM = reverse("account_confirm_at_company")
HOME = reverse("storefront:home")
OURS = "http://testserver"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    """The address of a provider that runs as long as these tests."""
    place = tmp_path_factory.mktemp("provider") / "db.sqlite3"
    program = [sys.executable, "-W", "ignore", identity_provider.__file__, str(place)]
    root = Path(identity_provider.__file__).parents[1]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


@pytest.fixture
def company(issuer):
    customer = factories.a_customer(email_domains=["Example.com"])
    company = company_sign_ins.set_company_sign_in(
        customer=customer,
        issuer=issuer,
        client_id=CLIENT,
        client_secret=SECRET,
        by=factories.an_admin(),
    )
    back = OURS + reverse("openid_connect_callback", args=[company.provider_id])
    requests.get(f"{issuer}/register/", {"back": back}, timeout=10).raise_for_status()
    return company


@pytest.fixture
def ada(company):
    return factories.a_subscriber(company.customer, Membership.Role.OWNER, "ada@example.com")


def leave(client, email="whoever@example.com", to=""):
    return client.post(COMPANY, {"email": email, "next": to}).context["target"]


def way_back(target, person, **headers):
    """What the provider sends the browser back to, once the person has signed in there."""
    with requests.Session() as browser:
        browser.headers.update({PERSON: person, **headers})
        answer = browser.get(target, allow_redirects=False, timeout=10)
        while not answer.headers["Location"].startswith(OURS):
            following = requests.compat.urljoin(answer.url, answer.headers["Location"])
            answer = browser.get(following, allow_redirects=False, timeout=10)
        return answer.headers["Location"].removeprefix(OURS)


def sign_in(client, person="ada@example.com", to="", **headers):
    return client.get(way_back(leave(client, to=to), person, **headers))


def text_of(answer):
    return " ".join(answer.content.decode().split())


def test_a_member_signs_in_and_is_connected_once(client, ada, company):
    queued = OutgoingMail.objects.count()
    for _ in range(2):
        answer = sign_in(client, "Ada@Example.com", to="/calls/")
        assert answer["Location"] == "/calls/"
        assert client.session["_auth_user_id"] == str(ada.user.pk)
        client.logout()

    account = SocialAccount.objects.get()
    assert (account.user, account.extra_data) == (ada.user, {})
    verbs = list(AuditEvent.objects.about(ada.user).values_list("verb", flat=True))
    assert sorted(verbs) == ["company_connected", "signed_in", "signed_in"]
    assert [each.subject for each in OutgoingMail.objects.order_by("pk")[queued:]] == [
        "You can sign in at your company"
    ]
    with connection.cursor() as cursor:
        cursor.execute("SELECT client_secret FROM revcred_companysignin")
        assert SECRET not in str(bytes(cursor.fetchone()[0]))


def test_an_answer_counts_once_and_only_in_its_own_browser(client, ada):
    address = way_back(leave(client), "ada@example.com")

    for browser in (type(client)(), client, client):
        browser.get(address)
        browser.logout() if browser is client and "_auth_user_id" in browser.session else None
    assert client.get(address).status_code == 403
    assert AuditEvent.objects.about(ada.user).filter(verb="signed_in").count() == 1
    assert client.get(address.split("?")[0], {"error": "access_denied"}).status_code == 403
    other = address.replace("company-", "company-9")
    assert client.get(other).status_code == 404


def test_a_provider_opens_only_what_is_its_customers_alone(client, ada, company):
    other = factories.a_customer(email_domains=["example.com"])
    factories.a_user("boss@example.com", is_staff=True, is_superuser=True)
    factories.a_subscriber(other, email="foreign@example.com")
    both = factories.a_subscriber(company.customer, email="both@example.com")
    Membership.objects.create(customer=other, subscriber=both)
    off = factories.a_subscriber(company.customer, email="off@example.com").user
    off.is_active = False
    off.save()
    factories.a_subscriber(company.customer, email="out@elsewhere.example")
    cases = {
        "boss@example.com": "There is no login",
        "foreign@example.com": "There is no login",
        "both@example.com": "There is no login",
        "off@example.com": "There is no login",
        "nobody@example.com": "There is no login",
        "out@elsewhere.example": "Only addresses at example.com",
        "ada@example.com@elsewhere.example": "Only addresses at example.com",
    }

    # Two customers have the domain, so it is asked which; the other has no sign-in of its own.
    for person, said in cases.items():
        answer = sign_in(client, person)
        assert answer.status_code == 403, person
        assert said in text_of(answer)
    unverified = sign_in(client, **{VERIFIED: "no"})
    assert "does not confirm your e-mail address" in text_of(unverified)
    assert "_auth_user_id" not in client.session
    assert not SocialAccount.objects.exists()

    # Somebody else now has the address at the company.
    sign_in(client)
    client.logout()
    SocialAccount.objects.update(uid="somebody-before")
    assert "another account" in text_of(sign_in(client))
    # What held at first has to hold each time.
    SocialAccount.objects.all().delete()
    sign_in(client)
    client.logout()
    Membership.objects.create(customer=other, subscriber=ada)
    assert sign_in(client).status_code == 403


def test_a_session_ends_once_the_provider_may_not_open_the_login(client, ada, company):
    elsewhere = factories.a_customer()
    customers = Customer.objects.filter(pk=company.customer_id)

    def join():
        return Membership.objects.create(customer=elsewhere, subscriber=ada).delete

    def lose_domain():
        customers.update(email_domains=["other.example"])
        return lambda: customers.update(email_domains=["example.com"])

    for change in (join, lose_domain):
        sign_in(client)
        assert client.get(HOME).status_code == 200
        undo = change()
        asked = client.get(HOME, follow=True)
        assert asked.redirect_chain[0][0].startswith(reverse("account_login"))
        assert "no longer opens your login" in text_of(asked)
        undo()
        assert client.get(HOME).status_code == 302  # it does not come back


class Endless(BaseHTTPRequestHandler):
    """A provider whose answers do not end."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(b" " * 65_536)

    def log_message(self, *_):
        pass


def test_an_answer_without_an_end_is_not_read_to_its_end(client, ada, company):
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        company_sign_ins.set_company_sign_in(
            customer=company.customer,
            issuer=f"http://127.0.0.1:{server.server_port}",
            client_id=CLIENT,
            client_secret=SECRET,
            by=factories.an_admin(),
        )

        answer = client.post(COMPANY, {"email": ada.email})
        server.shutdown()

    assert answer.status_code == 502
    assert "cannot be reached" in text_of(answer)


def test_an_answer_for_no_company_is_not_found(client, db):
    address = reverse("openid_connect_callback", args=["company-0"])
    for number in ("0", "9" * 18, "9" * 5000, "\u0663", "x"):
        assert client.get(address.replace("0", number)).status_code == 404


def test_the_page_tells_of_no_person_and_leads_only_to_ours(client, ada):
    known, unknown = (
        client.post(COMPANY, {"email": email}) for email in ("ada@example.com", "x@EXAMPLE.com")
    )
    assert (known.status_code, unknown.status_code) == (200, 200)
    assert known.context["host"] == unknown.context["host"] == "127.0.0.1"
    assert "ada" not in known.context["target"]
    elsewhere = client.post(COMPANY, {"email": "ada@elsewhere.example"})
    assert "No company sign-in is set up for addresses at elsewhere.example" in text_of(elsewhere)

    for wanted in ("https://evil.example/", "//evil.example/", "javascript:alert(1)"):
        assert sign_in(client, to=wanted)["Location"] == HOME
        client.logout()


def test_who_is_invited_needs_no_password_and_confirms_at_the_company(client, company):
    nell = Subscriber.objects.create(email="Nell@example.com")
    Membership.objects.create(customer=company.customer, subscriber=nell)
    assert sign_in(client, "nell@example.com").status_code == 403  # not invited
    nell.invited_at = timezone.now()
    nell.save()
    credential = factories.a_credential(company.customer, key="a-key-of-nell", holders=[nell])
    reveal = reverse("storefront:reveal_key", args=[credential.pk, credential.keys.get().pk])
    sign_in(client, "nell@example.com")
    nell.refresh_from_db()
    assert client.session["_auth_user_id"] == str(nell.user.pk)
    assert not nell.user.has_usable_password()

    def confirm(person="nell@example.com", **headers):
        target = client.get(CONFIRM, {"next": reveal}).context["target"]
        assert "prompt=login" in target
        return client.get(way_back(target, person, **headers))

    asked = client.get(reveal)
    assert f"{CONFIRM}?next=" in asked.content.decode()
    assert client.post(reveal).status_code == 403
    # Nor does a page about passkeys open without it, which allauth would let pass.
    assert client.get(reverse("mfa_add_webauthn"))["Location"].startswith(CONFIRM)
    assert "did not ask you again" in text_of(confirm(**{AGE: "600"}))
    factories.a_subscriber(company.customer, email="ben@example.com")
    assert "another account" in text_of(confirm("ben@example.com"))
    assert client.post(reveal).status_code == 403

    assert confirm()["Location"] == reveal
    assert "a-key-of-nell" in client.post(reveal).content.decode()


def test_only_superusers_say_where_and_a_secret_stays_with_its_issuer(client, ada, company):
    customer, boss = company.customer, factories.an_admin()
    given = {"customer": customer, "client_id": CLIENT, "client_secret": ""}
    clerk = factories.a_user(is_staff=True)
    with pytest.raises(company_sign_ins.SuperuserRequired):
        company_sign_ins.set_company_sign_in(issuer=company.issuer, by=clerk, **given)
    with pytest.raises(company_sign_ins.SecretRequired):
        company_sign_ins.set_company_sign_in(issuer="https://evil.example", by=boss, **given)
    for wrong in ("ftp://login.example", "https://user@login.example", "https://x.example?a=b"):
        with pytest.raises(company_sign_ins.IssuerNotSecure):
            company_sign_ins.set_company_sign_in(issuer=wrong, by=boss, **given)
    with pytest.raises(company_sign_ins.DomainsRequired):
        company_sign_ins.set_company_sign_in(
            issuer=company.issuer, by=boss, **(given | {"customer": factories.a_customer()})
        )

    sign_in(client)
    assert Session.objects.filter(user=ada.user).exists()
    company_sign_ins.set_company_sign_in(issuer=company.issuer, by=boss, **given)
    assert SocialAccount.objects.exists()
    company_sign_ins.end_company_sign_in(customer=customer, by=boss)
    assert not SocialAccount.objects.exists()
    assert not CompanySignIn.objects.exists()
    assert client.get(HOME).status_code == 302
    told = OutgoingMail.objects.filter(recipient=ada.email, subject__startswith="Where people of")
    assert told.count() == 2
    assert SECRET not in str(list(AuditEvent.objects.values_list("details", flat=True)))


def test_without_a_password_nothing_that_lasts_is_added_unconfirmed(client, ada):
    ada.user.set_unusable_password()
    ada.user.save()
    client.force_login(ada.user)
    pages = [reverse(name) for name in ("mfa_add_webauthn", "account_set_password")]

    # Such as after the end of the company's sign-in, by a mailed code.
    for page in pages:
        assert client.post(page)["Location"] == reverse("account_reset_password")
    sign_in(client)
    for page in pages:
        assert client.post(page)["Location"].startswith(CONFIRM)
