import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection
from django.urls import reverse

from revcred.appearance import MAX_AGE_SECONDS, appearance_cache
from revcred.models import Appearance, AuditEvent, AuditVerb
from tests.confirming import post

PNG = b"\x89PNG\r\n\x1a\n and no more"
SIGN_IN = "account_login"


@pytest.fixture
def page(db):
    Appearance.objects.create(pk=1)
    return reverse("admin:revcred_appearance_change", args=[1])


def test_what_is_set_is_on_pages_of_subscribers_and_on_record(admin_client, client, page):
    post(
        admin_client,
        page,
        {
            "name": "Fleet & Maps",
            "language": "de",
            "new_logo": SimpleUploadedFile("logo.png", PNG),
            "accent": "#5b21b6",
            "accent_dark": "#c4b5fd",
            "welcome_title": "Welcome",
            "welcome_text": "Read the *guide*. <script>",
            "support_text": "Questions? Write to us.",
            "links": "Guide https://docs.example.com\nMail mailto:api@example.com",
        },
    )

    shown = client.get(reverse(SIGN_IN)).content.decode()

    for part in (
        "Anmelden · Fleet &amp; Maps",
        "<em>guide</em>",
        "&lt;script&gt;",
        "Questions? Write to us.",
        'href="https://docs.example.com"',
    ):
        assert part in shown
    digest = Appearance.objects.get().digest
    colours = client.get(reverse("colours", args=[digest]))
    assert "--fill: #5b21b6;" in colours.content.decode()
    assert "immutable" in colours["Cache-Control"]
    logo = client.get(reverse("logo", args=[digest]))
    assert (logo.content, logo["Content-Type"]) == (PNG, "image/png")
    assert "sandbox" in logo["Content-Security-Policy"]
    changed = AuditEvent.objects.get(verb=AuditVerb.CHANGED).details["changed"]
    assert changed["name"] == ["", "Fleet & Maps"]
    assert changed["new_logo"][1] == "logo.png"


def test_the_policy_allows_no_styles_in_pages(client, page):
    Appearance.objects.update(accent="#5b21b6")
    appearance_cache.forget()

    response = client.get(reverse(SIGN_IN))

    assert "style-src 'self';" in response["Content-Security-Policy"] + ";"
    assert "<style" not in response.content.decode()


def test_pages_have_the_looks_that_were_read_last_while_the_database_is_away(page):
    Appearance.objects.update(name="Fleet & Maps")
    appearance_cache.forget()
    assert appearance_cache.get().shown_name == "Fleet & Maps"

    appearance_cache._read_at = -MAX_AGE_SECONDS
    with connection.execute_wrapper(database_is_away):
        assert appearance_cache.get().shown_name == "Fleet & Maps"
    appearance_cache.forget()
    with connection.execute_wrapper(database_is_away):
        assert appearance_cache.get().shown_name == "revcred"


def database_is_away(*_):
    raise OperationalError


def test_an_older_address_is_kept_by_nobody(client, page):
    assert client.get(reverse("colours", args=["older"]))["Cache-Control"] == "no-store"
    assert client.get(reverse("logo", args=["older"])).status_code == 404


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("accent", "#5cc8bc", "Too light to read in the light theme"),
        ("accent_dark", "#0f766e", "Too dark to read in the dark theme"),
        ("accent", "red", "six digits"),
        ("links", "https://docs.example.com", "a label of at most"),
        ("links", "Run javascript:alert(1)", "Enter a valid URL"),
        ("links", "\n".join(f"A{n} https://x.example/" for n in range(7)), "room for 6 links"),
    ],
)
def test_what_nobody_could_read_or_follow_is_refused(admin_client, page, field, value, message):
    answer = post(admin_client, page, {field: value})

    assert message in answer.content.decode()
    assert Appearance.objects.get().accent == ""


def test_the_logo_is_removed(admin_client, page):
    Appearance.objects.update(logo=PNG, logo_type="image/png")

    post(admin_client, page, {"without_logo": "on", "language": "en"})

    assert not Appearance.objects.get().logo


def test_the_list_leads_to_the_one_row(admin_client):
    answer = admin_client.get(reverse("admin:revcred_appearance_changelist"))

    assert answer["Location"] == reverse("admin:revcred_appearance_change", args=[1])
