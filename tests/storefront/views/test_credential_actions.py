"""What subscribers do with their own credentials: told first, done once, on record, by mail."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from metering.models import Transaction
from revcred.actions import credentials, own_credentials, undoing
from revcred.models import AuditEvent, AuditVerb, Membership, OutgoingMail
from tests import factories

KEY = "the-old-key-of-ada-ends-OLDo"
RIGHT = {"password": factories.PASSWORD}


@pytest.fixture
def ada(customer):
    return factories.a_subscriber(customer, Membership.Role.MEMBER, "ada@example.com")


@pytest.fixture
def owner(customer):
    return factories.a_subscriber(customer, Membership.Role.OWNER, "olga@example.com")


@pytest.fixture
def credential(customer, ada, owner):
    other = factories.a_subscriber(customer, Membership.Role.MEMBER, "ben@example.com")
    subscription = factories.a_subscription(customer, name="Maps")
    credential = factories.a_credential(
        customer, key=KEY, name="checkout", subscriptions=[subscription], holders=[ada, other]
    )
    # Mails of becoming a member are not what this is about.
    OutgoingMail.objects.all().delete()
    return credential


@pytest.fixture
def browser(ada, sign_in):
    return sign_in(ada)


def url_of(credential, verb, *more):
    return reverse(f"storefront:{verb}", args=[credential.pk, *more])


def rotation(credential, **chosen):
    return {"overlap": "24", "newest_key": credential.keys.first().pk} | RIGHT | chosen


def text_of(answer):
    return " ".join(answer.content.decode().split())


def verbs(credential):
    return list(AuditEvent.objects.about(credential).values_list("verb", flat=True))[::-1][1:]


def told():
    return set(OutgoingMail.objects.values_list("recipient", flat=True))


def test_a_suspension_is_told_first_in_calls_an_hour_and_changes_nothing(browser, credential):
    factories.settled(*[factories.a_call(KEY) for _ in range(48)])
    before = verbs(credential)

    page = text_of(browser.get(url_of(credential, "suspend")))

    assert "48 calls in the last 24 hours, about 2 an hour." in page
    assert "…OLDo are not counted for “Maps”" in page
    assert (verbs(credential), told()) == (before, set())
    assert not credential.suspensions.exists()


def test_it_is_suspended_and_resumed_by_its_holder(browser, credential, ada):
    browser.post(url_of(credential, "suspend"))

    assert credential.suspensions.get().by_subscriber
    factories.settled(factories.a_call(KEY))
    assert not Transaction.objects.exists()
    # Ben holds it, too, and Olga owns the customer.
    assert told() == {"ben@example.com", "olga@example.com"}
    page = text_of(browser.get(reverse("storefront:credential", args=[credential.pk])))
    assert "by one of you" in page
    assert "ada@example.com</bdi></strong> <bdi>suspended it" in page
    assert "1 call made since" in text_of(browser.get(url_of(credential, "resume")))

    answer = browser.post(url_of(credential, "resume"), follow=True)

    assert "“checkout” is active again." in text_of(answer)
    factories.settled(factories.a_call(KEY))
    assert Transaction.objects.count() == 1
    assert verbs(credential) == [AuditVerb.SUSPENDED, AuditVerb.RESUMED]


def test_the_provider_s_suspension_is_the_provider_s_to_end(browser, credential, ada):
    credentials.suspend_credential(credential=credential, by=None)

    page = text_of(browser.get(reverse("storefront:credential", args=[credential.pk])))
    told_first = text_of(browser.get(url_of(credential, "resume")))
    answer = browser.post(url_of(credential, "resume"))

    assert "Only your provider can resume it." in page
    assert "Only your provider can resume it." in told_first
    assert "Only your provider can resume it." in text_of(answer)
    assert credential.suspensions.get().active_until is None
    with pytest.raises(credentials.SuspendedByProvider):
        own_credentials.resume_own_credential(credential=credential, by=ada.user)


def test_the_provider_s_suspension_takes_the_place_of_a_subscriber_s(browser, credential):
    browser.post(url_of(credential, "suspend"))
    credentials.suspend_credential(credential=credential, by=factories.an_admin())

    browser.post(url_of(credential, "resume"))

    assert credential.suspensions.get().active_until is None
    event = AuditEvent.objects.about(credential).first()
    undoing.undo_event(event=event, by=factories.an_admin())
    assert credential.suspensions.get().by_subscriber
    browser.post(url_of(credential, "resume"))
    assert credential.suspensions.get().active_until is not None


def test_a_rotation_needs_the_password_and_leads_to_the_new_key(browser, credential):
    without = browser.post(url_of(credential, "rotate"), rotation(credential, password=""))
    assert without.status_code == 403
    assert credential.keys.count() == 1

    answer = browser.post(url_of(credential, "rotate"), rotation(credential))

    new, old = credential.keys.all()
    assert answer["Location"] == f"{url_of(credential, 'credential')}?new={new.pk}"
    assert timedelta(hours=23) < old.active_until - timezone.now() <= timedelta(hours=24)
    assert old.end_by_subscriber
    page = text_of(browser.get(answer["Location"]))
    assert f'The new key <code class="hint">…{new.hint}</code> works now.' in page
    assert url_of(credential, "reveal_key", new.pk) in page
    assert told() == {"ben@example.com", "olga@example.com"}
    assert new.hint in OutgoingMail.objects.first().unseal()


def test_a_key_of_one_s_own_is_taken_and_shown_nowhere(browser, credential):
    mine = "a-key-of-my-own-that-ends-MYNo"

    browser.post(url_of(credential, "rotate"), rotation(credential, value=mine))
    page = browser.get(reverse("storefront:credential", args=[credential.pk])).content.decode()

    assert credential.keys.first().hint == "MYNo"
    assert mine not in page
    assert not AuditEvent.objects.saying("a-key-of-my-own").exists()
    assert mine not in "".join(mail.unseal() for mail in OutgoingMail.objects.all())


@pytest.mark.parametrize("is_revoked", [False, True])
def test_a_key_of_others_is_refused_without_saying_whose_it_is(browser, credential, is_revoked):
    anothers = factories.a_credential(key="a-key-of-somebody-else", name="their secret project")
    if is_revoked:
        credentials.revoke_credential(credential=anothers, reason="It is over.", by=None)

    answer = browser.post(
        url_of(credential, "rotate"), rotation(credential, value="a-key-of-somebody-else")
    )

    assert "This key is in use already, or was." in text_of(answer)
    assert "their secret project" not in text_of(answer)
    assert "a-key-of-somebody-else" not in text_of(answer)
    assert credential.keys.count() == 1


@pytest.mark.parametrize("wrong", [{"overlap": "17"}, {"value": "short"}, {"newest_key": "x"}])
def test_what_cannot_be_is_refused(browser, credential, wrong):
    answer = browser.post(url_of(credential, "rotate"), rotation(credential, **wrong))

    assert answer.status_code == 200
    assert credential.keys.count() == 1


def test_a_second_click_makes_no_second_key(browser, credential):
    sent = rotation(credential)

    first = browser.post(url_of(credential, "rotate"), sent)
    second = browser.post(url_of(credential, "rotate"), sent)

    assert second["Location"] == first["Location"]
    assert credential.keys.count() == 2


@pytest.mark.django_db(transaction=True)
def test_clicks_at_the_same_moment_make_one_key(browser, credential):
    sent, cookies = rotation(credential), browser.cookies

    def click(_):
        client = Client()
        client.cookies = cookies
        try:
            return client.post(url_of(credential, "rotate"), sent)["Location"]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(click, range(4)))

    assert len(answers) == 1
    assert credential.keys.count() == 2


def test_the_calls_of_both_keys_are_shown_until_the_old_one_is_silent(browser, credential):
    browser.post(url_of(credential, "rotate"), rotation(credential, value="the-new-key-ends-NEWn"))
    page = url_of(credential, "credential")
    gateway = factories.a_gateway("Edge")
    factories.settled(
        *[factories.a_call("the-new-key-ends-NEWn") for _ in range(2)],
        factories.a_call(KEY, ago=timedelta(hours=5)),
        gateway=gateway,
    )

    silent = browser.get(page)

    rows = {row["key"].hint: row for row in silent.context["rotation"]["rows"]}
    assert (rows["OLDo"]["calls"].total, rows["NEWn"]["calls"].last_hours) == (1, 2)
    assert rows["OLDo"]["gateways"] == [gateway]
    assert "No call came with an old key" in text_of(silent)
    # One that names a subscription it is not charged to is not counted, and yet a call.
    factories.settled(factories.a_call(KEY, subscription_named="none of ours"))
    assert "…OLDo</code> is still in use" in text_of(browser.get(page))


def test_an_old_key_is_ended_let_work_again_and_let_work_longer(browser, credential):
    browser.post(url_of(credential, "rotate"), rotation(credential))
    old = credential.keys.last()
    factories.settled(factories.a_call(KEY))
    assert "1 call in the last 24 hours" in text_of(
        browser.get(url_of(credential, "end_key", old.pk))
    )

    browser.post(url_of(credential, "end_key", old.pk))
    old.refresh_from_db()
    assert old.active_until <= timezone.now()
    browser.post(url_of(credential, "extend_key", old.pk), {"period": "24"})
    old.refresh_from_db()
    assert old.active_until > timezone.now() + timedelta(hours=23)
    browser.post(url_of(credential, "extend_key", old.pk), {"period": "720"})
    old.refresh_from_db()
    assert old.active_until > timezone.now() + timedelta(days=29)
    shorter = browser.post(url_of(credential, "extend_key", old.pk), {"period": "24"})

    assert "works longer than that already" in text_of(shorter)
    assert verbs(credential)[-3:] == [
        AuditVerb.KEY_ENDED,
        AuditVerb.KEY_EXTENDED,
        AuditVerb.KEY_EXTENDED,
    ]


def test_an_end_that_the_provider_set_is_not_moved(browser, credential):
    credentials.rotate_credential(credential=credential, overlap=timedelta(days=1), by=None)
    old = credential.keys.last()

    page = text_of(browser.get(url_of(credential, "credential")))
    answer = browser.post(url_of(credential, "extend_key", old.pk), {"period": "720"})

    assert url_of(credential, "extend_key", old.pk) not in page
    assert "Your provider set the end of this key." in text_of(answer)
    # Nor by bringing it forward first, which is allowed.
    browser.post(url_of(credential, "end_key", old.pk))
    browser.post(url_of(credential, "extend_key", old.pk), {"period": "720"})
    old.refresh_from_db()
    assert old.active_until <= timezone.now()


def test_a_key_that_ended_long_ago_stays_ended(browser, credential):
    browser.post(url_of(credential, "rotate"), rotation(credential, overlap="0"))
    credential.keys.filter(hint="OLDo").update(active_until=timezone.now() - timedelta(days=8))
    old = credential.keys.get(hint="OLDo")

    answer = browser.post(url_of(credential, "extend_key", old.pk), {"period": "24"})

    assert "ended too long ago" in text_of(answer)


def test_calls_of_the_time_in_which_it_had_ended_are_counted_after_all(browser, credential):
    browser.post(url_of(credential, "rotate"), rotation(credential, overlap="0"))
    old = credential.keys.get(hint="OLDo")
    factories.settled(factories.a_call(KEY))
    assert not Transaction.objects.exists()

    browser.post(url_of(credential, "extend_key", old.pk), {"period": "24"})
    factories.settled(factories.a_call(KEY))

    assert Transaction.objects.count() == 1
    assert credential.keys.get(hint="OLDo").outlasts(timezone.now())


def test_a_revocation_needs_a_reason_and_the_password(browser, credential):
    assert "This cannot be undone." in text_of(browser.get(url_of(credential, "revoke")))
    assert browser.post(url_of(credential, "revoke"), RIGHT).status_code == 200
    assert browser.post(url_of(credential, "revoke"), {"reason": "Gone."}).status_code == 403
    credential.refresh_from_db()
    assert credential.revoked_at is None

    answer = browser.post(
        url_of(credential, "revoke"), RIGHT | {"reason": "The laptop was stolen."}, follow=True
    )

    credential.refresh_from_db()
    assert credential.revocation_reason == "The laptop was stolen."
    assert "“checkout” is revoked." in text_of(answer)
    assert url_of(credential, "rotate") not in text_of(answer)
    for verb in ("rotate", "suspend", "resume"):
        sent = browser.post(url_of(credential, verb), rotation(credential))
        assert "is revoked. That cannot be undone." in text_of(sent)


def test_a_new_address_has_to_be_confirmed_first(browser, credential, ada):
    ada.user.reveals_rest_since = timezone.now()
    ada.user.save()

    answer = browser.post(url_of(credential, "rotate"), rotation(credential))

    assert "Your sign-in address was changed." in text_of(answer)
    assert credential.keys.count() == 1


def test_history_groups_what_was_done_again_and_hides_staff(browser, credential, ada):
    admin = factories.an_admin()
    credentials.suspend_credential(credential=credential, by=admin)
    credentials.resume_credential(credential=credential, by=admin)
    key = credential.keys.get()
    for _ in range(3):
        AuditEvent.objects.record(
            AuditVerb.KEY_REVEALED,
            target=credential,
            by=ada.user,
            details={"hint": key.hint},
            address="198.51.100.7",
        )

    page = browser.get(url_of(credential, "credential"))

    told = [(each.actor, each.what, each.times, each.address) for each in page.context["history"]]
    assert told == [
        ("ada@example.com", "revealed the key …OLDo", 3, "198.51.100.7"),
        ("Your provider", "resumed it", 1, None),
        ("Your provider", "suspended it", 1, None),
        ("Your provider", "issued it with the key …OLDo", 1, None),
    ]
    assert admin.email not in text_of(page)


def test_what_the_provider_does_not_permit_is_not_there(browser, credential, ada, settings):
    settings.SUBSCRIBER_ACTIONS = ["suspend"]

    page = text_of(browser.get(url_of(credential, "credential")))
    verbs = ("rotate", "revoke", "suspend")
    pages = {verb: browser.get(url_of(credential, verb)) for verb in verbs}

    assert url_of(credential, "rotate") not in page
    assert url_of(credential, "revoke") not in page
    assert url_of(credential, "suspend") in page
    assert {verb: each.status_code for verb, each in pages.items()} == {
        "rotate": 404,
        "revoke": 404,
        "suspend": 200,
    }
    with pytest.raises(own_credentials.NotAllowed):
        own_credentials.revoke_own_credential(credential=credential, reason="No.", by=ada.user)
