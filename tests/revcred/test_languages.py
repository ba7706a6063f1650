"""Pages and mails are in the reader's language; programs, and what is kept, are English."""

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
LANGUAGE = reverse("account_language")
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


def test_programs_get_english(admin_client):
    answer = admin_client.get("/v1/nothing", headers=GERMAN)

    assert answer.json()["message"] == "There is nothing at this address."
    assert "Accept-Language" not in answer.get("Vary", "")


def test_staff_choose_their_language_by_a_button_of_the_administration(admin_client):
    overview = reverse("admin:index")
    page = admin_client.get(overview, headers=GERMAN)
    assert language_of(page) == "de"
    assert "Accept-Language" in page["Vary"]
    assert ">English</button>" in page.content.decode()

    answer = admin_client.post(LANGUAGE, {"language": "en", "next": overview})

    assert answer.url == overview
    assert language_of(admin_client.get(overview, headers=GERMAN)) == "en"
    assert admin_client.post(LANGUAGE, {"language": "fr"}).status_code == 400
    away = admin_client.post(LANGUAGE, {"language": "de", "next": "https://example.com/"})
    assert away.url == PREFERENCES


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
    assert subjects["staff@example.com"] == "Wählen Sie ein neues Passwort"
    assert subjects["x@y.z"] == "Choose a new password"


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
