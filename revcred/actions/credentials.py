"""Actions on credentials: issue, change, rotate, assign, suspend, revoke and reveal.

Each action is one transaction, which holds its audit event, too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet
from django.db.transaction import atomic
from django.utils import timezone
from django.utils.translation import gettext

from revcred import tokens
from revcred.actions import memberships, names, reveals
from revcred.actions.constraints import raising_on_violation
from revcred.actions.permitted_actions import REVEAL, permitted_actions
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

# Saved by the form as they are. Keys, assignments and suspensions have actions of their own,
# because they are dated.
EDITABLE_FIELDS = ("name", "environment", "tags", "expires_at")


class CredentialNameInUse(Exception):
    """Another credential of the customer has this name."""


class KeyInUse(Exception):
    """Another credential has this key in the same period.

    `key`: the one that has it, None if two actions raced for it.
    """

    def __init__(self, key: ExternalKey | None = None) -> None:
        super().__init__(gettext("Another credential has this key in that period already."))
        self.key = key


class KeyOfRevokedCredential(Exception):
    """A revoked credential had this key, and `use_again` was not chosen."""

    def __init__(self, credential: Credential) -> None:
        super().__init__(credential)
        self.credential = credential

    def __str__(self) -> str:
        return gettext(
            "This key belonged to “%(credential)s” of %(customer)s, revoked on"
            " %(revoked_at)s. Choose to use it again from now on."
        ) % {
            "credential": self.credential,
            "customer": self.credential.customer,
            "revoked_at": f"{self.credential.revoked_at:%Y-%m-%d}",
        }


class HoldersNotMembers(Exception):
    """Some holders are not members of the credential's customer, nor among `new_members`."""

    def __init__(self, people: list[Subscriber]) -> None:
        names = ", ".join(map(str, people))
        super().__init__(gettext("Not members of this customer: %(names)s.") % {"names": names})
        self.people = people


class SubscriptionOfOtherCustomer(Exception):
    """The subscription belongs to another customer than the credential."""


class CredentialRevoked(Exception):
    """The credential is revoked: it cannot be changed back, and nothing of it is revealed."""


class SuspendedByProvider(Exception):
    """The provider suspended the credential, and a subscriber cannot resume it."""


class RotatedMeanwhile(Exception):
    """The credential has a newer key than the one that the person saw."""

    def __init__(self, key: ExternalKey) -> None:
        super().__init__(gettext("The credential has a newer key: %(key)s.") % {"key": key})
        self.key = key


class EndSetByProvider(Exception):
    """The provider set the key's end, and a subscriber cannot move it."""


class NotAssigned(Exception):
    """The credential is not assigned to the subscription at that moment."""


class AlreadyAssigned(Exception):
    """The credential is assigned to the subscription in that period already."""


class RevealsPaused(Exception):
    """The person's sign-in address changed, and was not confirmed by password since."""


class TooManyReveals(Exception):
    """The person has revealed many different keys lately, and has to wait before another one."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__("Too many different keys were revealed.")
        self.wait_seconds = wait_seconds


class NothingToReveal(Exception):
    """No such value is kept, or the customer is suspended."""


class RevealNotPermitted(Exception):
    """A product that the credential is charged to does not let subscribers reveal."""


class SealedValueDamaged(Exception):
    """The sealed value does not open, or was sealed for another row."""


def generate_key() -> str:
    """Return a new key, recognisable anywhere by its prefix and checksum."""
    return tokens.generate_token(KEY_PREFIX)


def generate_secret() -> str:
    """Return a new secret, of the same shape as keys."""
    return tokens.generate_token(SECRET_PREFIX)


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """The key to add, its secret and where and from when it counts.

    `key`: None generates one. `active_from`: None lets a generated key count from now, and an
    existing one from the oldest moment accepted. `use_again`: take the key even if a revoked
    credential had it; it counts from now on unless `active_from` is given.
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
    new_key: NewKey | None = None,
    subscriptions: Iterable[Subscription] = (),
    holders: Iterable[Subscriber] = (),
    new_members: Iterable[Subscriber] = (),
    environment: str = "",
    tags: Iterable[str] = (),
    expires_at: datetime | None = None,
) -> Credential:
    """Issue a credential with its key, subscriptions and holders.

    An existing key counts from as far back as transactions are accepted, unless `new_key` names a
    moment, so that usage waiting in quarantine under it is attributed. Holders who are not members
    of the customer become members if they are among `new_members`.

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
    # Each is gone through twice: to be saved, and to be named in the audit.
    subscriptions, holders = list(subscriptions), list(holders)
    set_holders(credential=credential, holders=holders, new_members=new_members, by=by)
    key, used_again = _add_key(credential, new_key or NewKey(), by=by)
    for subscription in subscriptions:
        _create_assignment(credential, subscription, active_from=key.active_from)
    details = {
        "hint": key.hint,
        "subscriptions": [str(each) for each in subscriptions],
        "holders": [str(holder) for holder in holders],
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
    """Save the changed fields of a credential, and its holders if they are given.

    A changed expiry re-attributes usage, also in the past. Raises CredentialNameInUse and
    HoldersNotMembers.
    """
    # FOR NO KEY UPDATE: processing may go on inserting rows that refer to this credential.
    before = Credential.objects.select_for_update(no_key=True).get(pk=credential.pk)
    changed = {
        field: audit_difference(getattr(before, field), getattr(credential, field))
        for field in EDITABLE_FIELDS
        if getattr(before, field) != getattr(credential, field)
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
        # Calls between the old and the new expiry change their owner, whichever comes first.
        since = min(filter(None, (before.expires_at, credential.expires_at)))
        announce_change(
            f"the expiry of “{credential}” was changed", credential=credential, since=since, by=by
        )


def people_who_may_reveal(*, credential: Credential) -> QuerySet[Subscriber]:
    """Return owners of its customer, and holders who are members of it, also before they sign in.

    Viewers see a credential that they hold, and reveal no key.
    """
    roles = Membership.Role
    members = Membership.objects.filter(customer=credential.customer_id).filter(
        Q(role=roles.OWNER) | Q(role=roles.MEMBER, subscriber__in=credential.holders.values("pk"))
    )
    return Subscriber.objects.filter(pk__in=members.values("subscriber"), erased_at=None)


def holders_not_members(*, customer: Customer, holders: Iterable[Subscriber]) -> list[Subscriber]:
    """Return the people among `holders` who are not members of the customer, by e-mail."""
    members = {
        *Membership.objects.filter(customer=customer)
        .filter(subscriber__in=(holders := list(holders)))
        .values_list("subscriber", flat=True)
    }
    return sorted({*holders} - {holder for holder in holders if holder.pk in members}, key=str)


def set_holders(
    *,
    credential: Credential,
    holders: Iterable[Subscriber],
    by: User | None,
    new_members: Iterable[Subscriber] = (),
) -> None:
    """Set the people who use the credential and may reveal its key.

    Holders who are not members of the customer become members if they are among `new_members`; they
    and the customer's owners are told by mail. Raises HoldersNotMembers otherwise.
    """
    holders, agreed = list(holders), {*new_members}
    # Membership decides what somebody sees, so nobody becomes a member unless the page showed and
    # asked it.
    joining = holders_not_members(customer=credential.customer, holders=holders)
    if others := [person for person in joining if person not in agreed]:
        raise HoldersNotMembers(others)
    for subscriber in joining:
        membership = Membership.objects.create(customer=credential.customer, subscriber=subscriber)
        memberships.announce_new_member(membership=membership, by=by, credential=credential)
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
    """Add another string under which the credential's usage may arrive.

    Raises KeyInUse, KeyOfRevokedCredential, CredentialRevoked.
    """
    _lock_unrevoked_credential(credential)
    new_key = NewKey(key=alias, gateway=gateway, active_from=active_from, use_again=use_again)
    key, used_again = _add_key(credential, new_key, kind=ExternalKey.Kind.ALIAS, by=by)
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
    key_fingerprint: UUID,
    hint: str,
    by: User | None,
    gateway: Gateway | None = None,
    active_from: datetime | None = None,
    active_until: datetime | None = None,
    use_again: bool = False,
) -> ExternalKey:
    """Add an alias that revcred has seen in transactions only, as a fingerprint.

    `hint`: the last four characters, as the transactions showed them. `active_until`: None lets it
    count without an end. Raises KeyInUse, KeyOfRevokedCredential, CredentialRevoked.
    """
    _lock_unrevoked_credential(credential)
    new_key = NewKey(gateway=gateway, active_from=active_from, use_again=use_again)
    used_again, active_from = _take_from_revoked(credential, new_key, key_fingerprint, by=by)
    key = ExternalKey(
        credential=credential,
        kind=ExternalKey.Kind.ALIAS,
        gateway=gateway,
        fingerprint=key_fingerprint,
        hint=hint,
        active_from=_first_free_moment(key_fingerprint, gateway, active_from, active_until),
        active_until=active_until,
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
def end_key(
    *,
    key: ExternalKey,
    by: User | None,
    at: datetime | None = None,
    by_subscriber: bool = False,
) -> bool:
    """End a key at `at` (default: now). `by_subscriber`: `by` acts for the customer.

    A key that has ended already keeps its end; one that has not begun never begins. Returns False
    if nothing changed.
    """
    credential, at = key.credential, at or timezone.now()
    _lock_credential(credential)
    key.refresh_from_db(fields=["active_from", "active_until", "end_by_subscriber"])
    if key.active_until and key.active_until <= max(at, key.active_from):
        return False
    before = key.active_until
    _set_key_end(key, at, by_subscriber=by_subscriber)
    until = audit_difference(before, key.active_until)
    details = {
        "hint": key.hint,
        "at": at.isoformat(),
        "changed": {"until": until},
        "undo": {"key": key.pk, "until": until},
    }
    AuditEvent.objects.record(AuditVerb.KEY_ENDED, target=credential, by=by, details=details)
    announce_change(f"a key of “{credential}” was ended", credential=credential, since=at, by=by)
    return True


@atomic
def extend_key(
    *, key: ExternalKey, until: datetime, by: User | None, by_subscriber: bool = False
) -> bool:
    """Move a key's end to a later moment. `by_subscriber`: `by` acts for the customer.

    If the key had ended, calls made with it since then are counted. A key without an end, or with
    a later one, stays as it is. Returns False if nothing changed.

    Raises CredentialRevoked, EndSetByProvider, KeyInUse.
    """
    credential = key.credential
    _lock_unrevoked_credential(credential)
    key.refresh_from_db(fields=["active_from", "active_until", "end_by_subscriber"])
    before = key.active_until
    if before is None or until <= before:
        return False
    if by_subscriber and not key.end_by_subscriber:
        raise EndSetByProvider
    with raising_on_violation(KeyInUse, "externalkey_means_one_credential"):
        _set_key_end(key, until, by_subscriber=by_subscriber)
    change = audit_difference(before, key.active_until)
    details = {
        "hint": key.hint,
        "changed": {"until": change},
        "undo": {"key": key.pk, "until": change},
    }
    AuditEvent.objects.record(AuditVerb.KEY_EXTENDED, target=credential, by=by, details=details)
    announce_change(
        f"a key of “{credential}” works longer", credential=credential, since=before, by=by
    )
    return True


@atomic
def rotate_credential(
    *,
    credential: Credential,
    overlap: timedelta,
    by: User | None,
    key: str | None = None,
    secret: str | None = None,
    use_again: bool = False,
    newest_key: int | None = None,
    by_subscriber: bool = False,
) -> ExternalKey:
    """Add a new key that counts from now, and end the old ones after `overlap`.

    `newest_key`: id of the newest key that the person saw, so that a click that comes twice rotates
    once. `by_subscriber`: `by` acts for the customer.

    Raises KeyInUse, KeyOfRevokedCredential, CredentialRevoked, RotatedMeanwhile.
    """
    _lock_unrevoked_credential(credential)
    now = timezone.now()
    ends = now + overlap
    its_keys = credential.keys.filter(kind=ExternalKey.Kind.KEY)
    latest = its_keys.select_related("gateway").first()
    if newest_key is not None and latest and latest.pk != newest_key:
        raise RotatedMeanwhile(latest)
    # Aliases go on: they name the application, which a rotation does not change.
    ended = {}
    for each in its_keys.not_ended_at(ends):
        before = each.active_until
        _set_key_end(each, ends, by_subscriber=by_subscriber)
        ended[str(each)] = audit_difference(before, each.active_until)
    gateway = latest.gateway if latest else None
    new_key = NewKey(key=key, secret=secret, gateway=gateway, active_from=now, use_again=use_again)
    # After ending the old ones: without overlap their strings are free for the new key.
    new, used_again = _add_key(credential, new_key, by=by)
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
def suspend_credential(
    *, credential: Credential, by: User | None, by_subscriber: bool = False
) -> bool:
    """Attribute nothing to the credential from now on. Returns False if it was suspended already.

    `by_subscriber`: `by` acts for the customer. If a subscriber had suspended it, the provider's
    suspension takes the place of that one, so that only the provider ends it.
    """
    _lock_unrevoked_credential(credential)
    now = timezone.now()
    suspension = credential.suspensions.at(now).first()
    if suspension is None:
        suspension = Suspension.objects.create(
            credential=credential, active_from=now, by_subscriber=by_subscriber
        )
        undo: dict[str, Any] = {"suspension": suspension.pk}
        announce_change(f"“{credential}” was suspended", credential=credential, since=now, by=by)
    elif suspension.by_subscriber and not by_subscriber:
        suspension.by_subscriber = False
        suspension.save(update_fields=["by_subscriber"])
        # No call changes its owner, so nothing is announced.
        undo = {"suspension": suspension.pk, "was_by_subscriber": True}
    else:
        return False
    details = {"undo": undo}
    AuditEvent.objects.record(AuditVerb.SUSPENDED, target=credential, by=by, details=details)
    return True


@atomic
def resume_credential(
    *, credential: Credential, by: User | None, by_subscriber: bool = False
) -> bool:
    """Attribute usage to the credential again. Usage of the suspension stays in quarantine.

    `by_subscriber`: `by` acts for the customer. Returns False if it was not suspended. Raises
    SuspendedByProvider: then only the provider resumes it.
    """
    _lock_unrevoked_credential(credential)
    now = timezone.now()
    suspension = credential.suspensions.at(now).first()
    if suspension is None:
        return False
    if by_subscriber and not suspension.by_subscriber:
        raise SuspendedByProvider
    before, suspension.active_until = suspension.active_until, now
    suspension.save(update_fields=["active_until"])
    until = audit_difference(before, now)
    details = {"undo": {"suspension": suspension.pk, "until": until}}
    AuditEvent.objects.record(AuditVerb.RESUMED, target=credential, by=by, details=details)
    announce_change(f"“{credential}” was resumed", credential=credential, by=by)
    return True


@atomic
def revoke_credential(*, credential: Credential, reason: str, by: User | None) -> None:
    """Revoke the credential for good: this cannot be undone. Raises CredentialRevoked."""
    _lock_unrevoked_credential(credential)
    now = timezone.now()
    # Keys keep their periods: attribution compares with revoked_at, so nothing is rewritten.
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
    """Charge the credential's usage to one more subscription from `at` (default: now).

    Raises SubscriptionOfOtherCustomer, AlreadyAssigned, CredentialRevoked.
    """
    _lock_unrevoked_credential(credential)
    at = at or timezone.now()
    assignment = _create_assignment(credential, subscription, active_from=at)
    undo = {"began": assignment.pk, "at": to_audit_json(at)}
    _record_assignment(AuditVerb.ASSIGNED, credential, subscription, by=by, at=at, undo=undo)
    announce_change(
        f"“{credential}” is charged to “{subscription}”", credential=credential, since=at, by=by
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
    """Stop charging the credential's usage to the subscription at `at` (default: now).

    Raises NotAssigned.
    """
    _lock_credential(credential)
    at = at or timezone.now()
    undo = _end_assignment(credential, subscription, at)
    _record_assignment(AuditVerb.UNASSIGNED, credential, subscription, by=by, at=at, undo=undo)
    announce_change(
        f"“{credential}” is no longer charged to “{subscription}”",
        credential=credential,
        since=at,
        by=by,
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
    """Charge the credential's usage to `to` instead of `subscription` from `at` (default: now).

    Earlier usage stays where it is. Raises NotAssigned, SubscriptionOfOtherCustomer,
    AlreadyAssigned, CredentialRevoked.
    """
    _lock_unrevoked_credential(credential)
    at = at or timezone.now()
    # Ending and beginning at one moment would leave an empty period behind.
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
    """Return the key or its secret in clear, after the reveal has been committed to the audit.

    Raises RevealsPaused, TooManyReveals, CredentialRevoked, NothingToReveal, RevealNotPermitted,
    SealedValueDamaged.
    """
    verb = AuditVerb.KEY_REVEALED if field == "value" else AuditVerb.SECRET_REVEALED
    # Committed before anything is unsealed, so that no reveal goes unrecorded. `durable` refuses to
    # be part of a transaction that could still be rolled back.
    with atomic(durable=True):
        # Locked, so that reveals at the same moment count one after the other.
        if User.objects.select_for_update(no_key=True).get(pk=by.pk).reveals_rest_since:
            raise RevealsPaused
        credential = _credential_to_reveal(key, field)
        wait = reveals.seconds_before_reveal(key=key, by=by, address=address)
        if not wait:
            details = {"hint": key.hint}
            AuditEvent.objects.record(
                verb, target=credential, by=by, details=details, address=address
            )
    # Raised only now, since the alert has to be committed.
    if wait:
        raise TooManyReveals(wait)
    try:
        text = SealedValue.objects.only(field).get(pk=key.pk).unseal(field)
    except CannotUnseal as error:
        raise SealedValueDamaged from error
    if text is None:
        raise NothingToReveal
    return text


def _lock_credential(credential: Credential) -> None:
    """Lock the credential's row, and read what an earlier action changed meanwhile."""
    # `revoked_at` is read again under the lock: a revocation may have committed meanwhile.
    locked = Credential.objects.select_for_update(no_key=True)
    credential.refresh_from_db(fields=["revoked_at", "revocation_reason"], from_queryset=locked)


def _lock_unrevoked_credential(credential: Credential) -> None:
    _lock_credential(credential)
    _check_not_revoked(credential)


def _check_not_revoked(credential: Credential) -> None:
    if credential.revoked_at:
        raise CredentialRevoked


def _credential_to_reveal(key: ExternalKey, field: RevealableField) -> Credential:
    """Return the key's credential as it is now.

    Raises CredentialRevoked, NothingToReveal, RevealNotPermitted.
    """
    credential = Credential.objects.select_related("customer").get(pk=key.credential_id)
    _check_not_revoked(credential)
    if credential.customer.suspended_at:
        raise NothingToReveal
    if REVEAL not in permitted_actions(credential):
        raise RevealNotPermitted
    if not SealedValue.objects.filter(pk=key.pk, **{f"{field}__isnull": False}).exists():
        raise NothingToReveal
    return credential


def _insert_key(key: ExternalKey) -> None:
    """Insert the key. Raises KeyInUse if another action inserted an overlapping one first."""
    with raising_on_violation(KeyInUse, "externalkey_means_one_credential"):
        key.save(force_insert=True)


def _add_key(
    credential: Credential,
    new_key: NewKey,
    *,
    kind: ExternalKey.Kind = ExternalKey.Kind.KEY,
    by: User | None,
) -> tuple[ExternalKey, dict[str, Any]]:
    """Add a key with its sealed value.

    Returns the key, and audit details that name the revoked credential which had it before.
    """
    existing = trim_key(new_key.key or "")
    text = existing or generate_key()
    key_fingerprint = fingerprint(text)
    used_again, active_from = _take_from_revoked(credential, new_key, key_fingerprint, by=by)
    # Nobody can have used a key that did not exist, so a generated one needs no past.
    generated_from = None if existing else timezone.now()
    active_from = _first_free_moment(
        key_fingerprint, new_key.gateway, active_from or generated_from
    )
    key = ExternalKey(
        credential=credential,
        kind=kind,
        gateway=new_key.gateway,
        fingerprint=key_fingerprint,
        hint=hint(text),
        active_from=active_from,
    )
    _insert_key(key)
    # The sealed text names its row, so the key has to have its number first.
    sealed = SealedValue(external_key=key)
    sealed.seal(value=text, secret=new_key.secret)
    sealed.save(force_insert=True)
    return key, used_again


def _take_from_revoked(
    credential: Credential, new_key: NewKey, key_fingerprint: UUID, *, by: User | None
) -> tuple[dict[str, Any], datetime | None]:
    """Take a key from the revoked credential that had it last, if `use_again` allows that.

    Returns audit details, and the moment from which the key counts (None: not decided here). Raises
    KeyOfRevokedCredential.
    """
    had = list(
        keys_of_revoked_credentials(key_fingerprint=key_fingerprint, gateway=new_key.gateway)
    )
    if not had:
        return {}, new_key.active_from
    last = had[0].credential
    if not new_key.use_again:
        raise KeyOfRevokedCredential(last)
    # The key has counted for nobody since the revocation, so ending it there moves no call.
    # One whose end was set already, such as by a rotation, would else be in the way until then.
    still = ExternalKey.objects.ever_counting().filter(
        Q(active_until=None) | Q(active_until__gt=F("credential__revoked_at")),
        pk__in=[key.pk for key in had],
    )
    for key in still.select_related("credential"):
        key.active_until = max(key.credential.revoked_at or key.active_from, key.active_from)
        key.save(update_fields=["active_until"])
    revoked_at = last.revoked_at.isoformat() if last.revoked_at else ""
    details = {"hint": had[0].hint, "at": revoked_at, "used_again_for": str(credential)}
    AuditEvent.objects.record(AuditVerb.KEY_ENDED, target=last, by=by, details=details)
    used_again = {"key_was_of": str(last), "revoked_at": revoked_at}
    return used_again, new_key.active_from or timezone.now()


def keys_of_revoked_credentials(
    *, key_fingerprint: UUID, gateway: Gateway | None
) -> ExternalKeyQuerySet:
    """Return keys with this fingerprint of revoked credentials, the latest revoked first.

    Keys that another credential has used again since are left out: whoever did that was asked.
    """
    used_again = ExternalKey.objects.filter(
        fingerprint=key_fingerprint,
        credential__revoked_at=None,
        active_from__gte=OuterRef("credential__revoked_at"),
    )
    # A key for any gateway counts at this one as well.
    where = Q() if gateway is None else Q(gateway=None) | Q(gateway=gateway)
    return (
        ExternalKey.objects.filter(
            where,
            ~Exists(used_again),
            fingerprint=key_fingerprint,
            credential__revoked_at__isnull=False,
        )
        .select_related("credential__customer")
        .order_by("-credential__revoked_at", "-active_from")
    )


def _first_free_moment(
    key_fingerprint: UUID,
    gateway: Gateway | None,
    active_from: datetime | None,
    active_until: datetime | None = None,
) -> datetime:
    """Return the moment asked for, or else the first possible one. Raises KeyInUse."""
    # Checked before the insert, to answer with a sentence in the usual case; the exclusion
    # constraint decides when two actions race.
    same = ExternalKey.objects.ever_counting().filter(fingerprint=key_fingerprint, gateway=gateway)
    if active_until:
        same = same.filter(active_from__lt=active_until)
    active_from = active_from or _earliest_key_start(same)
    if active_until and active_until <= active_from:
        raise KeyInUse
    overlapping = same.filter(Q(active_until=None) | Q(active_until__gt=active_from))
    if key := overlapping.select_related("credential__customer").first():
        raise KeyInUse(key)
    return active_from


def _earliest_key_start(same: ExternalKeyQuerySet) -> datetime:
    """Return the oldest moment a transaction may have, or the end of the key's last owner."""
    oldest = Gateway.objects.oldest_accepted_moment(timezone.now())
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
    """End the assignment that holds at `at`. Returns what `undoing` needs to restore it."""
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


def _set_key_end(key: ExternalKey, at: datetime, *, by_subscriber: bool) -> None:
    # A subscriber who brings the provider's end forward may not move it back later.
    key.end_by_subscriber = by_subscriber and (key.active_until is None or key.end_by_subscriber)
    key.active_until = max(at, key.active_from)
    key.save(update_fields=["active_until", "end_by_subscriber"])


def _reattribute_since(key: ExternalKey) -> datetime | None:
    """Return the moment from which a key of one gateway takes calls from a key of any gateway."""
    return key.active_from if key.gateway_id else None


def _record_alias_added(key: ExternalKey, by: User | None, used_again: dict[str, Any]) -> None:
    details = used_again | {
        "hint": key.hint,
        "from": key.active_from.isoformat(),
        "undo": {
            "key": key.pk,
            "until": audit_difference(key.active_until, key.active_until),
            "withdraw": True,
        },
    }
    if key.active_until:
        details["until"] = key.active_until.isoformat()
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
