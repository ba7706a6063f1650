"""Every act on a credential: what it does, what it puts on record, what it announces, refuses."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.transaction import atomic
from django.utils import timezone

from revcred.actions import credentials
from revcred.actions.credentials import NewKey
from revcred.fingerprints import fingerprint
from revcred.models import (
    AuditEvent,
    Credential,
    ExternalKey,
    Membership,
    OutgoingMail,
)
from tests import factories
from tests.owner import owner_cursor

pytestmark = pytest.mark.django_db

Verb = AuditEvent.Verb

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
STRING = "a-string-that-callers-send"


@pytest.fixture
def by():
    return factories.a_user("admin@example.com", is_staff=True)


@pytest.fixture
def customer():
    return factories.a_customer()


@pytest.fixture
def credential(customer):
    return factories.a_credential(customer)


@pytest.fixture
def now():
    return timezone.now()


def verbs(credential):
    """What is on record of it, the oldest first."""
    events = AuditEvent.objects.about(credential).order_by("pk")
    return list(events.values_list("verb", flat=True))


def readable(event):
    """Of its details what people read."""
    return {name: value for name, value in event.details.items() if name != "undo"}


def newest_event(credential):
    return AuditEvent.objects.about(credential).latest("pk")


def about(moment):
    """Of a moment that the act itself took: the present one, give or take."""
    return pytest.approx(moment.timestamp(), abs=5)


def revoked(credential):
    credentials.revoke_credential(credential=credential, reason="for a test", by=None)
    return credential


def periods(queryset):
    return list(queryset.order_by("active_from").values_list("active_from", "active_until"))


# --- issue ----------------------------------------------------------------------------------------


def test_issuing_makes_all_of_it(customer, by, announced):
    holder = factories.a_subscriber()
    feeds = [factories.a_subscription(customer), factories.a_subscription(customer)]
    expires_at = timezone.now() + DAY

    issued = credentials.issue_credential(
        customer=customer,
        name="Production",
        by=by,
        new_key=NewKey(key=STRING, secret="a secret", gateway=factories.a_gateway("edge")),
        subscriptions=feeds,
        holders=[holder],
        new_members=[holder],
        environment="production",
        tags=["eu"],
        expires_at=expires_at,
    )

    issued = Credential.objects.get(pk=issued.pk)
    assert (issued.customer, issued.name, issued.environment) == (
        customer,
        "Production",
        "production",
    )
    assert (issued.tags, issued.expires_at) == (["eu"], expires_at)
    assert list(issued.holders.all()) == [holder]
    key = issued.keys.get()
    assert (key.fingerprint, key.hint, key.kind) == (fingerprint(STRING), "send", "key")
    assert key.gateway.name == "edge"
    assert key.sealed.unseal("value") == STRING
    assert key.sealed.unseal("secret") == "a secret"
    fed = issued.assignments.values_list("subscription", "customer", "active_from", "active_until")
    assert set(fed) == {(each.pk, customer.pk, key.active_from, None) for each in feeds}


def test_issuing_is_on_record_without_the_key(customer, by):
    issued = credentials.issue_credential(
        customer=customer, name="Production", new_key=NewKey(key=STRING, secret="a secret"), by=by
    )

    event = AuditEvent.objects.get()
    assert (event.verb, event.target_id, event.actor) == (Verb.ISSUED, issued.pk, by.email)
    since = issued.keys.get().active_from.isoformat()
    assert event.details == {"hint": "send", "subscriptions": [], "holders": [], "from": since}


def test_issuing_is_announced(customer, by, announced):
    issued = credentials.issue_credential(customer=customer, name="Production", by=by)

    assert announced == [
        {
            "cause": "credential “Production” was issued",
            "by": by,
            "since": None,
            "credential": issued,
            "subscription": None,
            "product": None,
            "upload": None,
            "with_sources": False,
        }
    ]


def test_a_generated_key_counts_from_now(customer, now):
    issued = credentials.issue_credential(customer=customer, name="Production", by=None)

    key = issued.keys.get()
    assert key.active_from.timestamp() == about(now)
    assert key.sealed.unseal("value").startswith(credentials.KEY_PREFIX)
    assert key.sealed.unseal("secret") is None


def test_an_existing_key_counts_from_as_far_back_as_transactions_are_accepted(customer, now):
    subscription = factories.a_subscription(customer)

    issued = credentials.issue_credential(
        customer=customer,
        name="Production",
        new_key=NewKey(key=STRING),
        subscriptions=[subscription],
        by=None,
    )

    oldest = now - timedelta(days=settings.OLDEST_TRANSACTION_DAYS)
    assert issued.keys.get().active_from.timestamp() == about(oldest)
    assert issued.assignments.get().active_from == issued.keys.get().active_from


def test_a_key_used_again_counts_from_when_its_last_owner_let_go(customer, now):
    last = factories.a_credential(key=STRING)
    credentials.end_key(key=last.keys.get(), at=now - DAY, by=None)

    again = credentials.issue_credential(
        customer=customer, name="Again", new_key=NewKey(key=STRING), by=None
    )

    assert again.keys.get().active_from == now - DAY


def test_a_key_that_was_let_go_long_ago_reaches_back_as_far_as_any(customer, now):
    last = factories.a_credential(key=STRING)
    credentials.end_key(key=last.keys.get(), at=now - 300 * DAY, by=None)

    again = credentials.issue_credential(
        customer=customer, name="Again", new_key=NewKey(key=STRING), by=None
    )

    oldest = now - timedelta(days=settings.OLDEST_TRANSACTION_DAYS)
    assert again.keys.get().active_from.timestamp() == about(oldest)


def test_a_key_in_use_is_refused_and_nothing_is_left(customer):
    factories.a_credential(key=STRING)

    with pytest.raises(credentials.KeyInUse):
        credentials.issue_credential(
            customer=customer, name="Other", new_key=NewKey(key=STRING), by=None
        )

    assert not Credential.objects.filter(name="Other").exists()


def test_a_key_that_will_be_in_use_is_refused_too(customer, now):
    factories.a_credential(new_key=NewKey(key=STRING, active_from=now + DAY))

    with pytest.raises(credentials.KeyInUse):
        credentials.issue_credential(
            customer=customer, name="Other", new_key=NewKey(key=STRING), by=None
        )


def test_a_key_on_its_way_out_is_refused_until_it_is_over(customer, now):
    last = factories.a_credential(key=STRING)
    credentials.end_key(key=last.keys.get(), at=now + DAY, by=None)
    from_then = NewKey(key=STRING, active_from=now + DAY)

    with pytest.raises(credentials.KeyInUse):
        credentials.issue_credential(
            customer=customer, name="Early", new_key=NewKey(key=STRING, active_from=now), by=None
        )

    later = credentials.issue_credential(
        customer=customer, name="Later", new_key=from_then, by=None
    )
    assert later.keys.get().active_from == now + DAY


def test_the_same_key_may_mean_another_at_a_gateway(customer):
    factories.a_credential(key=STRING)
    here = NewKey(key=STRING, gateway=factories.a_gateway())

    issued = credentials.issue_credential(customer=customer, name="Here", new_key=here, by=None)

    assert issued.keys.get().gateway == here.gateway


def test_a_name_in_use_is_refused(credential):
    with pytest.raises(credentials.CredentialNameInUse):
        credentials.issue_credential(customer=credential.customer, name=credential.name, by=None)


def test_another_customers_subscription_is_refused(customer):
    with pytest.raises(credentials.SubscriptionOfOtherCustomer):
        credentials.issue_credential(
            customer=customer, name="Other", subscriptions=[factories.a_subscription()], by=None
        )

    assert not Credential.objects.exists()


def test_the_same_subscription_twice_is_refused(customer):
    subscription = factories.a_subscription(customer)

    with pytest.raises(credentials.AlreadyAssigned):
        credentials.issue_credential(
            customer=customer, name="Other", subscriptions=[subscription] * 2, by=None
        )


@pytest.mark.parametrize("elsewhere", [False, True])
def test_nobody_becomes_a_member_unasked(customer, elsewhere):
    """Neither with a new credential nor with the holders of one that is there."""
    credential = factories.a_credential(customer)
    stranger = factories.a_subscriber(factories.a_customer() if elsewhere else None)
    before = stranger.memberships.count()

    with pytest.raises(credentials.HoldersNotMembers, match=stranger.email), atomic():
        credentials.issue_credential(customer=customer, name="Other", holders=[stranger], by=None)
    with pytest.raises(credentials.HoldersNotMembers, match=stranger.email), atomic():
        credentials.change_credential(credential=credential, holders=[stranger], by=None)
    assert stranger.memberships.count() == before
    assert not customer.credentials.filter(name="Other").exists()
    assert not credential.holders.exists()


def test_a_new_member_and_the_owners_are_told_and_it_is_on_record(customer, by):
    owner = factories.a_subscriber(customer, Membership.Role.OWNER)
    other = factories.a_customer("Globex")
    ada = factories.a_subscriber(other, email="ada@example.com")
    credential = factories.a_credential(customer)
    OutgoingMail.objects.all().delete()

    credentials.change_credential(credential=credential, holders=[ada], new_members=[ada], by=by)

    member = customer.memberships.get(subscriber=ada)
    event = newest_event(member)
    assert (event.verb, event.details) == (
        Verb.CREATED,
        {
            "role": "member",
            "as_holder_of": credential.name,
            "belongs_to_as_well": ["Globex"],
        },
    )
    mails = {each.recipient: each.unseal() for each in OutgoingMail.objects.all()}
    assert mails.keys() == {owner.email, ada.email}
    assert "made ada@example.com member of" in mails[owner.email]
    assert f"member of {customer}" in mails[ada.email]


def test_a_holder_belongs_to_the_customer(customer):
    owner = factories.a_subscriber(customer, Membership.Role.OWNER)
    newcomer = factories.a_subscriber()

    factories.a_credential(customer, holders=[owner, newcomer])

    assert owner.memberships.get().role == Membership.Role.OWNER
    assert newcomer.memberships.get().role == Membership.Role.MEMBER


# --- change ---------------------------------------------------------------------------------------


def test_what_is_changed_is_saved_and_on_record_by_name(credential, by, announced):
    holder, before = factories.a_subscriber(), credential.name
    credential.name, credential.tags = "Renamed", ["eu"]

    credentials.change_credential(
        credential=credential, holders=[holder], new_members=[holder], by=by
    )

    kept = Credential.objects.get(pk=credential.pk)
    assert (kept.name, kept.tags, list(kept.holders.all())) == ("Renamed", ["eu"], [holder])
    event = newest_event(credential)
    assert (event.verb, event.actor) == (Verb.CHANGED, by.email)
    assert event.details == {
        "changed": {
            "name": [before, "Renamed"],
            "tags": [[], ["eu"]],
            "holders": [[], [{"id": holder.pk, "name": holder.email}]],
        }
    }
    # Calls may name it so, or go on naming it as before.
    assert [each["credential"] for each in announced] == [credential]


def test_nothing_changed_is_nothing_on_record(credential):
    credentials.change_credential(credential=credential, holders=[], by=None)

    assert verbs(credential) == [Verb.ISSUED]


def test_holders_that_are_not_said_stay(customer):
    credential = factories.a_credential(customer, holders=[factories.a_subscriber()])

    credentials.change_credential(credential=credential, by=None)

    assert credential.holders.count() == 1


@pytest.mark.parametrize(
    ("before", "after", "since"),
    [(None, 1, 1), (1, None, 1), (1, 2, 1), (2, 1, 1), (-1, 3, -1)],
)
def test_usage_follows_another_expiry_from_where_the_two_differ(
    now, announced, before, after, since
):
    credential = factories.a_credential(expires_at=before and now + before * DAY)
    credential.expires_at = after and now + after * DAY
    announced.clear()

    credentials.change_credential(credential=credential, by=None)

    assert [(each["credential"], each["since"]) for each in announced] == [
        (credential, now + since * DAY)
    ]


def test_a_name_in_use_is_refused_at_a_change_too(credential, customer):
    credential.name = factories.a_credential(customer).name

    with pytest.raises(credentials.CredentialNameInUse):
        credentials.change_credential(credential=credential, by=None)


def test_a_change_leaves_alone_what_is_no_plain_fact(credential):
    stale = Credential.objects.get(pk=credential.pk)
    revoked(credential)
    stale.name = "Renamed"

    credentials.change_credential(credential=stale, by=None)

    assert Credential.objects.get(pk=credential.pk).revocation_reason == "for a test"


# --- aliases --------------------------------------------------------------------------------------


def test_an_alias_is_another_string_of_the_same(credential, by, now, announced):
    alias = credentials.add_alias(credential=credential, alias=STRING, by=by)

    oldest = now - timedelta(days=settings.OLDEST_TRANSACTION_DAYS)
    assert (alias.credential, alias.kind, alias.hint) == (credential, "alias", "send")
    assert alias.active_from.timestamp() == about(oldest)
    assert alias.sealed.unseal("value") == STRING
    event = newest_event(credential)
    assert (event.verb, event.details["hint"], event.actor) == (
        Verb.ALIAS_ADDED,
        "send",
        by.email,
    )
    assert alias.pk == event.details["undo"]["key"]
    assert [(each["credential"], each["since"]) for each in announced] == [(credential, None)]


def test_an_alias_known_by_its_fingerprint_only_has_nothing_to_reveal(credential, by):
    mark = fingerprint(STRING)

    alias = credentials.add_alias_by_fingerprint(
        credential=credential, key_fingerprint=mark, hint="send", by=by
    )

    assert (alias.fingerprint, alias.hint, alias.kind) == (mark, "send", "alias")
    assert verbs(credential) == [Verb.ISSUED, Verb.ALIAS_ADDED]
    with pytest.raises(credentials.NothingToReveal):
        credentials.reveal_key(key=alias, field="value", by=by)


@pytest.mark.parametrize("known_by", ["string", "fingerprint"])
def test_an_alias_in_use_is_refused(credential, known_by):
    factories.a_credential(key=STRING)

    with pytest.raises(credentials.KeyInUse):
        an_alias(credential, known_by)


@pytest.mark.parametrize("known_by", ["string", "fingerprint"])
def test_a_revoked_credential_has_no_new_aliases(credential, known_by):
    revoked(credential)

    with pytest.raises(credentials.CredentialRevoked):
        an_alias(credential, known_by)


def an_alias(credential, known_by):
    if known_by == "string":
        return credentials.add_alias(credential=credential, alias=STRING, by=None)
    return credentials.add_alias_by_fingerprint(
        credential=credential, key_fingerprint=fingerprint(STRING), hint="", by=None
    )


# --- end_key --------------------------------------------------------------------------------------


def test_a_key_ends_now(credential, by, now, announced):
    key = credential.keys.get()

    credentials.end_key(key=key, by=by)

    kept = ExternalKey.objects.get(pk=key.pk)
    assert kept.active_until.timestamp() == about(now)
    event = newest_event(credential)
    assert (event.verb, event.actor) == (Verb.KEY_ENDED, by.email)
    assert readable(event) == {
        "hint": key.hint,
        "at": kept.active_until.isoformat(),
        "changed": {"until": [None, kept.active_until.isoformat()]},
    }
    assert announced[-1]["since"] == kept.active_until
    assert announced[-1]["credential"] == credential


def test_a_key_that_is_withdrawn_before_it_counts_is_still_known(credential, customer, now):
    key = credential.keys.get()
    key.active_from = now + DAY
    key.save()

    credentials.end_key(key=key, at=now, by=None)
    credentials.end_key(key=key, at=now - DAY, by=None)

    kept = ExternalKey.objects.get(pk=key.pk)
    assert kept.active_until == kept.active_from
    assert AuditEvent.objects.about(credential).filter(verb=Verb.KEY_ENDED).count() == 1
    again = credentials.add_alias_by_fingerprint(
        credential=credential, key_fingerprint=kept.fingerprint, hint="", by=None
    )
    assert again.active_from < now


@pytest.mark.parametrize("days", [-3, 3])
def test_a_key_ends_whenever_it_is_said(credential, now, days):
    key = credential.keys.get()

    credentials.end_key(key=key, at=now + days * DAY, by=None)

    assert ExternalKey.objects.get(pk=key.pk).active_until == now + days * DAY


def test_a_key_that_has_ended_keeps_its_end(credential, now):
    stale = credential.keys.get()
    credentials.end_key(key=credential.keys.get(), at=now - DAY, by=None)

    credentials.end_key(key=stale, by=None)

    assert credential.keys.get().active_until == now - DAY
    assert verbs(credential) == [Verb.ISSUED, Verb.KEY_ENDED]


def test_a_key_that_is_to_end_may_end_sooner(credential, now):
    key = credential.keys.get()
    credentials.end_key(key=key, at=now + DAY, by=None)

    credentials.end_key(key=key, at=now, by=None)

    assert credential.keys.get().active_until == now


@pytest.mark.parametrize("at", [None, "its start"])
def test_a_key_not_begun_never_begins(credential, now, at):
    alias = credentials.add_alias(
        credential=credential, alias=STRING, active_from=now + DAY, by=None
    )

    credentials.end_key(key=alias, at=at and now + DAY, by=None)

    assert not credential.keys.ever_counting().filter(kind=ExternalKey.Kind.ALIAS).exists()
    assert not alias.is_active_at(now + DAY)
    assert verbs(credential)[-1] == Verb.KEY_ENDED


# --- rotate ---------------------------------------------------------------------------------------


def test_a_rotation_gives_a_new_key_and_lets_the_old_one_overlap(credential, by, now, announced):
    old = credential.keys.get()

    new = credentials.rotate_credential(
        credential=credential, overlap=DAY, secret="another secret", by=by
    )

    old.refresh_from_db()
    assert (new.kind, new.active_until) == ("key", None)
    assert new.active_from.timestamp() == about(now)
    assert old.active_until == new.active_from + DAY
    assert new.sealed.unseal("secret") == "another secret"
    event = newest_event(credential)
    assert (event.verb, event.actor) == (Verb.ROTATED, by.email)
    until = old.active_until.isoformat()
    changed = {str(old): [None, until]}
    assert event.details == {"hint": new.hint, "old_until": until, "changed": changed}
    # What gateways' fast clocks have brought in under the old key, later than it is valid now.
    assert announced[-1]["since"] == old.active_until


def test_a_rotation_to_a_given_key(credential):
    new = credentials.rotate_credential(credential=credential, overlap=DAY, key=STRING, by=None)

    assert new.sealed.unseal("value") == STRING


def test_rotating_again_leaves_the_first_end_where_it_was(credential):
    first = credential.keys.get()
    second = credentials.rotate_credential(credential=credential, overlap=DAY, by=None)

    third = credentials.rotate_credential(credential=credential, overlap=2 * DAY, by=None)

    assert periods(credential.keys) == [
        (first.active_from, second.active_from + DAY),
        (second.active_from, third.active_from + 2 * DAY),
        (third.active_from, None),
    ]


def test_rotating_without_overlap_ends_all_that_is_still_on_its_way_out(credential):
    credentials.rotate_credential(credential=credential, overlap=DAY, by=None)

    new = credentials.rotate_credential(credential=credential, overlap=timedelta(), by=None)

    assert list(credential.keys.current(new.active_from)) == [new]


def test_a_rotation_leaves_aliases_alone(credential):
    alias = credentials.add_alias(credential=credential, alias=STRING, by=None)

    credentials.rotate_credential(credential=credential, overlap=DAY, by=None)

    alias.refresh_from_db()
    assert alias.active_until is None


def test_the_new_key_counts_where_the_old_one_did(customer):
    gateway = factories.a_gateway()
    bound = factories.a_credential(customer, new_key=NewKey(gateway=gateway))

    assert credentials.rotate_credential(credential=bound, overlap=DAY, by=None).gateway == gateway


def test_so_it_does_when_the_old_one_has_ended(customer):
    gateway = factories.a_gateway()
    bound = factories.a_credential(customer, new_key=NewKey(gateway=gateway))
    credentials.end_key(key=bound.keys.get(), by=None)

    assert credentials.rotate_credential(credential=bound, overlap=DAY, by=None).gateway == gateway


def test_a_key_planned_for_later_is_superseded_too(customer, now):
    planned = factories.a_credential(customer, new_key=NewKey(active_from=now + 10 * DAY))

    new = credentials.rotate_credential(credential=planned, overlap=DAY, by=None)

    assert list(planned.keys.ever_counting()) == [new]


def test_a_rotation_to_its_own_key_is_refused_and_nothing_ends(customer):
    credential = factories.a_credential(customer, key=STRING)

    with pytest.raises(credentials.KeyInUse):
        credentials.rotate_credential(credential=credential, overlap=DAY, key=STRING, by=None)

    assert credential.keys.get().active_until is None


def test_a_revoked_credential_is_not_rotated(credential):
    with pytest.raises(credentials.CredentialRevoked):
        credentials.rotate_credential(credential=revoked(credential), overlap=DAY, by=None)


# --- suspend, resume, revoke ----------------------------------------------------------------------


def test_suspending_and_resuming(credential, by, announced):
    credentials.suspend_credential(credential=credential, by=by)
    credentials.resume_credential(credential=credential, by=by)

    suspension = credential.suspensions.get()
    assert suspension.active_from < suspension.active_until
    assert verbs(credential) == [Verb.ISSUED, Verb.SUSPENDED, Verb.RESUMED]
    assert [each["since"] for each in announced] == [suspension.active_from, None]


def test_suspending_a_suspended_one_changes_nothing(credential, announced):
    credentials.suspend_credential(credential=credential, by=None)
    before = periods(credential.suspensions), verbs(credential), len(announced)

    credentials.suspend_credential(credential=credential, by=None)

    assert (periods(credential.suspensions), verbs(credential), len(announced)) == before


def test_resuming_what_is_not_suspended_changes_nothing(credential, announced):
    credentials.resume_credential(credential=credential, by=None)

    assert verbs(credential) == [Verb.ISSUED]
    assert announced == []


def test_it_may_be_suspended_again(credential):
    credentials.suspend_credential(credential=credential, by=None)
    credentials.resume_credential(credential=credential, by=None)

    credentials.suspend_credential(credential=credential, by=None)

    first, second = periods(credential.suspensions)
    assert first[1] <= second[0]
    assert second[1] is None


def test_revoking_is_for_good_and_says_why(credential, by, now, announced):
    credentials.revoke_credential(
        credential=credential, reason="found in a public repository", by=by
    )

    kept = Credential.objects.get(pk=credential.pk)
    assert kept.revoked_at.timestamp() == about(now)
    assert kept.revocation_reason == "found in a public repository"
    event = newest_event(credential)
    assert (event.verb, event.actor) == (Verb.REVOKED, by.email)
    assert event.details == {"reason": "found in a public repository"}
    assert announced[-1]["since"] == kept.revoked_at


@pytest.mark.parametrize(
    "act",
    [
        lambda it: credentials.revoke_credential(credential=it, reason="again", by=None),
        lambda it: credentials.suspend_credential(credential=it, by=None),
        lambda it: credentials.resume_credential(credential=it, by=None),
        lambda it: credentials.assign_subscription(
            credential=it, subscription=factories.a_subscription(it.customer), by=None
        ),
        lambda it: credentials.move_credential(
            credential=it,
            subscription=factories.a_subscription(it.customer),
            to=factories.a_subscription(it.customer),
            by=None,
        ),
        lambda it: credentials.reveal_key(key=it.keys.get(), field="value", by=factories.a_user()),
    ],
    ids=["revoke", "suspend", "resume", "assign", "move", "reveal"],
)
def test_a_revoked_one_stays_as_it_is_also_for_who_has_not_noticed(credential, act):
    stale = Credential.objects.get(pk=credential.pk)
    before = verbs(revoked(credential))

    with pytest.raises(credentials.CredentialRevoked):
        act(stale)

    assert verbs(credential) == before
    assert Credential.objects.get(pk=credential.pk).revocation_reason == "for a test"


# --- assign, unassign, move -----------------------------------------------------------------------


def test_assigning_feeds_another_subscription_too(customer, by, now, announced):
    first, second = factories.a_subscription(customer), factories.a_subscription(customer)
    credential = factories.a_credential(customer, subscriptions=[first])

    credentials.assign_subscription(credential=credential, subscription=second, at=now - DAY, by=by)

    assert set(credential.assignments.at(now).values_list("subscription", flat=True)) == {
        first.pk,
        second.pk,
    }
    event = newest_event(credential)
    assert (event.verb, event.actor) == (Verb.ASSIGNED, by.email)
    assert readable(event) == {"subscription": second.name, "at": (now - DAY).isoformat()}
    assert announced[-1]["since"] == now - DAY


@pytest.mark.parametrize("at", [-DAY, timedelta(), DAY])
def test_what_it_feeds_already_or_will_is_not_assigned_again(customer, now, at):
    subscription = factories.a_subscription(customer)
    credential = factories.a_credential(customer)
    credentials.assign_subscription(
        credential=credential, subscription=subscription, at=now, by=None
    )

    with pytest.raises(credentials.AlreadyAssigned):
        credentials.assign_subscription(
            credential=credential, subscription=subscription, at=now + at, by=None
        )


def test_another_customers_subscription_is_not_assigned(credential):
    with pytest.raises(credentials.SubscriptionOfOtherCustomer):
        credentials.assign_subscription(
            credential=credential, subscription=factories.a_subscription(), by=None
        )


def test_unassigning_ends_it(customer, by, now, announced):
    subscription = factories.a_subscription(customer)
    credential = factories.a_credential(customer, subscriptions=[subscription])

    credentials.unassign_subscription(
        credential=credential, subscription=subscription, at=now, by=by
    )

    assert periods(credential.assignments) == [(factories.LONG_AGO, now)]
    event = newest_event(credential)
    assert (event.verb, event.actor) == (Verb.UNASSIGNED, by.email)
    assert readable(event) == {"subscription": subscription.name, "at": now.isoformat()}
    assert announced[-1]["since"] == now


def test_unassigning_at_its_very_start_leaves_no_trace_of_it(customer):
    subscription = factories.a_subscription(customer)
    credential = factories.a_credential(customer, subscriptions=[subscription])

    credentials.unassign_subscription(
        credential=credential, subscription=subscription, at=factories.LONG_AGO, by=None
    )

    assert not credential.assignments.exists()


@pytest.mark.parametrize("days", [0, 1])
def test_what_it_no_longer_feeds_then_is_not_unassigned(customer, now, days):
    subscription = factories.a_subscription(customer)
    credential = factories.a_credential(customer, subscriptions=[subscription])
    credentials.unassign_subscription(
        credential=credential, subscription=subscription, at=now, by=None
    )

    with pytest.raises(credentials.NotAssigned):
        credentials.unassign_subscription(
            credential=credential, subscription=subscription, at=now + days * DAY, by=None
        )


def test_what_it_has_never_fed_is_not_unassigned(credential, customer):
    with pytest.raises(credentials.NotAssigned):
        credentials.unassign_subscription(
            credential=credential, subscription=factories.a_subscription(customer), by=None
        )


@pytest.mark.parametrize("days", [-3, 0, 3])
def test_a_move_leaves_the_past_where_it_was(customer, by, now, announced, days):
    old, new = factories.a_subscription(customer), factories.a_subscription(customer)
    credential = factories.a_credential(customer, subscriptions=[old])
    at = now + days * DAY

    credentials.move_credential(credential=credential, subscription=old, to=new, at=at, by=by)

    assert periods(credential.assignments.filter(subscription=old)) == [(factories.LONG_AGO, at)]
    assert periods(credential.assignments.filter(subscription=new)) == [(at, None)]
    event = newest_event(credential)
    assert (event.verb, event.actor) == (Verb.MOVED, by.email)
    assert readable(event) == {"from": old.name, "to": new.name, "at": at.isoformat()}
    assert announced[-1]["since"] == at


def test_it_may_be_moved_back(customer, now):
    old, new = factories.a_subscription(customer), factories.a_subscription(customer)
    credential = factories.a_credential(customer, subscriptions=[old])
    credentials.move_credential(
        credential=credential, subscription=old, to=new, at=now - DAY, by=None
    )

    credentials.move_credential(credential=credential, subscription=new, to=old, at=now, by=None)

    fed = credential.assignments.order_by("active_from")
    assert [(each.subscription, each.active_until) for each in fed] == [
        (old, now - DAY),
        (new, now),
        (old, None),
    ]


@pytest.mark.parametrize(
    ("to", "refusal"),
    [
        ("another customer's", credentials.SubscriptionOfOtherCustomer),
        ("one it feeds", credentials.AlreadyAssigned),
    ],
)
def test_a_refused_move_moves_nothing(customer, to, refusal):
    old, fed = factories.a_subscription(customer), factories.a_subscription(customer)
    credential = factories.a_credential(customer, subscriptions=[old, fed])
    before = periods(credential.assignments)
    target = {"another customer's": factories.a_subscription(), "one it feeds": fed}

    with pytest.raises(refusal):
        credentials.move_credential(credential=credential, subscription=old, to=target[to], by=None)

    assert periods(credential.assignments) == before


def test_a_move_from_where_it_is_not_is_refused(credential, customer):
    with pytest.raises(credentials.NotAssigned):
        credentials.move_credential(
            credential=credential,
            subscription=factories.a_subscription(customer),
            to=factories.a_subscription(customer),
            by=None,
        )


# --- reveal ---------------------------------------------------------------------------------------


@pytest.fixture
def key(customer):
    return factories.a_credential(customer, STRING, secret="a secret").keys.get()


def damage(key, field):
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE revcred_sealedvalue SET {field} = 'garbage' WHERE external_key_id = %s",
            [key.pk],
        )


@pytest.mark.parametrize(
    ("field", "text", "verb"),
    [
        ("value", STRING, Verb.KEY_REVEALED),
        ("secret", "a secret", Verb.SECRET_REVEALED),
    ],
)
def test_a_reveal_is_on_record(key, by, field, text, verb):
    assert credentials.reveal_key(key=key, field=field, by=by, address="192.0.2.1") == text

    event = AuditEvent.objects.reveals().get()
    assert (event.verb, event.target_id, event.actor) == (verb, key.credential_id, by.email)
    assert (event.details, event.address) == ({"hint": "send"}, "192.0.2.1")


def test_a_damaged_one_is_refused_and_on_record_all_the_same(key, by):
    damage(key, "value")

    with pytest.raises(credentials.SealedValueDamaged):
        credentials.reveal_key(key=key, field="value", by=by)

    assert AuditEvent.objects.reveals().count() == 1


def test_a_damaged_secret_keeps_no_key_from_being_revealed(key, by):
    damage(key, "secret")

    assert credentials.reveal_key(key=key, field="value", by=by) == STRING


def test_what_was_sealed_in_another_row_is_damaged(key, by):
    other = factories.a_credential().keys.get()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE revcred_sealedvalue SET value = theirs.value FROM revcred_sealedvalue theirs"
            " WHERE revcred_sealedvalue.external_key_id = %s AND theirs.external_key_id = %s",
            [key.pk, other.pk],
        )

    with pytest.raises(credentials.SealedValueDamaged):
        credentials.reveal_key(key=key, field="value", by=by)


def test_where_nothing_is_sealed_there_is_nothing_to_reveal(by):
    without_secret = factories.a_credential().keys.get()

    with pytest.raises(credentials.NothingToReveal):
        credentials.reveal_key(key=without_secret, field="secret", by=by)

    assert not AuditEvent.objects.reveals().exists()


def test_a_suspended_customers_keys_are_not_revealed(key, customer, by, now):
    customer.suspended_at = now
    customer.save()

    with pytest.raises(credentials.NothingToReveal):
        credentials.reveal_key(key=key, field="value", by=by)

    assert not AuditEvent.objects.reveals().exists()


def test_what_cannot_be_put_on_record_is_not_revealed(key, by):
    with owner_cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER nothing_more BEFORE INSERT ON revcred_auditevent"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )

    with pytest.raises(DatabaseError):
        credentials.reveal_key(key=key, field="value", by=by)


def test_moving_to_where_it_is_already_changes_nothing():
    credential = factories.a_credential(customer := factories.a_customer())
    subscription = factories.a_subscription(customer)
    credentials.assign_subscription(credential=credential, subscription=subscription, by=None)

    with pytest.raises(credentials.AlreadyAssigned):
        credentials.move_credential(
            credential=credential, subscription=subscription, to=subscription, by=None
        )

    assert credential.assignments.count() == 1
