"""Finding, issuing and keeping credentials, with neither key nor secret on any page."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from metering.models import Claim
from revcred.actions import credentials
from revcred.admin_toolkit.lists import BoundedPaginator
from revcred.fingerprints import fingerprint
from revcred.models import (
    AuditEvent,
    Credential,
    ExternalKey,
    KeyUse,
    Membership,
    OutgoingMail,
    SealedValue,
    Subscriber,
)
from tests import factories
from tests.confirming import asked, confirm, post
from tests.factories import (
    a_call,
    a_credential,
    a_customer,
    a_gateway,
    a_subscriber,
    a_subscription,
    a_user,
    settled,
)

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "the-whole-key-of-an-old-app-wxyz"
SECRET = "a-secret-that-nobody-is-to-see"
LIST = reverse("admin:revcred_credential_changelist")
FIND = reverse("admin:revcred_credential_find")
ADD = reverse("admin:revcred_credential_add")


def page_of(credential: Credential, page: str = "change") -> str:
    return reverse(f"admin:revcred_credential_{page}", args=[credential.pk])


def errors_of(response) -> dict[str, list[str]]:
    return dict(response.context["form"].errors)


def verbs_about(credential: Credential) -> list[str]:
    return list(AuditEvent.objects.about(credential).order_by("pk").values_list("verb", flat=True))


# --- Finding -----------------------------------------------------------------------------------


def test_a_whole_key_leads_to_its_credential(admin_client):
    a_credential()
    credential = a_credential(key=KEY)

    response = admin_client.post(FIND, {"term": f" {KEY} "})

    assert response.status_code == 302
    assert response.url == page_of(credential)


def test_an_ended_key_is_found_too(admin_client):
    credential = a_credential(key=KEY)
    credentials.end_key(key=credential.keys.get(), by=None)

    assert admin_client.post(FIND, {"term": KEY}).url == page_of(credential)


def test_a_key_of_two_after_another_leads_to_both(admin_client):
    first = a_credential(key=KEY)
    credentials.end_key(key=first.keys.get(), by=None)
    second = a_credential(key="another-key-altogether", name="second")
    credentials.add_alias(credential=second, alias=KEY, by=None)

    response = admin_client.post(FIND, {"term": KEY}, follow=True)

    assert response.redirect_chain[0][0] == f"{LIST}?fingerprint={fingerprint(KEY)}"
    assert set(response.context["cl"].result_list) == {first, second}


def test_an_unknown_key_gets_into_no_address_and_its_waiting_usage_is_named(admin_client):
    settled(a_call(KEY), a_call(KEY))

    response = admin_client.post(FIND, {"term": KEY}, follow=True)

    assert response.redirect_chain[0][0] == f"{LIST}?fingerprint={fingerprint(KEY)}"
    assert KEY not in response.content.decode()
    assert "no credential has it" in response.content.decode()
    assert "2 transactions in quarantine" in response.content.decode()


@pytest.mark.parametrize(
    "term",
    [
        "Checkout",
        "checkOUT prod",
        "wxyz",
        "ann@example.com",
        "Acme",
        "acme-key",
        "Maps",
        "maps-pro",
    ],
)
def test_all_else_that_is_known_finds_it(admin_client, term):
    customer = a_customer("Acme")
    type(customer).objects.update(external_key="acme-key")
    a_credential(name="Another")
    credential = a_credential(
        customer,
        key=KEY,
        name="Checkout production",
        holders=[a_subscriber(customer, email="ann@example.com")],
        subscriptions=[a_subscription(customer, name="Maps Pro", external_key="maps-pro-1")],
    )

    response = admin_client.post(FIND, {"term": term}, follow=True)

    assert "q=" in response.redirect_chain[0][0]
    assert list(response.context["cl"].result_list) == [credential]


def test_a_key_typed_into_the_address_by_hand_does_not_stay_there(admin_client):
    a_credential(key=KEY)

    response = admin_client.get(LIST, {"q": KEY, "o": "1"}, follow=True)

    assert response.redirect_chain == [(f"{LIST}?o=1", 302)]
    assert "address of that page contained a key" in response.content.decode()
    assert KEY not in response.content.decode()


def test_finding_asks_for_a_post_and_for_permission(admin_client, client):
    assert admin_client.get(FIND).status_code == 405

    client.force_login(a_user(is_staff=True))
    assert client.post(FIND, {"term": KEY}).status_code == 403


def test_nothing_typed_shows_the_list(admin_client):
    assert admin_client.post(FIND, {"term": " "}).url == LIST


def test_a_nonsensical_fingerprint_finds_nothing(admin_client):
    a_credential()

    response = admin_client.get(LIST, {"fingerprint": "nonsense"})

    assert list(response.context["cl"].result_list) == []


def test_a_list_counts_no_further_than_it_must(monkeypatch):
    monkeypatch.setattr("revcred.admin_toolkit.lists.MAX_ROWS_COUNTED", 1)
    for _ in range(3):
        a_credential()
    everything = BoundedPaginator(Credential.objects.order_by("pk"), 1)
    some = BoundedPaginator(Credential.objects.filter(environment="").order_by("pk"), 1)

    assert everything.count_in_words.startswith("about ")
    assert some.count_in_words == "more than 1"
    assert some.num_pages == 1


# --- Issuing -----------------------------------------------------------------------------------


def test_issuing_with_an_existing_key(admin_client):
    customer = a_customer()
    subscriptions = [a_subscription(customer), a_subscription(customer)]
    holders = [a_subscriber(customer), a_subscriber(customer)]

    response = admin_client.post(
        ADD,
        {
            "customer": customer.pk,
            "name": "Checkout",
            "key": KEY,
            "secret": SECRET,
            "gateway": a_gateway().pk,
            "subscriptions": [each.pk for each in subscriptions],
            "holders": [each.pk for each in holders],
            "tags": "a, b",
            "environment": "production",
            "expires_at": "2030-01-01T12:00",
        },
    )

    credential = Credential.objects.get()
    assert response.url == page_of(credential)
    key = credential.keys.get()
    assert key.fingerprint == fingerprint(KEY)
    assert key.sealed.unseal("secret") == SECRET
    assert key.active_from < timezone.now() - timedelta(days=30)
    assert {each.subscription for each in credential.assignments.all()} == set(subscriptions)
    assert set(credential.holders.all()) == set(holders)
    assert credential.tags == ["a", "b"]
    assert credential.expires_at == datetime(2030, 1, 1, 12, tzinfo=UTC)
    assert verbs_about(credential) == ["issued"]
    assert AuditEvent.objects.get().actor == "admin@example.com"


# Pages by which somebody may become a holder: what is posted, without the holders.
BY_PAGE = {
    "issue": lambda credential: (ADD, {"customer": credential.customer_id, "name": "Another"}),
    "change": lambda credential: (page_of(credential), {"name": credential.name}),
}


@pytest.mark.parametrize("page", BY_PAGE)
def test_a_page_names_and_asks_before_holders_become_members(admin_client, page):
    credential, globex = a_credential(a_customer("Acme")), a_customer("Globex")
    ada = a_subscriber(globex, email="ada@elsewhere.example.org")
    address, said = BY_PAGE[page](credential)
    typed = said | {"holders": [ada.pk]}

    response = admin_client.post(address, typed)

    assert asked(response)
    [sentence] = response.context["question"].new_members
    assert sentence == (
        "ada@elsewhere.example.org becomes a member of Acme: mail domain elsewhere.example.org,"
        " belongs to Globex."
    )
    assert sentence in response.content.decode()
    assert not credential.customer.memberships.exists()
    assert not Credential.objects.filter(holders=ada).exists()

    assert confirm(admin_client, response).status_code == 302
    assert Credential.objects.filter(holders=ada).count() == 1
    assert credential.customer.memberships.get().subscriber == ada


@pytest.mark.parametrize("page", BY_PAGE)
def test_what_was_confirmed_was_about_these_people_only(admin_client, page):
    """Another holder, or one who has become somebody else's meanwhile, is asked about anew."""
    credential = a_credential(a_customer("Acme"))
    ada, bo = a_subscriber(), a_subscriber()
    address, said = BY_PAGE[page](credential)

    response = admin_client.post(address, said | {"holders": [ada.pk]})
    carried = dict(response.context["carried"]) | {"holders": [ada.pk, bo.pk]}
    assert asked(admin_client.post(address, carried))

    Membership.objects.create(customer=a_customer("Globex"), subscriber=ada)
    assert asked(admin_client.post(address, dict(response.context["carried"])))
    assert not credential.customer.memberships.exists()


@pytest.mark.parametrize("page", BY_PAGE)
def test_making_holders_members_takes_the_right_to_add_members(client, page):
    credential, ada = a_credential(), a_subscriber()
    clerk = a_user(is_staff=True)
    clerk.user_permissions.set(
        Permission.objects.filter(
            codename__in=["add_credential", "change_credential", "view_credential"]
        )
    )
    client.force_login(clerk)
    address, said = BY_PAGE[page](credential)

    response = client.post(address, said | {"holders": [ada.pk]})

    assert response.status_code == 200
    assert not asked(response)
    assert "Add memberships" in response.content.decode()
    assert not credential.customer.memberships.exists()
    assert not Credential.objects.filter(holders=ada).exists()


def test_issuing_with_a_generated_key_and_secret(admin_client):
    customer = a_customer()
    holder = a_subscriber(customer)
    said = {"customer": customer.pk, "name": "Checkout", "generate_secret": "on"}

    response = admin_client.post(ADD, said | {"holders": [holder.pk]}, follow=True)

    key = ExternalKey.objects.get()
    page = response.content.decode()
    assert "find the key in the storefront" in page
    assert key.sealed.unseal("value") not in page
    assert key.sealed.unseal("secret").startswith(credentials.SECRET_PREFIX)
    assert key.sealed.unseal("secret") not in page


def test_a_key_that_nobody_can_see_says_so_and_on_its_page(admin_client):
    customer = a_customer("Acme")
    told = "Nobody can see its key: it has no holder who is a member of Acme, and Acme has no owner"

    page = admin_client.post(ADD, {"customer": customer.pk, "name": "Unseen"}, follow=True)

    assert page.content.decode().count(told) == 2  # the message, and at the keys
    credential = Credential.objects.get()
    viewer = Subscriber.objects.create(email="viewer@example.com")
    customer.memberships.create(subscriber=viewer, role="viewer")
    credential.holders.add(viewer)
    assert told in admin_client.get(page_of(credential)).content.decode()
    owner = Subscriber.objects.create(email="owner@example.com")
    customer.memberships.create(subscriber=owner, role="owner")
    page = admin_client.get(page_of(credential)).content.decode()
    assert "until one of these people signs in: owner@example.com (never invited)." in page
    a_subscriber(customer, role="owner")
    assert "Nobody can see" not in admin_client.get(page_of(credential)).content.decode()


def test_issuing_invites_holders_who_do_not_sign_in_in_one_step(admin_client, client):
    customer = a_customer("Acme")
    new = Subscriber.objects.create(email="new@example.com")
    known = a_subscriber(customer)
    customer.memberships.create(subscriber=new, role="member")
    said = {"customer": customer.pk, "name": "Checkout", "holders": [new.pk, known.pk]}

    question = admin_client.post(ADD, said | {"invite": "on"})

    assert asked(question)
    assert "1 invitation is sent by e-mail: new@example.com." in question.content.decode()
    assert not Credential.objects.exists()
    page = admin_client.get(confirm(admin_client, question).url).content.decode()
    assert "Invited: new@example.com." in page
    assert [mail.recipient for mail in OutgoingMail.objects.all()] == ["new@example.com"]
    new.refresh_from_db()
    assert new.invited_at is not None
    # Inviting is a right of its own.
    clerk = factories.a_user("clerk@example.com", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename="add_credential"))
    client.force_login(clerk)
    assert "invite" not in client.get(ADD).context["form"].fields


def test_a_key_in_use_is_an_error_of_its_field_and_not_shown_again(admin_client):
    a_credential(key=KEY)
    said = {"customer": a_customer().pk, "name": "Checkout", "key": KEY, "secret": SECRET}

    response = admin_client.post(ADD, said)

    assert list(errors_of(response)) == ["key"]
    page = response.content.decode()
    assert KEY not in page
    assert SECRET not in page
    # It names whose the key is, and the next try needs the other key only.
    owner = Credential.objects.get()
    assert f">{owner}</a> of {owner.customer} since 2024-01-01 00:00 UTC." in page
    again = dict(response.context["form"].sealed_inputs)
    admin_client.post(ADD, said | again | {"key": "another-key-of-theirs", "secret": ""})
    issued = Credential.objects.get(name="Checkout")
    assert issued.keys.get().sealed.unseal("secret") == SECRET


@pytest.mark.parametrize(
    ("facts", "question"),
    [
        ({"expires_at": "2020-01-01T00:00"}, "It will never be valid"),
        ({"key": KEY, "expires_at": "2020-01-01T00:00"}, "It expired at 2020-01-01 00:00 UTC"),
        (
            {"key": KEY, "active_from": "2090-01-01T00:00", "expires_at": "2080-01-01T00:00"},
            "It will never be valid",
        ),
    ],
)
def test_what_is_over_before_it_begins_is_issued_only_after_a_question(
    admin_client, facts, question
):
    response = admin_client.post(ADD, {"customer": a_customer().pk, "name": "Over"} | facts)

    assert question in response.content.decode()
    assert not Credential.objects.exists()
    confirm(admin_client, response)
    assert Credential.objects.count() == 1


def test_what_does_not_fit_is_an_error_of_its_field(admin_client):
    customer = a_customer()
    a_credential(customer, name="Checkout")
    said = {"customer": customer.pk, "name": "Checkout", "subscriptions": [a_subscription().pk]}

    assert list(errors_of(admin_client.post(ADD, said))) == ["name"]
    assert list(errors_of(admin_client.post(ADD, said | {"name": "Other"}))) == ["subscriptions"]
    both = said | {"secret": SECRET, "generate_secret": "on"}
    assert list(errors_of(admin_client.post(ADD, both))) == ["generate_secret", "name"]
    assert Credential.objects.count() == 1


def test_a_key_with_a_nul_is_refused_kindly(admin_client):
    said = {"customer": a_customer().pk, "name": "Checkout", "key": "a\0b"}

    assert list(errors_of(admin_client.post(ADD, said))) == ["key"]


# --- Keeping -----------------------------------------------------------------------------------


def test_plain_facts_are_changed_by_the_act(admin_client):
    customer = a_customer()
    credential = a_credential(customer, subscriptions=[a_subscription(customer)])
    holder, before = a_subscriber(customer), credential.name
    Claim.objects.all().delete()

    response = post(
        admin_client,
        page_of(credential),
        {
            "name": "Renamed",
            "holders": [holder.pk],
            "environment": "staging",
            "tags": "",
            "expires_at": "2026-01-01T00:00:00",
        },
    )

    assert response.status_code == 302
    credential.refresh_from_db()
    assert (credential.name, list(credential.holders.all())) == ("Renamed", [holder])
    changed = AuditEvent.objects.about(credential).first()
    assert factories.details_of(changed) == {
        "changed": {
            "name": [before, "Renamed"],
            "environment": ["", "staging"],
            "expires_at": [None, "2026-01-01T00:00:00+00:00"],
            "holders": [[], [{"id": holder.pk, "name": holder.email}]],
        }
    }
    of_expiry = Claim.objects.get(cause__contains="expiry")
    assert of_expiry.since == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_later_expiry_and_a_holder_that_leaves_are_asked_in_words(admin_client):
    customer = a_customer()
    leaving = a_subscriber(customer, email="ann@example.com")
    credential = a_credential(customer, name="Orders", holders=[leaving])
    Credential.objects.update(expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    typed = {"name": "Orders", "environment": "", "tags": "", "expires_at": "2096-01-01T00:00:00"}

    response = admin_client.post(page_of(credential), typed)

    assert asked(response)
    assert "“Orders” is valid until 2096-01-01 00:00 UTC." in response.text
    assert "ann@example.com may no longer reveal 1 key of “Orders”." in response.text
    response = admin_client.post(page_of(credential), typed | {"expires_at": ""})
    assert "“Orders” is valid without an end." in response.text


@pytest.mark.parametrize("filtered", ["holder", "subscription"])
def test_a_list_shows_the_credentials_of_one_holder_or_subscription(admin_client, filtered):
    customer = a_customer()
    holder, subscription = a_subscriber(customer), a_subscription(customer)
    found = a_credential(customer, holders=[holder], subscriptions=[subscription])
    a_credential(customer)
    chosen = {"holder": holder, "subscription": subscription}[filtered]

    response = admin_client.get(
        reverse("admin:revcred_credential_changelist"), {filtered: chosen.pk}
    )

    assert list(response.context["cl"].queryset) == [found]
    assert str(chosen) in response.text


def test_saving_without_a_change_is_not_on_record(admin_client):
    expires_at = timezone.now() + timedelta(days=9)  # with microseconds, which no input shows
    credential = a_credential(expires_at=expires_at)
    said = {"name": credential.name, "expires_at": f"{expires_at:%Y-%m-%dT%H:%M:%S}"}

    admin_client.post(page_of(credential), said)

    credential.refresh_from_db()
    assert credential.expires_at == expires_at
    assert verbs_about(credential) == ["issued"]


def test_a_name_that_is_taken_is_an_error(admin_client):
    customer = a_customer()
    a_credential(customer, name="Checkout")
    credential = a_credential(customer)

    response = admin_client.post(page_of(credential), {"name": "Checkout"})

    assert response.context["adminform"].form.errors.keys() == {"name"}


def test_the_verbs(admin_client):
    customer = a_customer()
    first, second, third = (a_subscription(customer) for _ in range(3))
    credential = a_credential(customer, key=KEY, subscriptions=[first])

    def do(page: str, **said) -> None:
        response = admin_client.post(page_of(credential, page), said)
        assert asked(response) == (page != "add-alias")
        if asked(response):
            assert verbs_about(credential)[-1] != page
            response = confirm(admin_client, response)
        assert response.status_code == 302, errors_of(response)

    do("add-alias", key="another-string-it-is-known-by")
    # As a browser sends it, with what is left empty.
    do("rotate", overlap="24", hours="", key="", secret="", generate_secret="on")
    do("rotate", overlap="other", hours="3", key="a-new-key-that-exists")
    do("suspend")
    do("resume")
    do("assign", to=second.pk)
    do("move", subscription=first.pk, to=third.pk, at="2026-02-01T00:00")
    do("unassign", subscription=second.pk)
    do("end-key", key=credential.keys.filter(kind="alias").get().pk)
    do("revoke", reason="It leaked")

    assert verbs_about(credential) == [
        "issued",
        "alias_added",
        "rotated",
        "rotated",
        "suspended",
        "resumed",
        "assigned",
        "moved",
        "unassigned",
        "key_ended",
        "revoked",
    ]
    credential.refresh_from_db()
    assert credential.revocation_reason == "It leaked"


@pytest.mark.parametrize(
    ("page", "said", "field"),
    [
        ("add-alias", {}, "key"),
        ("add-alias", {"key": "taken-by-another-one"}, "key"),
        ("rotate", {"overlap": "other"}, "hours"),
        ("rotate", {"overlap": "0", "key": "taken-by-another-one"}, "key"),
        ("revoke", {}, "reason"),
        ("revoke", {"reason": " "}, "reason"),
        ("assign", {"to": "fed"}, "to"),
        ("assign", {"to": "foreign"}, "to"),
        ("move", {"subscription": "fed", "to": "foreign"}, "to"),
        ("move", {"subscription": "fed", "to": "own", "at": "2020-01-01T00:00"}, "at"),
        ("move", {"subscription": "own", "to": "fed"}, "subscription"),
        ("unassign", {"subscription": "fed", "at": "2020-01-01T00:00"}, "at"),
        ("end-key", {}, "key"),
        ("end-key", {"key": "own", "at": "2020-01-01T00:00"}, "at"),
    ],
)
def test_refusals_are_errors_of_their_field(admin_client, page, said, field):
    customer = a_customer()
    a_credential(key="taken-by-another-one")
    things = {
        "fed": a_subscription(customer),
        "own": a_subscription(customer),
        "foreign": a_subscription(),
    }
    credential = a_credential(customer, subscriptions=[things["fed"]])
    keys = {"own": credential.keys.get()} if page == "end-key" else things
    said = {name: keys[value].pk if value in keys else value for name, value in said.items()}
    before = verbs_about(credential)

    response = admin_client.post(page_of(credential, page), said)

    assert list(errors_of(response)) == [field]
    assert verbs_about(credential) == before


@pytest.mark.parametrize("page", ["rotate", "suspend", "resume", "add-alias", "revoke"])
def test_a_revoked_one_is_left_alone(admin_client, page):
    credential = a_credential()
    credentials.revoke_credential(credential=credential, reason="Lost", by=None)
    said = {"overlap": "0", "key": "a-key-of-some-length", "reason": "Again"}

    response = admin_client.post(page_of(credential, page), said)

    assert "revoked for good" in response.context["form"].non_field_errors()[0]


def test_a_rotation_says_when_the_old_key_was_last_used(admin_client):
    credential = a_credential(key=KEY)
    KeyUse.objects.create(
        external_key=credential.keys.get(), last_used_at=timezone.now() - timedelta(hours=3)
    )

    page = admin_client.get(page_of(credential, "rotate")).content.decode()

    assert "Key …wxyz was last used 3\xa0hours ago." in page


# --- What nobody sees --------------------------------------------------------------------------


def test_no_page_shows_a_key_or_a_secret(admin_client):
    customer = a_customer()
    subscription = a_subscription(customer)
    credential = a_credential(customer, key=KEY, secret=SECRET, subscriptions=[subscription])
    settled(a_call(KEY))
    pages = [reverse("admin:index"), LIST, page_of(credential), page_of(credential, "history")]
    pages += [page_of(credential, act) for act in ("rotate", "move", "end-key", "delete", "revoke")]
    picker = {"app_label": "revcred", "model_name": "externalkey", "field_name": "credential"}
    pages.append(reverse("admin:autocomplete", query={**picker, "term": credential.name}))
    pages.append(reverse("admin:revcred_auditevent_changelist"))
    sealed = SealedValue.objects.values_list("value", flat=True)

    for page in pages:
        text = admin_client.get(page).content.decode()
        assert KEY not in text
        assert SECRET not in text
        assert not any(each in text for each in sealed)


def test_who_may_only_look_has_no_buttons_and_no_verbs(client):
    staff = a_user(is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_credential"))
    client.force_login(staff)
    credential = a_credential()

    page = client.get(page_of(credential)).content.decode()

    assert page_of(credential, "rotate") not in page
    assert client.get(page_of(credential, "rotate")).status_code == 403
    assert client.post(page_of(credential, "revoke"), {"reason": "Mine"}).status_code == 403
    assert client.get(ADD).status_code == 403
    credential.refresh_from_db()
    assert credential.revoked_at is None


def test_a_credential_that_is_gone_leads_back_kindly(admin_client):
    gone = Credential(pk=999_999)

    assert admin_client.get(page_of(gone)).status_code == 302
    assert admin_client.get(page_of(gone, "rotate")).status_code == 302
