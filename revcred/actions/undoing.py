"""Put back what an event on record changed, while nothing depends on it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import IntegrityError, models
from django.db.transaction import atomic

from revcred.actions import credentials, subscriptions
from revcred.hooks import announce
from revcred.models import (
    Assignment,
    AuditEvent,
    Credential,
    ExternalKey,
    PathRule,
    Product,
    Source,
    Subscriber,
    Subscription,
    Suspension,
    User,
)
from revcred.models.audit import as_recorded, difference

Verb = AuditEvent.Verb

# Verbs of events that cannot be undone, and what to do instead.
INSTEAD: Mapping[str, str] = {
    Verb.CREATED: "It may be in use already. Delete it or end it on its own page.",
    Verb.DELETED: "What was deleted is gone. Its last values are on record: add it again.",
    Verb.ISSUED: "Its key may be in use already. End the key or revoke the credential.",
    Verb.ROTATED: "The new key may be in use already. Rotate again, or end the new key.",
    Verb.REVOKED: "A revoked credential stays revoked. Issue another one.",
    Verb.KEY_REVEALED: "What somebody has seen stays seen. Rotate the credential.",
    Verb.SECRET_REVEALED: "What somebody has seen stays seen. Rotate the credential.",
    Verb.UNDONE: "What was undone can be done again on its own page.",
}
OTHERWISE = "An action of this kind is not put back by itself. Change it on its own page."
OLD = "It was recorded before the values to go back to were kept. Change it on its own page."
CHANGEABLE: tuple[type[models.Model], ...] = (Subscription, Credential, Product, Source)
TAKEN_MEANWHILE = (
    IntegrityError,
    ValidationError,
    credentials.NameInUse,
    credentials.KeyInUse,
    subscriptions.ExternalKeyInUse,
)
BY_LIST = "A list did it. Undo the upload, which takes back all of it."
GONE = "It is not there any more."


class CannotUndo(Exception):
    """The event cannot be undone. Its text says why."""


def obstacle_of(event: AuditEvent) -> str | None:
    """Why the event cannot be undone, as far as it says so itself; None if that may be tried."""
    if "upload" in event.details:
        return BY_LIST
    if event.verb == Verb.CHANGED:
        if event.target_type not in {model._meta.label_lower for model in CHANGEABLE}:
            return OTHERWISE
        is_kept = isinstance(event.details.get("changed"), dict) or event.details.get("rows")
        return None if is_kept else OLD
    if event.verb in _UNDO:
        return None if event.details.get("undo") else OLD
    return INSTEAD.get(event.verb, OTHERWISE)


@atomic
def undo(*, event: AuditEvent, by: User | None) -> Any:
    """Put back the old values, by the same action that changed them, and record it.

    Answers what the event is about, as it is now. Raises CannotUndo.
    """
    if obstacle := obstacle_of(event):
        raise CannotUndo(obstacle)
    target = _target_of(event)
    undone = AuditEvent.objects.about(target).filter(verb=Verb.UNDONE)
    if undone.filter(details__event=event.pk).exists():
        raise CannotUndo("It has been undone already.")
    put_back = _put_values_back if event.verb == Verb.CHANGED else _UNDO[event.verb]
    try:
        changed = put_back(event, target, by)
    except TAKEN_MEANWHILE as error:
        message = "The old values do not fit what has been changed since: they are taken by now."
        raise CannotUndo(message) from error
    except credentials.NotMembers as error:
        message = f"{error} Make them members first, if they are to hold it again."
        raise CannotUndo(message) from error
    details = {
        "event": event.pk,
        "what": event.get_verb_display(),
        "done_at": as_recorded(event.at),
        "done_by": event.actor,
    }
    if changed:
        details["changed"] = changed
    AuditEvent.objects.record(Verb.UNDONE, target=target, by=by, details=details)
    return target


def _target_of(event: AuditEvent) -> Any:
    models_of_targets = {model._meta.label_lower: model for model in CHANGEABLE}
    model: Any = models_of_targets.get(event.target_type)
    locked = model._base_manager.select_for_update(no_key=True) if model else None
    target = locked.filter(pk=event.target_id).first() if locked is not None else None
    if target is None:
        raise CannotUndo(GONE)
    return target


# --- Fields of a form ---------------------------------------------------------------------------


def _put_values_back(event: AuditEvent, target: Any, by: User | None) -> dict[str, Any]:
    lists: dict[str, list[Any]] = {}
    for name, (old, new) in event.details.get("changed", {}).items():
        if (field := _field(target, name)) is None:
            continue
        is_list = field.many_to_many
        current = getattr(target, name) if is_list else getattr(target, field.name)
        if _comparable(as_recorded(current)) != _comparable(new):
            raise CannotUndo(_meanwhile(event, target, name))
        if is_list:
            lists[name] = _rows_of(field.related_model, old)
        else:
            setattr(target, field.attname, _python_value(field, old))
    _save(target, lists, by)
    if event.details.get("rows"):
        _put_rows_back(event, target, by)
    return {}  # the action has recorded the fields itself


def _field(target: models.Model, name: str) -> Any:
    """None for what the page only asked, and did not keep."""
    try:
        return target._meta.get_field(name)
    except FieldDoesNotExist:
        return None


def _comparable(recorded: Any) -> Any:
    """Rows by their numbers alone: a name may have changed, which is no obstacle."""
    if isinstance(recorded, dict) and recorded.keys() == {"id", "name"}:
        return recorded["id"]
    if isinstance(recorded, list) and all(isinstance(each, dict) for each in recorded):
        return sorted((_comparable(each) for each in recorded), key=str)
    return recorded


def _rows_of(model: Any, recorded: list[dict[str, Any]]) -> list[Any]:
    numbers = [each["id"] for each in recorded]
    rows = list(model._base_manager.filter(pk__in=numbers))
    if len(rows) != len(set(numbers)):
        gone = {each["id"]: each["name"] for each in recorded}
        for row in rows:
            gone.pop(row.pk)
        raise CannotUndo(f"Deleted meanwhile: {', '.join(gone.values())}.")
    return rows


def _python_value(field: Any, recorded: Any) -> Any:
    if field.is_relation:
        return recorded and recorded["id"]
    if isinstance(field, models.DateTimeField):
        return _maybe_moment(recorded)
    return recorded


def _save(target: Any, lists: dict[str, list[Any]], by: User | None) -> None:
    """By the same action as the page of the thing."""
    if isinstance(target, Subscription):
        _full_check(target)
        subscriptions.change(subscription=target, by=by)
    elif isinstance(target, Credential):
        holders: list[Subscriber] | None = lists.get("holders")
        credentials.change(credential=target, holders=holders, by=by)
    else:
        _save_plain(target, lists, by)


def _save_plain(target: Any, lists: dict[str, list[Any]], by: User | None) -> None:
    _full_check(target)
    before = type(target)._base_manager.get(pk=target.pk)
    changed = {
        field.name: difference(getattr(before, field.name), getattr(target, field.name))
        for field in target._meta.concrete_fields
        if getattr(before, field.attname) != getattr(target, field.attname)
    }
    target.save()
    for name, rows in lists.items():
        changed[name] = difference(getattr(target, name), rows)
        getattr(target, name).set(rows)
    if changed:
        details = {"changed": changed}
        AuditEvent.objects.record(Verb.CHANGED, target=target, by=by, details=details)
    counting = {"sources", "also_without_source", "restricted"}
    if isinstance(target, Product) and counting & changed.keys():
        subscriptions.sources_changed(product=target, by=by)
    if isinstance(target, Source) and "external_key" in changed:
        subscriptions.paths_changed(source=target, by=by)


def _full_check(target: Any) -> None:
    target.full_clean(validate_unique=True)


def _put_rows_back(event: AuditEvent, target: Any, by: User | None) -> None:
    """Path rules as they were. Other rows kept with a thing have pages of their own."""
    for row in event.details["rows"]:
        if row["model"] != PathRule._meta.label_lower or not isinstance(target, Source):
            raise CannotUndo(OTHERWISE)
        old, new = row["old"], row["new"]
        rule = PathRule.objects.filter(pk=row["id"]).first()
        current = {"match": rule.match, "text": rule.text} if rule else None
        if current != new:
            raise CannotUndo(_meanwhile(event, target, row["name"]))
        if rule and old is None:
            rule.delete()
        elif old is not None:
            put_back = rule or PathRule(pk=row["id"], source=target)
            put_back.match, put_back.text = old["match"], old["text"]
            put_back.save()
    rows = [row | {"old": row["new"], "new": row["old"]} for row in event.details["rows"]]
    AuditEvent.objects.record(Verb.CHANGED, target=target, by=by, details={"rows": rows})
    subscriptions.paths_changed(source=target, by=by)


def _meanwhile(event: AuditEvent, target: models.Model, name: str) -> str:
    said = name.replace("_", " ")
    since = AuditEvent.objects.about(target).filter(pk__gt=event.pk)
    later = next((each for each in since if name in _names_in(each)), None)
    if later is None:
        return f"“{said}” has been changed meanwhile. Change it on its own page."
    by = later.actor or "revcred"
    return f"“{said}” has been changed meanwhile, by {by} at {later.at:%Y-%m-%d %H:%M}."


def _names_in(event: AuditEvent) -> set[str]:
    return {*event.details.get("changed", ())} | {
        row["name"] for row in event.details.get("rows", ())
    }


# --- Actions on credentials ---------------------------------------------------------------------


def _put_links_back(event: AuditEvent, credential: Credential, by: User | None) -> dict[str, Any]:
    """Assignments as they were before one was begun, ended or both."""
    undo = event.details["undo"]
    at = _moment(undo["at"])
    changed = {}
    if "began" in undo:
        began = credential.assignments.filter(pk=undo["began"]).first()
        if began is None or (began.active_from, began.active_until) != (at, None):
            raise CannotUndo(_link_changed(event, credential))
        changed[f"feeds {began.subscription}"] = [as_recorded(at), None]
        began.delete()
    if "ended" in undo:
        until, was_from = _maybe_moment(undo["until"]), _moment(undo["from"])
        ended = credential.assignments.filter(pk=undo["ended"]).first()
        is_as_left = ended.active_until == at if ended else at <= was_from
        if not is_as_left:
            raise CannotUndo(_link_changed(event, credential))
        subscription = Subscription.objects.filter(pk=undo["subscription"]).first()
        if subscription is None:
            raise CannotUndo("The subscription is not there any more.")
        ended = ended or Assignment(
            pk=undo["ended"],
            customer_id=credential.customer_id,
            credential=credential,
            subscription=subscription,
            active_from=was_from,
        )
        changed[f"until, of {subscription}"] = difference(ended.active_until and at, until)
        ended.active_until = until
        ended.save()
    cause = f"“{event}” was undone"
    announce(cause, credential=credential, since=at, by=by)
    return changed


def _put_key_back(event: AuditEvent, credential: Credential, by: User | None) -> dict[str, Any]:
    undo = event.details["undo"]
    key = credential.keys.filter(pk=undo["key"]).first()
    if key is None:
        raise CannotUndo(GONE)
    old, new = map(_maybe_moment, undo["until"])
    if key.active_until != new:
        raise CannotUndo(f"When {key} ends has been changed meanwhile.")
    if undo.get("withdraw"):
        credentials.end_key(key=key, at=key.active_from, by=by)
        return {}
    if credential.revoked_at:
        raise CannotUndo("The credential has been revoked meanwhile.")
    return _reopen(key, old, since=new, event=event, by=by)


def _reopen(
    key: ExternalKey,
    until: datetime | None,
    *,
    since: datetime | None,
    event: AuditEvent,
    by: User | None,
) -> dict[str, Any]:
    before, key.active_until = key.active_until, until
    key.save(update_fields=["active_until"])
    announce(f"“{event}” was undone", credential=key.credential, since=since, by=by)
    return {"until": difference(before, until)}


def _lift_suspension(event: AuditEvent, credential: Credential, by: User | None) -> dict[str, Any]:
    """As if it had never been: what waits since is attributed."""
    suspension = _suspension(event, credential)
    if suspension.active_until is not None:
        raise CannotUndo("It has been resumed meanwhile.")
    since = suspension.active_from
    suspension.delete()
    announce(f"“{event}” was undone", credential=credential, since=since, by=by)
    return {"suspended": [as_recorded(since), None]}


def _suspend_again(event: AuditEvent, credential: Credential, by: User | None) -> dict[str, Any]:
    """As if it had not been resumed: what was attributed since goes into quarantine."""
    suspension = _suspension(event, credential)
    old, new = map(_maybe_moment, event.details["undo"]["until"])
    if suspension.active_until != new:
        raise CannotUndo("The suspension has been changed meanwhile.")
    suspension.active_until = old
    suspension.save(update_fields=["active_until"])
    announce(f"“{event}” was undone", credential=credential, since=new, by=by)
    return {"until, of the suspension": difference(new, old)}


def _suspension(event: AuditEvent, credential: Credential) -> Suspension:
    number = event.details["undo"]["suspension"]
    suspension = credential.suspensions.filter(pk=number).first()
    if suspension is None:
        raise CannotUndo(GONE)
    return suspension


def _link_changed(event: AuditEvent, credential: Credential) -> str:
    verbs = (Verb.ASSIGNED, Verb.MOVED, Verb.UNASSIGNED, Verb.UNDONE, Verb.APPLIED)
    since = AuditEvent.objects.about(credential).filter(pk__gt=event.pk, verb__in=verbs)
    later = since.last()  # the first after it: events are ordered from the newest
    if later is None:
        return "What it feeds has been changed meanwhile. Change it on its own page."
    by = later.actor or "revcred"
    return f"What it feeds has been changed meanwhile, by {by} at {later.at:%Y-%m-%d %H:%M}."


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _maybe_moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


_UNDO: Mapping[str, Callable[[AuditEvent, Any, User | None], dict[str, Any]]] = {
    Verb.MOVED: _put_links_back,
    Verb.ASSIGNED: _put_links_back,
    Verb.UNASSIGNED: _put_links_back,
    Verb.KEY_ENDED: _put_key_back,
    Verb.ALIAS_ADDED: _put_key_back,
    Verb.SUSPENDED: _lift_suspension,
    Verb.RESUMED: _suspend_again,
}
