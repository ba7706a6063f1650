"""Remedies for a group of the quarantine, each with what it would do in calls.

Each is tried out in a transaction that is taken back, so that it promises what its page would show.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone

from metering.admin.groups import KeyOwner, QuarantineGroup
from metering.models import QuarantineReason
from metering.quarantine.decisions import charge_credential_to
from revcred import hooks
from revcred.actions import credentials, undoing
from revcred.admin_toolkit import confirmation
from revcred.metering_port import Consequences
from revcred.models import Assignment, Credential, Subscription, User
from revcred.time_zones import moment_text

MAX_SUBSCRIPTIONS_TRIED = 5
SECONDS_PER_TRIAL = 0.5  # a page with all of them has to be quick

# What an action may answer instead of being tried: then the remedy is not offered.
NOT_POSSIBLE = (
    credentials.KeyInUse,
    credentials.KeyOfRevokedCredential,
    credentials.CredentialRevoked,
    credentials.AlreadyAssigned,
    credentials.NotAssigned,
    credentials.SubscriptionOfOtherCustomer,
    undoing.CannotUndo,
    hooks.ConcurrentChange,
)


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """Something that would attribute waiting calls: a link, and what it would do."""

    title: str
    url: str
    sentence: str


def remedies_of(group: QuarantineGroup, user: Any) -> list[Remedy]:
    """Return what the user can do about a group whose owner and explanation are known."""
    if not group.count or not user.has_perm("revcred.change_credential"):
        return []
    return list(_remedies_of(group, user))


def fitting_subscriptions(credential: Credential, since: datetime) -> list[Subscription]:
    """Return subscriptions of the customer that have not ended at `since`, the newest first."""
    held = Subscription.objects.filter(customer=credential.customer_id)
    return list(held.not_ended_at(since).order_by("-active_from")[:MAX_SUBSCRIPTIONS_TRIED])


def assigned_instead(
    group: QuarantineGroup, credential: Credential, chosen: Subscription
) -> list[Subscription]:
    """Return the other subscriptions that may no longer be charged: those of an ambiguous call."""
    if group.reason is not QuarantineReason.AMBIGUOUS or group.last_seen is None:
        return []
    held = Assignment.objects.at(group.last_seen).filter(credential=credential)
    return list(
        Subscription.objects.filter(pk__in=held.exclude(subscription=chosen).values("subscription"))
    )


def _remedies_of(group: QuarantineGroup, user: User) -> Iterator[Remedy]:
    owner = group.owner
    if group.reason is QuarantineReason.UNKNOWN_KEY:
        yield from _alias_remedy(group, owner)
    elif owner is None:
        return
    elif group.reason is QuarantineReason.KEY_NOT_VALID:
        yield from _validity_remedies(group, owner, user)
    elif group.reason in (
        QuarantineReason.NO_SUBSCRIPTION,
        QuarantineReason.SUBSCRIPTION_MISMATCH,
        QuarantineReason.AMBIGUOUS,
    ):
        for subscription in fitting_subscriptions(owner.credential, _since(group)):
            yield from _charge_remedy(group, owner.credential, subscription, user)


def _alias_remedy(group: QuarantineGroup, owner: KeyOwner | None) -> Iterator[Remedy]:
    address = reverse("admin:metering_quarantined_attach", args=[group.slug])
    if owner is None:
        waiting = confirmation.counted(group.count, "waiting call")
        sentence = f"The {waiting} are charged by the rules of the credential that you choose."
        yield Remedy(title="Assign this key to a credential", url=address, sentence=sentence)
        return
    credential = owner.credential
    yield from _tried(
        f"Assign this key to “{credential}”",
        f"{address}?{urlencode({'credential': credential.pk})}",
        lambda: _count_key_for(group, credential, until=None),
    )


def _validity_remedies(group: QuarantineGroup, owner: KeyOwner, user: User) -> Iterator[Remedy]:
    credential = owner.credential
    page = reverse("admin:revcred_credential_change", args=[credential.pk])
    if owner.state == "suspended" and owner.event:
        event = owner.event
        yield from _tried(
            f"Undo the suspension of “{credential}”",
            reverse("admin:revcred_auditevent_undo", args=[event.pk]),
            lambda: undoing.undo_event(event=event, by=user),
        )
    elif owner.state == "expired":
        yield from _tried(
            f"Remove or change the expiry of “{credential}”",
            page,
            lambda: _never_expire(credential),
        )
    elif owner.state in ("key ended", "valid only from"):
        attach = reverse("admin:metering_quarantined_attach", args=[group.slug])
        until = owner.since if owner.state == "valid only from" else None
        yield from _tried(
            f"Count this key for “{credential}” at that time, too",
            f"{attach}?{urlencode(_attach_values(credential, group, until))}",
            lambda: _count_key_for(group, credential, until=until),
        )


def _attach_values(
    credential: Credential, group: QuarantineGroup, until: datetime | None
) -> dict[str, Any]:
    values = {"credential": credential.pk, "active_from": _text(_since(group))}
    return values | ({"active_until": _text(until)} if until else {})


def _charge_remedy(
    group: QuarantineGroup, credential: Credential, subscription: Subscription, user: User
) -> Iterator[Remedy]:
    address = reverse("admin:metering_quarantined_charge", args=[group.slug])
    yield from _tried(
        f"Charge “{credential}” to “{subscription}”",
        f"{address}?{urlencode({'to': subscription.pk})}",
        lambda: charge_credential_to(
            credential=credential,
            subscription=subscription,
            since=_since(group),
            until=None,
            instead_of=assigned_instead(group, credential, subscription),
            by=user,
        ),
    )


def _tried(title: str, url: str, action: Callable[[], Any]) -> Iterator[Remedy]:
    """Yield the remedy with what it would do; nothing if its action is not possible."""
    try:
        tried = hooks.try_out(action, keep=lambda *_: False, seconds=SECONDS_PER_TRIAL)
    except NOT_POSSIBLE:
        return
    yield Remedy(title=title, url=url, sentence=_effect_in_words(tried.consequences))


def _effect_in_words(found: Consequences) -> str:
    if not found.moves_calls:
        return "No waiting call would be charged by this alone."
    parts = [
        f"{confirmation.counted(movement.calls, 'call')} → {movement.after}"
        for movement in found.movements
    ]
    more = [] if found.is_complete else ["and more, which could not be counted in time"]
    return f"Moves {', '.join([*parts, *more])}."


def _count_key_for(
    group: QuarantineGroup, credential: Credential, *, until: datetime | None
) -> None:
    if group.fingerprint:
        credentials.add_alias_by_fingerprint(
            credential=credential,
            key_fingerprint=group.fingerprint,
            hint=group.hint,
            active_from=_since(group) if group.reason is QuarantineReason.KEY_NOT_VALID else None,
            active_until=until,
            by=None,
        )


def _never_expire(credential: Credential) -> None:
    changed = Credential.objects.get(pk=credential.pk)
    changed.expires_at = None
    credentials.change_credential(credential=changed, by=None)


def _since(group: QuarantineGroup) -> datetime:
    return group.since or group.last_seen or timezone.now()


def _text(moment: datetime) -> str:
    return moment_text(moment, seconds=True)
