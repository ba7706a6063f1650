"""The history of a credential: its states, keys, assignments and reveals in one list."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from revcred.models import AuditEvent, AuditVerb, Credential, Customer, Subscriber, User

MAX_EVENTS_READ = 200
KEY_HISTORY_PERIOD = timedelta(days=90)
KEY_VERBS = (AuditVerb.KEY_REVEALED, AuditVerb.SECRET_REVEALED, AuditVerb.ROTATED)
PROVIDER = "Your provider"
FIELD_NAMES = {"expires_at": "expiry"}

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
        actor = actors.get(event.actor_id, PROVIDER)
        entry = HistoryEntry(
            at=event.at,
            actor=actor,
            what=SENTENCES[AuditVerb(event.verb)](event.details),
            credential=event.target_id,
            name=event.target,
            # Addresses of the provider's staff are theirs.
            address=None if actor is PROVIDER else event.address,
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
    return f"{datetime.fromisoformat(moment):%-d %b %Y, %H:%M} UTC"


def _key(details: Details) -> str:
    hint = details.get("hint")
    return f"the key …{hint}" if hint else "a key"


def _changed(details: Details) -> str:
    names = [FIELD_NAMES.get(name, name) for name in details.get("changed", {})]
    return f"changed its {', '.join(names)}" if names else "changed it"


def _extended(details: Details) -> str:
    _, until = details["changed"]["until"]
    return f"let {_key(details)} work until {_in_words(until)}"


def _rotated(details: Details) -> str:
    old = f". Old keys end at {_in_words(details['old_until'])}" if details["changed"] else ""
    return f"rotated it to {_key(details)}{old}"


def _moved(details: Details) -> str:
    return f"moved it from “{details['from']}” to “{details['to']}”"


# Lists that are applied record some of these, too, with fewer details.
SENTENCES: Mapping[AuditVerb, Callable[[Details], str]] = {
    AuditVerb.ISSUED: lambda details: f"issued it with {_key(details)}",
    AuditVerb.CHANGED: _changed,
    AuditVerb.ALIAS_ADDED: lambda details: f"added the alias …{details['hint']}",
    AuditVerb.KEY_ENDED: lambda details: f"ended {_key(details)}",
    AuditVerb.KEY_EXTENDED: _extended,
    AuditVerb.ROTATED: _rotated,
    AuditVerb.SUSPENDED: lambda _: "suspended it",
    AuditVerb.RESUMED: lambda _: "resumed it",
    AuditVerb.REVOKED: lambda details: f"revoked it: {details['reason']}",
    AuditVerb.ASSIGNED: lambda details: f"had it charged to “{details['subscription']}”",
    AuditVerb.MOVED: _moved,
    AuditVerb.UNASSIGNED: lambda details: f"had “{details['subscription']}” charged no more",
    AuditVerb.KEY_REVEALED: lambda details: f"revealed {_key(details)}",
    AuditVerb.SECRET_REVEALED: lambda details: f"revealed the secret of {_key(details)}",
    AuditVerb.LEAK_CONTAINED: lambda details: f"ended leaked keys: {details['where']}",
    AuditVerb.UNDONE: lambda _: "took an earlier change back",
}
