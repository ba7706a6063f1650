"""What was done by mistake is put back by one act, as long as nothing depends on it."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from metering.models import Usage
from metering.quarantine import reattribution
from revcred.actions import credentials, subscriptions, undoing
from revcred.models import AuditEvent, Source
from tests import factories
from tests.confirming import asked, confirm, post
from tests.metering.attribution.test_processing import DAY

pytestmark = pytest.mark.django_db(transaction=True)

Verb = AuditEvent.Verb
KEY = "key-of-what-is-undone"


@pytest.fixture
def customer():
    return factories.a_customer()


@pytest.fixture
def subscription(customer):
    return factories.a_subscription(customer)


@pytest.fixture
def other(customer):
    return factories.a_subscription(customer)


@pytest.fixture
def credential(customer, subscription):
    made = factories.a_credential(customer, KEY, subscriptions=[subscription])
    factories.settled(*[factories.a_call(KEY, ago=ago * DAY) for ago in (1, 2, 3)])
    reattribution.work_through_claims()
    return made


def usage():
    rows = Usage.objects.exclude(count=0).order_by("subscription_id", "hour")
    return list(rows.values_list("subscription_id", "hour", "count"))


def undo(event=None, by=None):
    undoing.undo_event(event=event or AuditEvent.objects.first(), by=by)
    reattribution.work_through_claims()


def test_a_plain_save_that_took_calls_off_a_bill_is_put_back(credential, subscription):
    before, was = usage(), subscription.active_from
    subscription.active_from = timezone.now()
    subscriptions.change_subscription(subscription=subscription, by=None)
    reattribution.work_through_claims()
    assert usage() == []

    undo()

    subscription.refresh_from_db()
    assert (usage(), subscription.active_from) == (before, was)
    event = AuditEvent.objects.first()
    assert (event.verb, event.details["what"]) == (Verb.UNDONE, "Changed")


def test_every_action_on_a_credential_says_whether_and_how_it_is_undone(
    credential, subscription, other
):
    at = timezone.now() - 2 * DAY - timedelta(hours=1)
    before = usage()
    actions = {
        Verb.MOVED: lambda: credentials.move_credential(
            credential=credential, subscription=subscription, to=other, by=None, at=at
        ),
        Verb.UNASSIGNED: lambda: credentials.unassign_subscription(
            credential=credential, subscription=subscription, by=None, at=at
        ),
        Verb.ASSIGNED: lambda: credentials.assign_subscription(
            credential=credential, subscription=other, by=None, at=at
        ),
        Verb.KEY_ENDED: lambda: credentials.end_key(key=credential.keys.get(), by=None, at=at),
        Verb.ALIAS_ADDED: lambda: credentials.add_alias(
            credential=credential, alias="another-string", by=None
        ),
        Verb.SUSPENDED: lambda: credentials.suspend_credential(credential=credential, by=None),
    }
    for verb, action in actions.items():
        action()
        reattribution.work_through_claims()
        done = AuditEvent.objects.filter(verb=verb).first()
        assert undoing.undo_obstacle(done) is None
        undo(done)
        assert usage() == before, verb
        with pytest.raises(undoing.CannotUndo, match="undone already"):
            undo(done)
    # Verbs of other things, whose fields are restored one by one.
    of_others = {
        verb
        for verb, restore in undoing._RESTORE_BY_VERB.items()
        if restore is undoing._restore_recorded_fields
    }
    assert {*actions} | {Verb.RESUMED} == {*undoing._RESTORE_BY_VERB} - of_others


def test_what_has_been_resumed_by_mistake_is_suspended_since_as_before(credential):
    credentials.suspend_credential(credential=credential, by=None)
    credentials.resume_credential(credential=credential, by=None)

    undo(AuditEvent.objects.filter(verb=Verb.RESUMED).get())

    assert credential.suspensions.get().active_until is None


def test_a_start_from_the_very_beginning_comes_back_as_it_was(credential, subscription, other):
    before, at = usage(), credential.assignments.get().active_from
    credentials.move_credential(
        credential=credential, subscription=subscription, to=other, by=None, at=at
    )
    reattribution.work_through_claims()
    assert not credential.assignments.filter(subscription=subscription).exists()

    undo()

    assert usage() == before
    assert credential.assignments.get().subscription == subscription


def test_what_somebody_has_changed_meanwhile_is_not_overwritten(credential, subscription):
    admin = factories.a_user(is_staff=True)
    subscription.quota = 1
    subscriptions.change_subscription(subscription=subscription, by=None)
    first = AuditEvent.objects.first()
    subscription.quota = 2
    subscriptions.change_subscription(subscription=subscription, by=admin)

    with pytest.raises(undoing.CannotUndo, match=f"“quota” has been changed meanwhile, by {admin}"):
        undo(first)

    subscription.refresh_from_db()
    assert subscription.quota == 2


def test_an_assignment_that_was_moved_on_is_not_put_back(customer, credential, subscription, other):
    at = timezone.now() - 2 * DAY
    credentials.move_credential(
        credential=credential, subscription=subscription, to=other, by=None, at=at
    )
    moved = AuditEvent.objects.first()
    third = factories.a_subscription(customer)
    credentials.move_credential(
        credential=credential, subscription=other, to=third, by=None, at=timezone.now() - DAY
    )

    with pytest.raises(undoing.CannotUndo, match="changed meanwhile"):
        undo(moved)


def test_a_key_that_means_another_by_now_stays_ended(credential):
    at = timezone.now() - DAY
    credentials.end_key(key=credential.keys.get(), by=None, at=at)
    ended = AuditEvent.objects.first()
    factories.a_credential(new_key=credentials.NewKey(key=KEY, active_from=at))

    with pytest.raises(undoing.CannotUndo, match="somebody else uses them by now"):
        undo(ended)


@pytest.mark.parametrize(
    "verb", [each for each in Verb if each not in {*undoing._RESTORE_BY_VERB, "changed"}]
)
def test_what_is_not_undone_says_what_to_do_instead(verb):
    event = AuditEvent(verb=verb, target_type="revcred.customer", target_id=1)

    said = undoing.undo_obstacle(event)

    assert said
    assert said.endswith(".")


def test_what_was_recorded_before_old_values_were_kept_is_not_undone():
    event = AuditEvent(
        verb=Verb.CHANGED, target_type="revcred.subscription", details={"changed": ["active_from"]}
    )

    assert undoing.undo_obstacle(event) == undoing.TOO_OLD_MESSAGE


def test_sources_and_path_rules_come_back(admin_client):
    source = Source.objects.create(name="Maps", external_key="maps")
    rule = source.path_rules.create(text="/maps/")
    address = reverse("admin:revcred_source_change", args=[source.pk])
    typed = {
        "name": "Maps",
        "external_key": "maps",
        "path_rules-TOTAL_FORMS": 1,
        "path_rules-INITIAL_FORMS": 1,
        "path_rules-0-id": rule.pk,
        "path_rules-0-match": "begins_with",
        "path_rules-0-text": "/other/",
    }
    assert post(admin_client, address, typed).status_code == 302

    undo(AuditEvent.objects.about(source).get())

    rule.refresh_from_db()
    assert rule.text == "/maps/"


# --- In the administration ------------------------------------------------------------------------


def test_one_click_from_the_history_asks_with_figures_and_puts_it_back(
    admin_client, credential, subscription
):
    before = usage()
    subscription.active_from = timezone.now()
    subscriptions.change_subscription(subscription=subscription, by=None)
    reattribution.work_through_claims()
    event = AuditEvent.objects.first()
    history = reverse("admin:revcred_subscription_history", args=[subscription.pk])
    address = reverse("admin:revcred_auditevent_undo", args=[event.pk])
    assert address in admin_client.get(history).text

    assert "Restores the values from before" in admin_client.get(address).text
    response = admin_client.post(address)
    assert asked(response)
    assert "This moves 3 calls" in response.text
    done = confirm(admin_client, response)

    assert done.url == history
    reattribution.work_through_claims()
    assert usage() == before
    assert address not in admin_client.get(history).text


def test_what_cannot_be_undone_says_so_on_its_page(admin_client, credential):
    credentials.revoke_credential(credential=credential, reason="lost", by=None)
    event = AuditEvent.objects.first()
    address = reverse("admin:revcred_auditevent_undo", args=[event.pk])

    assert "A revoked credential stays revoked" in admin_client.get(address).text
    response = admin_client.post(address)

    assert "A revoked credential stays revoked" in str(response.context["form"].errors)


def test_only_who_may_change_the_thing_may_put_it_back(client, subscription):
    subscription.quota = 1
    subscriptions.change_subscription(subscription=subscription, by=None)
    event = AuditEvent.objects.first()
    client.force_login(factories.a_user(is_staff=True))

    assert client.post(reverse("admin:revcred_auditevent_undo", args=[event.pk])).status_code == 403
