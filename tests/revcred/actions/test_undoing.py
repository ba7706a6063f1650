"""What was done by mistake is put back by one act, as long as nothing depends on it."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils import timezone

from metering.models import Claim, Usage
from metering.quarantine import reattribution
from revcred.actions import credentials, memberships, subscriptions, undoing, users
from revcred.models import AuditEvent, FormerName, Membership, Source
from tests import factories
from tests.confirming import asked, confirm, post
from tests.metering.attribution.test_processing import DAY

pytestmark = pytest.mark.django_db(transaction=True)

Verb = AuditEvent.Verb
KEY = "key-of-what-is-undone"
RIGHTS = {"is_staff": "on"}


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
    assert {*actions} | {Verb.RESUMED, Verb.KEY_EXTENDED} == {*undoing._RESTORE_BY_VERB} - of_others


def test_what_has_been_resumed_by_mistake_is_suspended_since_as_before(credential):
    credentials.suspend_credential(credential=credential, by=None)
    credentials.resume_credential(credential=credential, by=None)

    undo(AuditEvent.objects.filter(verb=Verb.RESUMED).get())

    assert credential.suspensions.get().active_until is None


def test_a_key_that_works_longer_by_mistake_ends_as_before(credential):
    ends = timezone.now() - 2 * DAY
    key = credential.keys.get()
    credentials.end_key(key=key, by=None, at=ends)
    reattribution.work_through_claims()
    before = usage()
    credentials.extend_key(key=key, until=timezone.now() + DAY, by=None)
    reattribution.work_through_claims()
    assert usage() != before

    undo(AuditEvent.objects.filter(verb=Verb.KEY_EXTENDED).get())

    assert usage() == before
    assert credential.keys.get().active_until == ends


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


def test_path_rules_that_were_added_and_removed_go_and_come_back(admin_client):
    source = Source.objects.create(name="Maps", external_key="maps")
    source.path_rules.create(text="/maps/")
    rule = source.path_rules.get()
    typed = {
        "name": "Maps",
        "path_rules-TOTAL_FORMS": 2,
        "path_rules-INITIAL_FORMS": 1,
        "path_rules-0-id": rule.pk,
        "path_rules-0-match": rule.match,
        "path_rules-0-text": rule.text,
        "path_rules-0-DELETE": "on",
        "path_rules-1-match": "begins_with",
        "path_rules-1-text": "/tiles/",
    }
    change(admin_client, source, typed | {"external_key": "maps"})

    undo(AuditEvent.objects.about(source).get())

    assert list(source.path_rules.values_list("pk", "text")) == [(rule.pk, "/maps/")]


# --- Things with forms of their own ---------------------------------------------------------------


def change(admin_client, thing, typed):
    """Save the page of a thing, and return the event."""
    page = f"admin:{thing._meta.app_label}_{thing._meta.model_name}_change"
    assert post(admin_client, reverse(page, args=[thing.pk]), typed).status_code == 302
    return AuditEvent.objects.about(thing).first()


def counted(product):
    return set(product.sources.values_list("external_key", flat=True))


@pytest.fixture
def restricted_product(admin_client):
    """A product that counts the calls of one source, and the event of the change to another."""
    maps, tiles = (
        Source.objects.create(name=name, external_key=name) for name in ("maps", "tiles")
    )
    product = factories.a_product("Geo")
    product.sources.set([maps])
    factories.a_subscription(product=product)
    typed = {
        "name": "Geo",
        "external_key": "geo",
        "sources": [tiles.pk],
        "credential_issuing": product.credential_issuing,
    }
    return product, change(admin_client, product, typed)


def test_the_sources_of_a_product_come_back_and_its_calls_are_judged_again(restricted_product):
    product, changed = restricted_product
    assert counted(product) == {"tiles"}
    claims = Claim.objects.count()

    undo(changed)

    assert counted(product) == {"maps"}
    assert Claim.objects.count() > claims


def test_a_source_that_was_deleted_meanwhile_is_named(restricted_product):
    product, changed = restricted_product
    Source.objects.get(external_key="maps").delete()

    with pytest.raises(undoing.CannotUndo, match=r"^Deleted meanwhile: maps\.$"):
        undo(changed)

    assert counted(product) == {"tiles"}


def test_a_former_name_of_a_customer_counts_its_calls_again(admin_client, customer):
    factories.a_subscription(customer)
    old = customer.name
    no_members = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0, "metadata": "{}"}
    typed = {"name": "Acme", "external_key": customer.external_key} | no_members
    changed = change(admin_client, customer, typed)
    claims = Claim.objects.count()

    undo(changed)

    customer.refresh_from_db()
    assert customer.name == old
    assert AuditEvent.objects.about(customer)[1].details["changed"] == {"name": ["Acme", old]}
    assert Claim.objects.count() > claims


def test_a_subscription_that_lost_its_former_name_has_it_again(customer, subscription, other):
    subscription.external_key, old = "renamed", subscription.external_key
    subscriptions.change_subscription(subscription=subscription, by=None)
    other.external_key = old
    subscriptions.change_subscription(subscription=other, by=None)
    taken = AuditEvent.objects.about(other).first()
    claims = Claim.objects.count()

    undo(taken)

    assert not FormerName.objects.exclude(taken_by_id=None).exists()
    assert Claim.objects.filter(cause=f"“{old}” means “{subscription}” again").count() == 1
    assert Claim.objects.count() > claims


def test_what_is_gone_is_not_restored(admin_client, customer):
    membership = factories.a_subscriber(customer).memberships.get()
    memberships.change_membership_role(membership=membership, role="owner", by=None)
    event = AuditEvent.objects.about(membership).first()
    membership.delete()

    with pytest.raises(undoing.CannotUndo, match=r"^It no longer exists\.$"):
        undo(event)


@pytest.fixture
def with_member(admin_client, customer):
    """A customer whose page gave a member another role; the membership, and the event."""
    membership = factories.a_subscriber(customer).memberships.get()
    typed = {
        "name": customer.name,
        "external_key": customer.external_key,
        "metadata": "{}",
        "memberships-TOTAL_FORMS": 1,
        "memberships-INITIAL_FORMS": 1,
        "memberships-0-id": membership.pk,
        "memberships-0-role": "viewer",
    }
    return membership, change(admin_client, customer, typed), typed


def test_a_role_that_a_customers_page_gave_is_taken_back(with_member):
    membership, changed, _ = with_member

    undo(changed)

    membership.refresh_from_db()
    assert membership.role == "member"
    assert AuditEvent.objects.about(membership).first().verb == Verb.ROLE_CHANGED


def test_a_role_that_was_given_meanwhile_stays(with_member):
    membership, changed, _ = with_member
    memberships.change_membership_role(membership=membership, role="owner", by=None)

    with pytest.raises(undoing.CannotUndo, match="has been changed meanwhile"):
        undo(changed)

    membership.refresh_from_db()
    assert membership.role == "owner"


def test_members_that_were_added_or_removed_are_not_undone(admin_client, customer, with_member):
    _, _, typed = with_member

    removed = change(admin_client, customer, typed | {"memberships-0-DELETE": "on"})

    assert undoing.undo_obstacle(removed) == undoing.MEMBERS_CHANGED_MESSAGE


def test_a_role_that_an_action_gave_is_taken_back(customer):
    membership = factories.a_subscriber(customer).memberships.get()
    memberships.change_membership_role(membership=membership, role="owner", by=None)

    undo()

    membership.refresh_from_db()
    assert membership.role == "member"
    assert AuditEvent.objects.about(membership).first().details["changed"] == {
        "role": ["owner", "member"]
    }


def test_holders_come_back_as_long_as_they_are_members(customer, credential):
    holder = factories.a_subscriber(customer)
    credentials.change_credential(credential=credential, holders=[holder], by=None)
    credentials.change_credential(credential=credential, holders=[], by=None)
    removed = AuditEvent.objects.about(credential).first()

    holder.memberships.all().delete()
    with pytest.raises(undoing.CannotUndo, match="Make them members first"):
        undo(removed)

    Membership.objects.create(customer=customer, subscriber=holder, role="member")
    undo(removed)
    assert list(credential.holders.all()) == [holder]


# --- Logins ---------------------------------------------------------------------------------------


def test_a_login_is_active_again_and_has_its_rights_and_name_again(admin_client, admin_user):
    group = Group.objects.first()
    staff = factories.a_user(is_staff=True, name="Ann")
    users.change_login(user=staff, values={"groups": [group]}, by=admin_user)
    users.change_login(user=staff, values={"groups": []}, by=admin_user)
    undo(AuditEvent.objects.about(staff).first(), by=admin_user)
    assert list(staff.groups.all()) == [group]

    users.change_login(user=staff, values={"is_active": False}, by=admin_user)
    undo(AuditEvent.objects.about(staff).first(), by=admin_user)
    staff.refresh_from_db()
    assert staff.is_active

    renamed = change(
        admin_client, staff, {"name": "Bob", "email": staff.email, "is_active": "on"} | RIGHTS
    )
    undo(renamed, by=admin_user)
    staff.refresh_from_db()
    assert staff.name == "Ann"


def test_a_login_of_somebody_above_is_not_changed_by_undoing(admin_user):
    staff = factories.a_user(is_staff=True)
    users.change_login(user=staff, values={"is_active": False}, by=admin_user)

    with pytest.raises(users.LoginRankTooHigh):
        undo(by=factories.a_user(is_staff=True))

    staff.refresh_from_db()
    assert not staff.is_active


# --- Credentials that were changed meanwhile ------------------------------------------------------


def test_a_key_whose_end_was_changed_meanwhile_keeps_it(credential):
    key = credential.keys.get()
    credentials.end_key(key=key, by=None, at=timezone.now() + DAY)
    ended = AuditEvent.objects.first()
    credentials.end_key(key=key, by=None, at=timezone.now() + timedelta(hours=1))

    with pytest.raises(undoing.CannotUndo, match="ends has been changed meanwhile"):
        undo(ended)


def test_a_key_of_a_revoked_credential_stays_ended(credential):
    credentials.end_key(key=credential.keys.get(), by=None)
    ended = AuditEvent.objects.first()
    credentials.revoke_credential(credential=credential, reason="lost", by=None)

    with pytest.raises(undoing.CannotUndo, match="has been revoked meanwhile"):
        undo(ended)


def test_a_suspension_that_was_resumed_meanwhile_is_no_longer_lifted(credential):
    credentials.suspend_credential(credential=credential, by=None)
    suspended = AuditEvent.objects.first()
    credentials.resume_credential(credential=credential, by=None)

    with pytest.raises(undoing.CannotUndo, match="has been resumed meanwhile"):
        undo(suspended)


def test_a_suspension_that_was_lifted_meanwhile_no_longer_exists(credential):
    credentials.suspend_credential(credential=credential, by=None)
    suspended = AuditEvent.objects.first()
    credentials.resume_credential(credential=credential, by=None)
    resumed = AuditEvent.objects.first()
    undo(resumed)
    undo(suspended)

    with pytest.raises(undoing.CannotUndo, match="undone already"):
        undo(resumed)
    assert not credential.suspensions.exists()


def test_an_end_is_not_undone_if_the_assignment_has_another_end_by_now(credential, subscription):
    credentials.unassign_subscription(
        credential=credential, subscription=subscription, by=None, at=timezone.now() + DAY
    )
    unassigned = AuditEvent.objects.first()
    credential.assignments.update(active_until=timezone.now() + 2 * DAY)

    with pytest.raises(undoing.CannotUndo, match="subscriptions have been changed meanwhile"):
        undo(unassigned)


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
