"""The history of a credential: its states, keys, assignments and reveals in one list."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext, gettext_noop

from revcred.models import AuditEvent, AuditVerb, Credential, Customer, Subscriber, User
from storefront.formatting import short_moment_with_zone

MAX_EVENTS_READ = 200
KEY_HISTORY_PERIOD = timedelta(days=90)
KEY_VERBS = (AuditVerb.KEY_REVEALED, AuditVerb.SECRET_REVEALED, AuditVerb.ROTATED)
PROVIDER = gettext_noop("Your provider")
# What a provider changes; other fields are named as they are.
FIELD_NAMES = {
    "expires_at": gettext_noop("expiry"),
    "name": gettext_noop("name"),
    "environment": gettext_noop("environment"),
    "tags": gettext_noop("tags"),
}

Details = Mapping[str, Any]


@dataclass
class HistoryEntry:
    """Something that was done with a credential. `times`: how often, one right after the other.

    `actor`: a person of the customer, or PROVIDER. `address`: the person's IP address.
    `credential`: its id, and `name`: its name, as it was then.
    """

    at: datetime
    actor: str
    what: str
    credential: int | None
    name: str
    address: str | None = None
    times: int = 1


def history_of(credential: Credential) -> list[HistoryEntry]:
    """Return the latest entries, the newest first. Equal ones within an hour become one."""
    return _entries(
        event
        for event in AuditEvent.objects.about(credential)[:MAX_EVENTS_READ]
        if event.verb in SENTENCES
    )


def key_history_of(customer: Customer, now: datetime) -> list[HistoryEntry]:
    """Return the reveals and rotations of KEY_HISTORY_PERIOD of the customer's credentials."""
    return _entries(
        AuditEvent.objects.filter(
            target_type=Credential._meta.label_lower,
            target_id__in=customer.credentials.values("pk"),
            verb__in=KEY_VERBS,
            at__gte=now - KEY_HISTORY_PERIOD,
        ).order_by("-at", "-pk")[:MAX_EVENTS_READ]
    )


def _entries(found: Iterable[AuditEvent]) -> list[HistoryEntry]:
    events = list(found)
    actors = _names_of_actors(events)
    entries: list[HistoryEntry] = []
    for event in events:
        actor = actors.get(event.actor_id)
        entry = HistoryEntry(
            at=event.at,
            actor=actor or gettext(PROVIDER),
            what=SENTENCES[AuditVerb(event.verb)](event.details),
            credential=event.target_id,
            name=event.target,
            # Addresses of the provider's staff are theirs.
            address=event.address if actor else None,
        )
        if entries and _is_again(entries[-1], entry):
            entries[-1].times += 1
        else:
            entries.append(entry)
    return entries


def _is_again(later: HistoryEntry, earlier: HistoryEntry) -> bool:
    return _without_minutes(later) == _without_minutes(earlier)


def _without_minutes(entry: HistoryEntry) -> tuple[Any, ...]:
    hour = f"{entry.at:%Y-%m-%d %H}"
    return (entry.credential, entry.actor, entry.what, entry.address, hour)


def _names_of_actors(events: Iterable[AuditEvent]) -> dict[int | None, str]:
    """Return the names of people who are no staff. Others act for the provider."""
    numbers = {event.actor_id for event in events if event.actor_id}
    users = User.objects.filter(pk__in=numbers, is_staff=False)
    names: dict[int | None, str] = {user.pk: user.email for user in users}
    people = Subscriber.objects.filter(user__in=users).exclude(name="")
    return names | {person.user_id: person.name for person in people}


def _in_words(moment: Any) -> str:
    """Return a moment of an event's details for people."""
    return short_moment_with_zone(datetime.fromisoformat(moment))


def _key(details: Details) -> str:
    hint = details.get("hint")
    return gettext("the key …%(hint)s") % {"hint": hint} if hint else gettext("a key")


def _changed(details: Details) -> str:
    names = [gettext(FIELD_NAMES.get(name, name)) for name in details.get("changed", {})]
    return (
        gettext("changed its %(fields)s") % {"fields": ", ".join(names)}
        if names
        else gettext("changed it")
    )


def _extended(details: Details) -> str:
    _, until = details["changed"]["until"]
    return gettext("let %(key)s work until %(until)s") % {
        "key": _key(details),
        "until": _in_words(until),
    }


def _rotated(details: Details) -> str:
    old = (
        gettext(". Old keys end at %(moment)s") % {"moment": _in_words(details["old_until"])}
        if details["changed"]
        else ""
    )
    return gettext("rotated it to %(key)s%(old)s") % {"key": _key(details), "old": old}


def _moved(details: Details) -> str:
    return gettext("moved it from “%(old)s” to “%(new)s”") % {
        "old": details["from"],
        "new": details["to"],
    }


# Lists that are applied record some of these, too, with fewer details.
SENTENCES: Mapping[AuditVerb, Callable[[Details], str]] = {
    AuditVerb.ISSUED: lambda details: gettext("issued it with %(key)s") % {"key": _key(details)},
    AuditVerb.CHANGED: _changed,
    AuditVerb.ALIAS_ADDED: lambda details: (
        gettext("added the alias …%(hint)s") % {"hint": details["hint"]}
    ),
    AuditVerb.KEY_ENDED: lambda details: gettext("ended %(key)s") % {"key": _key(details)},
    AuditVerb.KEY_EXTENDED: _extended,
    AuditVerb.ROTATED: _rotated,
    AuditVerb.SUSPENDED: lambda _: gettext("suspended it"),
    AuditVerb.RESUMED: lambda _: gettext("resumed it"),
    AuditVerb.REVOKED: lambda details: (
        gettext("revoked it: %(reason)s") % {"reason": details["reason"]}
    ),
    AuditVerb.ASSIGNED: lambda details: (
        gettext("had it charged to “%(subscription)s”") % {"subscription": details["subscription"]}
    ),
    AuditVerb.MOVED: _moved,
    AuditVerb.UNASSIGNED: lambda details: (
        gettext("had “%(subscription)s” charged no more")
        % {"subscription": details["subscription"]}
    ),
    AuditVerb.KEY_REVEALED: lambda details: gettext("revealed %(key)s") % {"key": _key(details)},
    AuditVerb.SECRET_REVEALED: lambda details: (
        gettext("revealed the secret of %(key)s") % {"key": _key(details)}
    ),
    AuditVerb.LEAK_CONTAINED: lambda details: (
        gettext("ended leaked keys: %(where)s") % {"where": details["where"]}
    ),
    AuditVerb.UNDONE: lambda _: gettext("took an earlier change back"),
}
