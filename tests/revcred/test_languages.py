"""Pages and mails are in the reader's language; the administration and programs are English."""

from datetime import UTC, datetime

import pytest
from django.urls import reverse
from django.utils import translation

from revcred import outbox
from revcred.languages import browser_language, within_sentence
from revcred.models import Appearance, Membership, OutgoingMail
from tests import factories

pytestmark = pytest.mark.django_db

SIGN_IN = reverse("account_login")
PREFERENCES = reverse("account_time_zone")
GERMAN = {"Accept-Language": "de-AT,de;q=0.8,en;q=0.5"}


def language_of(answer):
    return answer.content.decode().partition('<html lang="')[2][:2]


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de", "de"),
        ("de-CH,en;q=0.5", "de"),
        ("fr,en;q=0.5,de;q=0.4", "en"),
        ("fr", ""),
        ("*", ""),
        ("", ""),
        ("de;q=x,,;", ""),
        ("x" * 5_000, ""),
    ],
)
def test_the_browser_says_which_language_it_wants(header, language):
    assert browser_language(header) == language


def test_whoever_is_not_signed_in_gets_the_browsers_language_or_the_installations(client):
    assert language_of(client.get(SIGN_IN)) == "en"
    assert "Passwort vergessen?" in client.get(SIGN_IN, headers=GERMAN).content.decode()

    Appearance(pk=1, language="de").save()

    assert language_of(client.get(SIGN_IN)) == "de"
    assert language_of(client.get(SIGN_IN, headers={"Accept-Language": "en-GB"})) == "en"


def test_a_subscriber_chooses_a_language_which_comes_before_the_browsers(sign_in):
    owner = factories.a_subscriber(factories.a_customer(), Membership.Role.OWNER)
    browser = sign_in(owner)
    home = reverse("storefront:home")
    assert PREFERENCES in browser.get(home).content.decode()

    answer = browser.post(
        PREFERENCES, {"language": "de", "time_zone": "Europe/Berlin"}, follow=True
    )

    assert "Seiten zeigen Zeiten jetzt in Europe/Berlin." in answer.content.decode()
    assert language_of(browser.get(home, headers={"Accept-Language": "en"})) == "de"
    assert browser.post(PREFERENCES, {"language": "fr"}).context["form"].errors
    missing = browser.get("/nothing/is/here/")
    assert missing.status_code == 404
    assert "Seite nicht gefunden" in missing.content.decode()


def test_moments_are_in_the_zone_of_the_subscriber(sign_in):
    customer = factories.a_customer()
    owner = factories.a_subscriber(customer, Membership.Role.OWNER)
    owner.user.time_zone = "Asia/Kolkata"
    owner.user.save()
    ends = datetime(2099, 1, 1, 20, tzinfo=UTC)
    credential = factories.a_credential(customer, expires_at=ends)

    page = sign_in(owner).get(reverse("storefront:credential", args=[credential.pk]))

    assert 'title="1 January 2099, 20:00:00 UTC">2 Jan 2099</time>' in page.content.decode()


def test_the_administration_and_programs_are_english(admin_client):
    page = admin_client.get(reverse("admin:index"), headers=GERMAN)
    assert language_of(page) == "en"
    assert "Accept-Language" not in page.get("Vary", "")

    assert admin_client.get("/v1/nothing", headers=GERMAN).json()["code"] == "not_found"


def test_mails_are_in_the_language_of_each_recipient():
    customer = factories.a_customer("Acme")
    german, english = (factories.a_subscriber(customer, Membership.Role.OWNER) for _ in range(2))
    german.user.language = "de"
    german.user.save()
    factories.a_user("staff@example.com", is_staff=True, language="de")

    outbox.notify_owners(customer, "emails/member_address", {"old": "a", "new": "b"})
    outbox.queue_mails(
        "emails/password_link",
        [(address, {"url": "", "user": german.user}) for address in ("staff@example.com", "x@y.z")],
    )

    subjects = dict(OutgoingMail.objects.values_list("recipient", "subject"))
    assert subjects[german.user.email] == "Ein Mitglied von Acme hat eine neue Adresse"
    assert subjects[english.user.email] == "A member of Acme has a new address"
    assert subjects["staff@example.com"] == subjects["x@y.z"] == "Choose a new password"


def test_mails_to_whoever_has_chosen_no_language_are_in_the_installations():
    Appearance(pk=1, language="de", name="Kartenwerk").save()

    outbox.queue_mail(
        "emails/second_factor_failed", "new@example.com", {"user": factories.a_user()}
    )

    mail = OutgoingMail.objects.get()
    assert mail.subject == "Ein falscher zweiter Faktor wurde eingegeben"
    assert "Kartenwerk auf testserver" in mail.unseal()


def test_labels_within_sentences_have_small_letters_in_english_only():
    assert within_sentence(Membership.Role.OWNER.label) == "owner"
    with translation.override("de"):
        assert within_sentence(Membership.Role.OWNER.label) == "Eigentümer"
