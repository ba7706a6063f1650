"""What people do with credentials. Each act happens whole, and is on record."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from django.db.models import Exists, Max, OuterRef, Q
from django.db.transaction import atomic
from django.utils import timezone

from revcred import tokens
from revcred.actions import memberships, names, reveals
from revcred.actions.constraints import raising_on_violation
from revcred.crypto import CannotUnseal
from revcred.external_keys import trim_key
from revcred.fingerprints import fingerprint, hint
from revcred.hooks import announce_change
from revcred.models import (
    Assignment,
    AuditEvent,
    AuditVerb,
    Credential,
    Customer,
    ExternalKey,
    Gateway,
    Membership,
    SealedValue,
    Subscriber,
    Subscription,
    Suspension,
    User,
)
from revcred.models.audit import audit_difference, to_audit_json
from revcred.models.credentials import ExternalKeyQuerySet

RevealableField = Literal["value", "secret"]

KEY_PREFIX = "rck_"
SECRET_PREFIX = "rcs_"  # noqa: S105 - no secret, but how to tell one

EDITABLE_FIELDS = ("name", "environment", "tags", "expires_at")


class CredentialNameInUse(Exception):
    """The customer has a credential of this name already."""


class KeyInUse(Exception):
    """The key means another credential in that time already."""


class KeyOfRevokedCredential(Exception):
    """The key was a revoked credential's: it is used again only where that is asked for."""

    def __init__(self, credential: Credential) -> None:
        super().__init__(credential)
        self.credential = credential

    def __str__(self) -> str:
        return (
            f"This key belonged to “{self.credential}” of {self.credential.customer}, revoked on"
            f" {self.credential.revoked_at:%Y-%m-%d}. Choose to use it again if it is to count from"
            " now on."
        )


class HoldersNotMembers(Exception):
    """Holders would become members of the credential's customer, which nobody agreed to."""

    def __init__(self, people: list[Subscriber]) -> None:
        names = ", ".join(map(str, people))
        super().__init__(f"No members of this customer: {names}.")
        self.people = people


class SubscriptionOfOtherCustomer(Exception):
    """The subscription is another customer's."""


class CredentialRevoked(Exception):
    """A revoked credential stays revoked, and keeps its key and secret to itself."""


class NotAssigned(Exception):
    """The credential does not feed that subscription then."""


class AlreadyAssigned(Exception):
    """The credential feeds that subscription in that time already."""


class RevealsPaused(Exception):
    """The sign-in address was changed, and the person has not confirmed it by password since."""


class NothingToReveal(Exception):
    """There is no such value, or its customer is suspended."""


class SealedValueDamaged(Exception):
    """What is kept does not open, or was sealed for another place."""


def generate_key() -> str:
    """Return a new key. Its shape and checksum let it be recognised wherever it turns up."""
    return tokens.generate_token(KEY_PREFIX)


def generate_secret() -> str:
    """Return a new secret, of the same shape as keys."""
    return tokens.generate_token(SECRET_PREFIX)


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """The string of a key and what is to be known of it. `key=None` lets one be generated.

    `use_again`: it may be one that a revoked credential had. Then it counts from now on, unless
    said otherwise.
    """

    key: str | None = None
    secret: str | None = None
    gateway: Gateway | None = None
    active_from: datetime | None = None
    use_again: bool = False


@atomic
def issue_credential(
    *,
    customer: Customer,
    name: str,
    by: User | None,
    keyed: NewKey | None = None,
    subscriptions: Iterable[Subscription] = (),
    holders: Iterable[Subscriber] = (),
    new_members: Iterable[Subscriber] = (),
    environment: str = "",
    tags: Iterable[str] = (),
    expires_at: datetime | None = None,
) -> Credential:
    """A new credential, its key and what it feeds.

    An existing key counts from as far back as transactions are accepted, unless said otherwise,
    so that usage waiting under it is claimed. Holders who are no members of the customer become
    members if they are among `new_members`.

    Raises CredentialNameInUse, KeyInUse, KeyOfRevokedCredential, SubscriptionOfOtherCustomer,
    AlreadyAssigned, HoldersNotMembers.
    """
    with raising_on_violation(CredentialNameInUse, "credential_name_of_customer"):
        credential = Credential.objects.create(
            customer=customer,
            name=name,
            environment=environment,
            tags=list(tags),
            expires_at=expires_at,
        )
    subscriptions, holders = list(subscriptions), list(holders)
    set_holders(credential=credential, holders=holders, new_members=new_members, by=by)
    key, used_again = _add_key(credential, keyed or NewKey(), by=by)
    for subscription in subscriptions:
        _create_assignment(credential, subscription, active_from=key.active_from)
    details = {
        "hint": key.hint,
        "subscriptions": [str(each) for each in subscriptions],
        "holders": [str(each) for each in holders],
        "from": key.active_from.isoformat(),
        **used_again,
    }
    AuditEvent.objects.record(AuditVerb.ISSUED, target=credential, by=by, details=details)
    announce_change(
        f"credential “{credential}” was issued",
        credential=credential,
        since=_reattribute_since(key),
        by=by,
    )
    return credential


@atomic
def change_credential(
    *,
    credential: Credential,
    by: User | None,
    holders: Iterable[Subscriber] | None = None,
    new_members: Iterable[Subscriber] = (),
) -> None:
    """Save what has been changed of its plain facts, and its holders where they are given.

    Usage follows another expiry, also into the past. Raises CredentialNameInUse, and
    HoldersNotMembers as `issue_credential`.
    """
    before = Credential.objects.select_for_update(no_key=True).get(pk=credential.pk)
    changed = {
        each: audit_difference(getattr(before, each), getattr(credential, each))
        for each in EDITABLE_FIELDS
        if getattr(before, each) != getattr(credential, each)
    }
    with raising_on_violation(CredentialNameInUse, "credential_name_of_customer"):
        credential.save(update_fields=list(changed))
    if holders is not None:
        held, holders = list(credential.holders.all()), list(holders)
        if {*held} != {*holders}:
            set_holders(credential=credential, holders=holders, new_members=new_members, by=by)
            changed["holders"] = audit_difference(held, holders)
    if changed:
        details = {"changed": changed}
        AuditEvent.objects.record(AuditVerb.CHANGED, target=credential, by=by, details=details)
    if "name" in changed:
        names.reattribute_renamed(target=credential, by=by)
    if "expires_at" in changed:
        since = min(filter(None, (before.expires_at, credential.expires_at)))
        announce_change(
            f"the expiry of “{credential}” was changed", credential=credential, since=since, by=by
        )


def holders_not_members(*, customer: Customer, holders: Iterable[Subscriber]) -> list[Subscriber]:
    """Return those of these people who do not belong to the customer, by their addresses."""
    members = {
        *Membership.objects.filter(customer=customer)
        .filter(subscriber__in=(holders := list(holders)))
        .values_list("subscriber", flat=True)
    }
    return sorted({*holders} - {each for each in holders if each.pk in members}, key=str)


def set_holders(
    *,
    credential: Credential,
    holders: Iterable[Subscriber],
    by: User | None,
    new_members: Iterable[Subscriber] = (),
) -> None:
    """Who uses it and may reveal it. A holder belongs to the credential's customer.

    Those among `new_members` who do not yet become members. They and the customer's owners are
    told. Raises HoldersNotMembers of others.
    """
    holders, agreed = list(holders), {*new_members}
    joining = holders_not_members(customer=credential.customer, holders=holders)
    if others := [each for each in joining if each not in agreed]:
        raise HoldersNotMembers(others)
    for subscriber in joining:
        membership = Membership.objects.create(customer=credential.customer, subscriber=subscriber)
        memberships.record_new_member(membership=membership, by=by, credential=credential)
        memberships.notify_new_member(membership=membership, by=by)
    credential.holders.set(holders)


@atomic
def add_alias(
    *,
    credential: Credential,
    alias: str,
    by: User | None,
    gateway: Gateway | None = None,
    active_from: datetime | None = None,
    use_again: bool = False,
) -> ExternalKey:
    """Another string under which its usage may arrive.

    Raises KeyInUse, KeyOfRevokedCredential, CredentialRevoked.
    """
    _lock_unrevoked_credential(credential)
    keyed = NewKey(key=alias, gateway=gateway, active_from=active_from, use_again=use_again)
    key, used_again = _add_key(credential, keyed, kind=ExternalKey.Kind.ALIAS, by=by)
    _record_alias_added(key, by, used_again)
    announce_change(
        f"an alias of “{credential}” was added",
        credential=credential,
        since=_reattribute_since(key),
        by=by,
    )
    return key


@atomic
def add_alias_by_fingerprint(
    *,
    credential: Credential,
    mark: UUID,
    hint: str,
    by: User | None,
    gateway: Gateway | None = None,
    active_from: datetime | None = None,
    use_again: bool = False,
) -> ExternalKey:
    """A string that only transactions have shown so far is one of its own, whatever it says.

    Raises KeyInUse, KeyOfRevokedCredential, CredentialRevoked.
    """
    _lock_unrevoked_credential(credential)
    keyed = NewKey(gateway=gateway, active_from=active_from, use_again=use_again)
    used_again, active_from = _take_from_revoked(credential, keyed, mark, by=by)
    key = ExternalKey(
        credential=credential,
        kind=ExternalKey.Kind.ALIAS,
        gateway=gateway,
        fingerprint=mark,
        hint=hint,
        active_from=_first_free_moment(mark, gateway, active_from),
    )
    _insert_key(key)
    _record_alias_added(key, by, used_again)
    announce_change(
        f"an alias of “{credential}” was added",
        credential=credential,
        since=_reattribute_since(key),
        by=by,
    )
    return key


@atomic
def end_key(*, key: ExternalKey, by: User | None, at: datetime | None = None) -> None:
    """Ending a key that has ended leaves its end where it was; one not begun never begins."""
    credential, at = key.credential, at or timezone.now()
    _lock_credential(credential)
    key.refresh_from_db(fields=["active_from", "active_until"])
    if key.active_until and key.active_until <= max(at, key.active_from):
        return
    before = key.active_until
    _set_key_end(key, at)
    until = audit_difference(before, key.active_until)
    details = {
        "hint": key.hint,
        "at": at.isoformat(),
        "changed": {"until": until},
        "undo": {"key": key.pk, "until": until},
    }
    AuditEvent.objects.record(AuditVerb.KEY_ENDED, target=credential, by=by, details=details)
    announce_change(f"a key of “{credential}” was ended", credential=credential, since=at, by=by)


@atomic
def rotate_credential(
    *,
    credential: Credential,
    overlap: timedelta,
    by: User | None,
    key: str | None = None,
    secret: str | None = None,
    use_again: bool = False,
) -> ExternalKey:
    """A new key from now on; the old ones stay valid until the overlap ends.

    Raises KeyInUse, KeyOfRevokedCredential, CredentialRevoked.
    """
    _lock_unrevoked_credential(credential)
    now = timezone.now()
    ends = now + overlap
    its_keys = credential.keys.filter(kind=ExternalKey.Kind.KEY)
    latest = its_keys.select_related("gateway").first()
    ended = {}
    for each in its_keys.not_ended_at(ends):
        before = each.active_until
        _set_key_end(each, ends)
        ended[str(each)] = audit_difference(before, each.active_until)
    gateway = latest.gateway if latest else None
    keyed = NewKey(key=key, secret=secret, gateway=gateway, active_from=now, use_again=use_again)
    new, used_again = _add_key(credential, keyed, by=by)
    details = {
        "hint": new.hint,
        "old_until": ends.isoformat(),
        "changed": ended,
        **used_again,
    }
    AuditEvent.objects.record(AuditVerb.ROTATED, target=credential, by=by, details=details)
    announce_change(f"“{credential}” was rotated", credential=credential, since=ends, by=by)
    return new


@atomic
def suspend_credential(*, credential: Credential, by: User | None) -> None:
    """From now on nothing is attributed to it. Suspending a suspended one changes nothing."""
    _lock_unrevoked_credential(credential)
    now = timezone.now()
    if credential.suspensions.at(now).exists():
        return
    suspension = Suspension.objects.create(credential=credential, active_from=now)
    details = {"undo": {"suspension": suspension.pk}}
    AuditEvent.objects.record(AuditVerb.SUSPENDED, target=credential, by=by, details=details)
    announce_change(f"“{credential}” was suspended", credential=credential, since=now, by=by)


@atomic
def resume_credential(*, credential: Credential, by: User | None) -> None:
    """From now on it counts again; what it did meanwhile stays unattributed."""
    _lock_unrevoked_credential(credential)
    now = timezone.now()
    suspension = credential.suspensions.at(now).first()
    if suspension:
        before, suspension.active_until = suspension.active_until, now
        suspension.save(update_fields=["active_until"])
        until = audit_difference(before, now)
        details = {"undo": {"suspension": suspension.pk, "until": until}}
        AuditEvent.objects.record(AuditVerb.RESUMED, target=credential, by=by, details=details)
        announce_change(f"“{credential}” was resumed", credential=credential, by=by)


@atomic
def revoke_credential(*, credential: Credential, reason: str, by: User | None) -> None:
    """For good: there is no way back. Raises CredentialRevoked."""
    _lock_unrevoked_credential(credential)
    now = timezone.now()
    credential.revoked_at = now
    credential.revocation_reason = reason
    credential.save(update_fields=["revoked_at", "revocation_reason"])
    AuditEvent.objects.record(
        AuditVerb.REVOKED, target=credential, by=by, details={"reason": reason}
    )
    announce_change(f"“{credential}” was revoked", credential=credential, since=now, by=by)


@atomic
def assign_subscription(
    *,
    credential: Credential,
    subscription: Subscription,
    by: User | None,
    at: datetime | None = None,
) -> Assignment:
    """It feeds this subscription too.

    Raises SubscriptionOfOtherCustomer, AlreadyAssigned, CredentialRevoked.
    """
    _lock_unrevoked_credential(credential)
    at = at or timezone.now()
    assignment = _create_assignment(credential, subscription, active_from=at)
    undo = {"began": assignment.pk, "at": to_audit_json(at)}
    _record_assignment(AuditVerb.ASSIGNED, credential, subscription, by=by, at=at, undo=undo)
    announce_change(
        f"“{credential}” feeds “{subscription}”", credential=credential, since=at, by=by
    )
    return assignment


@atomic
def unassign_subscription(
    *,
    credential: Credential,
    subscription: Subscription,
    by: User | None,
    at: datetime | None = None,
) -> None:
    """It no longer feeds this subscription. Raises NotAssigned."""
    _lock_credential(credential)
    at = at or timezone.now()
    undo = _end_assignment(credential, subscription, at)
    _record_assignment(AuditVerb.UNASSIGNED, credential, subscription, by=by, at=at, undo=undo)
    announce_change(
        f"“{credential}” no longer feeds “{subscription}”", credential=credential, since=at, by=by
    )


@atomic
def move_credential(
    *,
    credential: Credential,
    subscription: Subscription,
    to: Subscription,
    by: User | None,
    at: datetime | None = None,
) -> Assignment:
    """From this moment on it feeds another subscription. What came before stays where it is.

    Raises NotAssigned, SubscriptionOfOtherCustomer, AlreadyAssigned, CredentialRevoked.
    """
    _lock_unrevoked_credential(credential)
    at = at or timezone.now()
    if subscription == to:
        raise AlreadyAssigned
    undo = _end_assignment(credential, subscription, at)
    assignment = _create_assignment(credential, to, active_from=at)
    details = {
        "from": str(subscription),
        "to": str(to),
        "at": at.isoformat(),
        "undo": undo | {"began": assignment.pk},
    }
    AuditEvent.objects.record(AuditVerb.MOVED, target=credential, by=by, details=details)
    announce_change(
        f"“{credential}” was moved from “{subscription}” to “{to}”",
        credential=credential,
        since=at,
        by=by,
    )
    return assignment


def reveal_key(
    *, key: ExternalKey, field: RevealableField, by: User, address: str | None = None
) -> str:
    """The key or its secret in clear, after the record of it has been committed.

    Raises RevealsPaused, CredentialRevoked, NothingToReveal, SealedValueDamaged.
    """
    verb = AuditVerb.KEY_REVEALED if field == "value" else AuditVerb.SECRET_REVEALED
    with atomic(durable=True):
        if User.objects.filter(pk=by.pk, reveals_rest_since__isnull=False).exists():
            raise RevealsPaused
        credential = _credential_to_reveal(key, field)
        AuditEvent.objects.record(
            verb, target=credential, by=by, details={"hint": key.hint}, address=address
        )
        reveals.alert_if_many_revealed(by=by, address=address)
    try:
        text = SealedValue.objects.only(field).get(pk=key.pk).unseal(field)
    except CannotUnseal as error:
        raise SealedValueDamaged from error
    if text is None:
        raise NothingToReveal
    return text


def _lock_credential(credential: Credential) -> None:
    """Acts on one credential follow each other, and each sees what the one before has left."""
    locked = Credential.objects.select_for_update(no_key=True)
    credential.refresh_from_db(fields=["revoked_at", "revocation_reason"], from_queryset=locked)


def _lock_unrevoked_credential(credential: Credential) -> None:
    _lock_credential(credential)
    _check_not_revoked(credential)


def _check_not_revoked(credential: Credential) -> None:
    if credential.revoked_at:
        raise CredentialRevoked


def _credential_to_reveal(key: ExternalKey, field: RevealableField) -> Credential:
    """Its credential as it is now. Raises CredentialRevoked, NothingToReveal."""
    credential = Credential.objects.select_related("customer").get(pk=key.credential_id)
    _check_not_revoked(credential)
    if credential.customer.suspended_at:
        raise NothingToReveal
    if not SealedValue.objects.filter(pk=key.pk, **{f"{field}__isnull": False}).exists():
        raise NothingToReveal
    return credential


def _insert_key(key: ExternalKey) -> None:
    with raising_on_violation(KeyInUse, "externalkey_means_one_credential"):
        key.save(force_insert=True)


def _add_key(
    credential: Credential,
    keyed: NewKey,
    *,
    kind: ExternalKey.Kind = ExternalKey.Kind.KEY,
    by: User | None,
) -> tuple[ExternalKey, dict[str, Any]]:
    """The new key, and for the audit whose it was if it is used again."""
    existing = trim_key(keyed.key or "")
    text = existing or generate_key()
    mark = fingerprint(text)
    used_again, active_from = _take_from_revoked(credential, keyed, mark, by=by)
    generated_from = None if existing else timezone.now()
    active_from = _first_free_moment(mark, keyed.gateway, active_from or generated_from)
    key = ExternalKey(
        credential=credential,
        kind=kind,
        gateway=keyed.gateway,
        fingerprint=mark,
        hint=hint(text),
        active_from=active_from,
    )
    _insert_key(key)
    sealed = SealedValue(external_key=key)
    sealed.seal(value=text, secret=keyed.secret)
    sealed.save(force_insert=True)
    return key, used_again


def _take_from_revoked(
    credential: Credential, keyed: NewKey, mark: UUID, *, by: User | None
) -> tuple[dict[str, Any], datetime | None]:
    """Take a key from the revoked credential that had it last, if that is asked for.

    Answers with what the audit says of it, and from when on the key counts. Raises
    KeyOfRevokedCredential.
    """
    had = list(keys_of_revoked_credentials(mark=mark, gateway=keyed.gateway))
    if not had:
        return {}, keyed.active_from
    last = had[0].credential
    if not keyed.use_again:
        raise KeyOfRevokedCredential(last)
    # It has counted for nobody since, so its end there changes nothing that was counted.
    still = ExternalKey.objects.filter(pk__in=[each.pk for each in had], active_until=None)
    for each in still.select_related("credential"):
        each.active_until = max(each.credential.revoked_at or each.active_from, each.active_from)
        each.save(update_fields=["active_until"])
    revoked_at = last.revoked_at.isoformat() if last.revoked_at else ""
    details = {"hint": had[0].hint, "at": revoked_at, "used_again_for": str(credential)}
    AuditEvent.objects.record(AuditVerb.KEY_ENDED, target=last, by=by, details=details)
    used_again = {"key_was_of": str(last), "revoked_at": revoked_at}
    return used_again, keyed.active_from or timezone.now()


def keys_of_revoked_credentials(*, mark: UUID, gateway: Gateway | None) -> ExternalKeyQuerySet:
    """Keys with this fingerprint of credentials that were revoked, the last one first.

    Without those that have been used again since: whoever did that was asked.
    """
    used_again = ExternalKey.objects.filter(
        fingerprint=mark,
        credential__revoked_at=None,
        active_from__gte=OuterRef("credential__revoked_at"),
    )
    where = Q() if gateway is None else Q(gateway=None) | Q(gateway=gateway)
    return (
        ExternalKey.objects.filter(
            where, ~Exists(used_again), fingerprint=mark, credential__revoked_at__isnull=False
        )
        .select_related("credential__customer")
        .order_by("-credential__revoked_at", "-active_from")
    )


def _first_free_moment(
    mark: UUID, gateway: Gateway | None, active_from: datetime | None
) -> datetime:
    """The moment asked for, or else the first possible one. Raises KeyInUse if it is taken."""
    same = ExternalKey.objects.ever_counting().filter(fingerprint=mark, gateway=gateway)
    active_from = active_from or _earliest_key_start(same)
    if same.filter(Q(active_until=None) | Q(active_until__gt=active_from)).exists():
        raise KeyInUse
    return active_from


def _earliest_key_start(same: ExternalKeyQuerySet) -> datetime:
    """The oldest moment a transaction may have, but not before the key's last owner let go."""
    oldest = timezone.now() - Gateway.objects.longest_accepted_age()
    let_go = same.aggregate(at=Max("active_until"))["at"]
    return max(oldest, let_go) if let_go else oldest


def _create_assignment(
    credential: Credential, subscription: Subscription, *, active_from: datetime
) -> Assignment:
    if subscription.customer_id != credential.customer_id:
        raise SubscriptionOfOtherCustomer
    if credential.assignments.not_ended_at(active_from).filter(subscription=subscription).exists():
        raise AlreadyAssigned
    return Assignment.objects.create(
        customer=credential.customer,
        credential=credential,
        subscription=subscription,
        active_from=active_from,
    )


def _end_assignment(
    credential: Credential, subscription: Subscription, at: datetime
) -> dict[str, Any]:
    """End it, and answer what it takes to put it back."""
    assignment = credential.assignments.at(at).filter(subscription=subscription).first()
    if assignment is None:
        raise NotAssigned
    undo = {
        "ended": assignment.pk,
        "subscription": assignment.subscription_id,
        "from": to_audit_json(assignment.active_from),
        "until": to_audit_json(assignment.active_until),
        "at": to_audit_json(at),
    }
    if at <= assignment.active_from:  # it would have held for no time at all
        assignment.delete()
    else:
        assignment.active_until = at
        assignment.save(update_fields=["active_until"])
    return undo


def _set_key_end(key: ExternalKey, at: datetime) -> None:
    key.active_until = max(at, key.active_from)
    key.save(update_fields=["active_until"])


def _reattribute_since(key: ExternalKey) -> datetime | None:
    """From when it may take over what the same key for any gateway has been attributed."""
    return key.active_from if key.gateway_id else None


def _record_alias_added(key: ExternalKey, by: User | None, used_again: dict[str, Any]) -> None:
    details = used_again | {
        "hint": key.hint,
        "from": key.active_from.isoformat(),
        "undo": {"key": key.pk, "until": [None, None], "withdraw": True},
    }
    AuditEvent.objects.record(AuditVerb.ALIAS_ADDED, target=key.credential, by=by, details=details)


def _record_assignment(
    verb: AuditVerb,
    credential: Credential,
    subscription: Subscription,
    *,
    by: User | None,
    at: datetime,
    undo: dict[str, Any],
) -> None:
    details = {"subscription": str(subscription), "at": at.isoformat(), "undo": undo}
    AuditEvent.objects.record(verb, target=credential, by=by, details=details)
