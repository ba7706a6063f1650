"""Undoing of single events: restore what an event changed, while nothing depends on it.

Each kind of event is undone by the action that made the change, so that the same rules hold.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import IntegrityError, models
from django.db.transaction import atomic
from django.utils.translation import gettext

from revcred.actions import credentials, memberships, names, subscriptions, users
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
    PathRule,
    Product,
    Source,
    Subscriber,
    Subscription,
    Suspension,
    User,
)
from revcred.models.audit import audit_difference, to_audit_json
from revcred.texts import gettext_lazy, kept_language
from revcred.time_zones import moment_text

# Verbs of events that cannot be undone, and what to do instead.
UNDO_ALTERNATIVES: Mapping[str, str] = {
    AuditVerb.CREATED: gettext_lazy("It may be in use already. Delete or end it on its own page."),
    AuditVerb.DELETED: gettext_lazy(
        "It was deleted for good. Its last values are recorded: add it again."
    ),
    AuditVerb.ISSUED: gettext_lazy(
        "Its key may be in use already. End the key or revoke the credential."
    ),
    AuditVerb.ROTATED: gettext_lazy(
        "The new key may be in use already. Rotate again, or end the new key."
    ),
    AuditVerb.REVOKED: gettext_lazy("A revoked credential stays revoked. Issue another one."),
    AuditVerb.KEY_REVEALED: gettext_lazy(
        "Somebody has seen it. Rotate the credential to make it worthless."
    ),
    AuditVerb.SECRET_REVEALED: gettext_lazy(
        "Somebody has seen it. Rotate the credential to make it worthless."
    ),
    AuditVerb.UNDONE: gettext_lazy("Repeat the action on its own page."),
}
NOT_UNDOABLE_MESSAGE = gettext_lazy(
    "This kind of action cannot be undone here. Change it on its own page."
)
TOO_OLD_MESSAGE = gettext_lazy(
    "The old values were not recorded at that time. Change it on its own page."
)
MEMBERS_CHANGED_MESSAGE = gettext_lazy(
    "It added or removed members. Add or remove them again on the customer's page."
)
UNDOABLE_MODELS: tuple[type[models.Model], ...] = (
    *(Subscription, Credential, Product, Source),
    *(Customer, Gateway, Subscriber, Membership, User),
)
# Rows on a thing's page that are restored with it. Others have pages of their own.
PATH_RULE_FIELDS = {"match", "text", "switched_off"}
RESTORABLE_ROW_MODELS: tuple[type[models.Model], ...] = (PathRule, Membership)
# What restoring raises if somebody else has the old name or key by now.
OLD_VALUE_TAKEN_ERRORS = (
    IntegrityError,
    ValidationError,
    credentials.CredentialNameInUse,
    credentials.KeyInUse,
    subscriptions.SubscriptionExternalKeyInUse,
)
DONE_BY_UPLOAD_MESSAGE = gettext_lazy("An upload did this. Undo the upload to take back all of it.")
NO_LONGER_THERE_MESSAGE = gettext_lazy("It no longer exists.")


class CannotUndo(Exception):
    """The event cannot be undone. Its text is a sentence that says why."""


def undo_obstacle(event: AuditEvent) -> str | None:
    """Return why the event cannot be undone, as far as the event itself tells, or None."""
    if "upload" in event.details:
        return DONE_BY_UPLOAD_MESSAGE
    if event.verb != AuditVerb.CHANGED and event.verb not in _RESTORE_BY_VERB:
        return UNDO_ALTERNATIVES.get(event.verb, NOT_UNDOABLE_MESSAGE)
    if event.target_type not in {model._meta.label_lower for model in UNDOABLE_MODELS}:
        return NOT_UNDOABLE_MESSAGE
    if event.verb == AuditVerb.CHANGED:
        return _obstacle_of_change(event)
    return None if event.details.get("undo") else TOO_OLD_MESSAGE


def _obstacle_of_change(event: AuditEvent) -> str | None:
    rows = event.details.get("rows") or ()
    if any(_is_member_added_or_removed(row) for row in rows):
        return MEMBERS_CHANGED_MESSAGE
    # Earlier versions recorded the names of changed fields, and no values.
    is_kept = isinstance(event.details.get("changed"), dict) or rows
    return None if is_kept else TOO_OLD_MESSAGE


def _is_member_added_or_removed(row: Mapping[str, Any]) -> bool:
    is_member = row["model"] == Membership._meta.label_lower
    return is_member and (row["old"] is None or row["new"] is None)


def restored_field_names(event: AuditEvent) -> set[str]:
    """Return the names of the fields that undoing the event sets."""
    details = event.details
    return {
        *(details.get("changed") or ()),
        *((details.get("undo") or ()) if _is_restored_by_field(event) else ()),
    }


def _is_restored_by_field(event: AuditEvent) -> bool:
    """Return True if `details["undo"]` of the event holds old and new value of each field."""
    return _RESTORE_BY_VERB.get(event.verb) is _restore_recorded_fields


@atomic
def undo_event(*, event: AuditEvent, by: User | None, address: str | None = None) -> Any:
    """Restore the old values by the action that changed them, and record it.

    Returns the thing that the event is about, as it is now. `address`: IP address that `by` is
    signed in from. Raises CannotUndo, and users.LoginActionError if `by` may not change the login.
    """
    if obstacle := undo_obstacle(event):
        raise CannotUndo(obstacle)
    target = _lock_target(event)
    # Two people may press the button at once: the lock on the target lets the second one see this.
    undone = AuditEvent.objects.about(target).filter(verb=AuditVerb.UNDONE)
    if undone.filter(details__event=event.pk).exists():
        raise CannotUndo(gettext("It has been undone already."))
    put_back = _restore_fields if event.verb == AuditVerb.CHANGED else _RESTORE_BY_VERB[event.verb]
    try:
        changed = put_back(event, target, by)
    except OLD_VALUE_TAKEN_ERRORS as error:
        message = gettext("The old values no longer fit: somebody else uses them by now.")
        raise CannotUndo(message) from error
    except credentials.HoldersNotMembers as error:
        message = gettext("%(error)s Make them members first, if they are to hold it again.") % {
            "error": error
        }
        raise CannotUndo(message) from error
    details = {
        "event": event.pk,
        "what": AuditVerb(event.verb).label,
        "done_at": to_audit_json(event.at),
        "done_by": event.actor,
    }
    if changed:
        details["changed"] = changed
    AuditEvent.objects.record(
        AuditVerb.UNDONE, target=target, by=by, details=details, address=address
    )
    return target


def _lock_target(event: AuditEvent) -> Any:
    """Return the thing the event is about, locked. Raises CannotUndo if it is gone."""
    models_of_targets = {model._meta.label_lower: model for model in UNDOABLE_MODELS}
    model: Any = models_of_targets.get(event.target_type)
    locked = model._base_manager.select_for_update(no_key=True) if model else None
    target = locked.filter(pk=event.target_id).first() if locked is not None else None
    if target is None:
        raise CannotUndo(NO_LONGER_THERE_MESSAGE)
    return target


# --- Fields of a form ---------------------------------------------------------------------------


def _cause_of_undoing(event: AuditEvent) -> str:
    """Return why calls are attributed again, as it is kept."""
    with kept_language():
        return f"“{event}” was undone"


def _restore_fields(event: AuditEvent, target: Any, by: User | None) -> dict[str, Any]:
    """Set each changed field to its old value, if it still has the new one."""
    lists: dict[str, list[Any]] = {}
    for name, (old, new) in event.details.get("changed", {}).items():
        if (field := _model_field(target, name)) is None:
            continue
        is_list = field.many_to_many
        _check_unchanged(event, target, field, new)
        if is_list:
            lists[name] = _recorded_rows(field.related_model, old)
        else:
            setattr(target, field.attname, _python_value(field, old))
    _save_restored(target, lists, by)
    _give_back_taken_names(event, target, by)
    if event.details.get("rows"):
        _restore_rows(event, target, by)
    return {}  # the action has recorded the fields itself


def _give_back_taken_names(event: AuditEvent, target: Any, by: User | None) -> None:
    """Give names back that the undone change took from others, who lost calls with them."""
    for field, (_, new) in event.details.get("changed", {}).items():
        if not isinstance(new, str):
            continue
        others = names.give_back_taken_name(target=target, field=field, name=new)
        # Renames of other models announce all who had the name.
        if isinstance(target, Subscription):
            for other in Subscription.objects.filter(pk__in=others):
                announce_change(f"“{new}” means “{other}” again", subscription=other, by=by)


def _check_unchanged(event: AuditEvent, target: Any, field: Any, new: Any) -> None:
    """Raise CannotUndo unless the field is as the event left it: a later change would be lost."""
    current = to_audit_json(getattr(target, field.name))
    # Rows compare by number; a JSON value that looks like one is a plain value.
    is_same = (
        _comparable_value(current) == _comparable_value(new)
        if field.is_relation
        else current == new
    )
    if not is_same:
        raise CannotUndo(_changed_meanwhile(event, target, field.name))


def _model_field(target: models.Model, name: str) -> Any:
    """Return the field, or None for an input of the form that is no field of the model."""
    try:
        return target._meta.get_field(name)
    except FieldDoesNotExist:
        return None


def _comparable_value(recorded: Any) -> Any:
    """Reduce recorded rows to their numbers: a name may have changed, which is no obstacle."""
    if isinstance(recorded, dict) and recorded.keys() == {"id", "name"}:
        return recorded["id"]
    if isinstance(recorded, list) and all(isinstance(item, dict) for item in recorded):
        return sorted((_comparable_value(item) for item in recorded), key=str)
    return recorded


def _recorded_rows(model: Any, recorded: list[dict[str, Any]]) -> list[Any]:
    """Return the rows that were recorded as number and name. Raises CannotUndo if one is gone."""
    numbers = [item["id"] for item in recorded]
    rows = list(model._base_manager.filter(pk__in=numbers))
    if len(rows) != len(set(numbers)):
        gone = {item["id"]: item["name"] for item in recorded}
        for row in rows:
            gone.pop(row.pk)
        raise CannotUndo(
            gettext("Deleted meanwhile: %(values)s.") % {"values": ", ".join(gone.values())}
        )
    return rows


def _python_value(field: Any, recorded: Any) -> Any:
    """Return the value of the field that its recorded JSON stands for."""
    if field.is_relation:
        return recorded and recorded["id"]
    if isinstance(field, models.DateTimeField):
        return _parse_optional_datetime(recorded)
    return recorded


def _save_restored(target: Any, lists: dict[str, list[Any]], by: User | None) -> None:
    """Save by the same action as the page of the thing."""
    if isinstance(target, Subscription):
        _validate_target(target)
        subscriptions.change_subscription(subscription=target, by=by)
    elif isinstance(target, Credential):
        holders: list[Subscriber] | None = lists.get("holders")
        credentials.change_credential(credential=target, holders=holders, by=by)
    elif isinstance(target, User):
        _save_restored_login(target, by)
    else:
        _save_and_record(target, lists, by)


def _save_and_record(target: Any, lists: dict[str, list[Any]], by: User | None) -> None:
    """Save the thing, record the change and announce what calls depend on."""
    _validate_target(target)
    before = type(target)._base_manager.get(pk=target.pk)
    changed = {
        field.name: audit_difference(getattr(before, field.name), getattr(target, field.name))
        for field in target._meta.concrete_fields
        if getattr(before, field.attname) != getattr(target, field.attname)
    }
    target.save()
    for name, rows in lists.items():
        changed[name] = audit_difference(getattr(target, name), rows)
        getattr(target, name).set(rows)
    if changed:
        details = {"changed": changed}
        AuditEvent.objects.record(AuditVerb.CHANGED, target=target, by=by, details=details)
    # Calls that use the old name or key are charged anew.
    if names.fields_named_by_calls(model=type(target)) & changed.keys():
        names.reattribute_renamed(target=target, by=by)
    # Only these fields decide which calls a product counts.
    counting = {"sources", "also_without_source", "restricted"}
    if isinstance(target, Product) and counting & changed.keys():
        subscriptions.announce_sources_changed(product=target, by=by)
    if isinstance(target, Source) and "external_key" in changed:
        subscriptions.announce_paths_changed(source=target, by=by)


def _save_restored_login(user: User, by: User | None) -> None:
    """Save the name of a login: other fields have events of their own."""
    before = User.objects.get(pk=user.pk)
    if before.name != user.name:
        changed = {"name": audit_difference(before.name, user.name)}
        users.change_login(user=user, values={"name": user.name}, by=by)
        AuditEvent.objects.record(
            AuditVerb.CHANGED, target=user, by=by, details={"changed": changed}
        )


def _restore_recorded_fields(event: AuditEvent, target: Any, by: User | None) -> dict[str, Any]:
    """Set old values of a login or a membership by the action that changed them.

    Returns the changes for the audit, each `[new, old]`.
    """
    changed: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name, (old, new) in event.details["undo"].items():
        field = target._meta.get_field(name)
        _check_unchanged(event, target, field, new)
        values[name] = _recorded_rows(field.related_model, old) if field.many_to_many else old
        changed[name] = [new, old]
    if isinstance(target, Membership):
        memberships.change_membership_role(membership=target, role=values["role"], by=by)
    else:
        users.change_login(user=target, values=values, by=by)
    return changed


def _validate_target(target: Any) -> None:
    target.full_clean(validate_unique=True)


def _restore_rows(event: AuditEvent, target: Any, by: User | None) -> None:
    """Restore path rules and roles. Other rows shown with a thing have pages of their own."""
    rows = event.details["rows"]
    labels = {model._meta.label_lower for model in RESTORABLE_ROW_MODELS}
    if {row["model"] for row in rows} - labels:
        raise CannotUndo(NOT_UNDOABLE_MESSAGE)
    for row in rows:
        if row["model"] == Membership._meta.label_lower:
            _restore_role(event, target, row, by)
    rules = [row for row in rows if row["model"] == PathRule._meta.label_lower]
    if rules:
        _restore_path_rules(event, target, rules, by)


def _restore_role(
    event: AuditEvent, target: models.Model, row: Mapping[str, Any], by: User | None
) -> None:
    """Give a member the old role, if the new one is still the member's."""
    membership = Membership.objects.filter(pk=row["id"]).first()
    if membership is None or membership.role != row["new"]["role"]:
        raise CannotUndo(_changed_meanwhile(event, target, row["name"]))
    memberships.change_membership_role(membership=membership, role=row["old"]["role"], by=by)


def _restore_path_rules(
    event: AuditEvent, target: Source, rows: list[dict[str, Any]], by: User | None
) -> None:
    """Restore, add and delete path rules of a source, and record it as one change."""
    for row in rows:
        old, new = row["old"], row["new"]
        rule = PathRule.objects.filter(pk=row["id"]).first()
        # An early event does not say whether the rule was on.
        current = {name: getattr(rule, name) for name in new or ()} if rule else None
        if current != new:
            raise CannotUndo(_changed_meanwhile(event, target, row["name"]))
        if rule and old is None:
            rule.delete()
        elif old is not None:
            put_back = rule or PathRule(pk=row["id"], source=target)
            for name in PATH_RULE_FIELDS & old.keys():
                setattr(put_back, name, old[name])
            put_back.save()
    # Recorded like a change by hand, with old and new exchanged, so that it can be undone in turn.
    exchanged = [row | {"old": row["new"], "new": row["old"]} for row in rows]
    AuditEvent.objects.record(AuditVerb.CHANGED, target=target, by=by, details={"rows": exchanged})
    subscriptions.announce_paths_changed(source=target, by=by)


def _changed_meanwhile(event: AuditEvent, target: models.Model, name: str) -> str:
    """Return a sentence on who changed the field after the event."""
    label = name.replace("_", " ")
    since = AuditEvent.objects.about(target).filter(pk__gt=event.pk)
    later = next((each for each in since if name in _changed_names(each)), None)
    if later is None:
        return gettext("“%(label)s” has been changed meanwhile. Change it on its own page.") % {
            "label": label
        }
    by = later.actor or "revcred"
    return gettext("“%(label)s” has been changed meanwhile, by %(by)s at %(moment)s.") % {
        "label": label,
        "by": by,
        "moment": moment_text(later.at),
    }


def _changed_names(event: AuditEvent) -> set[str]:
    undone = event.details.get("undo", ()) if _is_restored_by_field(event) else ()
    return {*event.details.get("changed", ()), *undone} | {
        row["name"] for row in event.details.get("rows", ())
    }


# --- Actions on credentials ---------------------------------------------------------------------


def _restore_assignments(
    event: AuditEvent, credential: Credential, by: User | None
) -> dict[str, Any]:
    """Restore assignments as they were before the event began one, ended one, or both."""
    undo = event.details["undo"]
    at = _parse_datetime(undo["at"])
    changed = {}
    if "began" in undo:
        began = credential.assignments.filter(pk=undo["began"]).first()
        if began is None or (began.active_from, began.active_until) != (at, None):
            raise CannotUndo(_assignment_changed_meanwhile(event, credential))
        changed[f"charged to {began.subscription}"] = [to_audit_json(at), None]
        began.delete()
    if "ended" in undo:
        until, was_from = _parse_optional_datetime(undo["until"]), _parse_datetime(undo["from"])
        ended = credential.assignments.filter(pk=undo["ended"]).first()
        is_as_left = ended.active_until == at if ended else at <= was_from
        if not is_as_left:
            raise CannotUndo(_assignment_changed_meanwhile(event, credential))
        subscription = Subscription.objects.filter(pk=undo["subscription"]).first()
        if subscription is None:
            raise CannotUndo(gettext("The subscription no longer exists."))
        ended = ended or Assignment(
            # The old number, so that earlier events about the assignment still find it.
            pk=undo["ended"],
            customer_id=credential.customer_id,
            credential=credential,
            subscription=subscription,
            active_from=was_from,
        )
        changed[f"until, of {subscription}"] = audit_difference(ended.active_until and at, until)
        ended.active_until = until
        ended.save()
    cause = _cause_of_undoing(event)
    announce_change(cause, credential=credential, since=at, by=by)
    return changed


def _restore_key_end(event: AuditEvent, credential: Credential, by: User | None) -> dict[str, Any]:
    """Restore the end of a key, or withdraw an alias that was added."""
    undo = event.details["undo"]
    key = credential.keys.filter(pk=undo["key"]).first()
    if key is None:
        raise CannotUndo(NO_LONGER_THERE_MESSAGE)
    old, new = map(_parse_optional_datetime, undo["until"])
    if key.active_until != new:
        raise CannotUndo(gettext("When %(key)s ends has been changed meanwhile.") % {"key": key})
    if undo.get("withdraw"):
        credentials.end_key(key=key, at=key.active_from, by=by)
        return {}
    if credential.revoked_at:
        raise CannotUndo(gettext("The credential has been revoked meanwhile."))
    since = min(filter(None, (old, new)), default=None)
    return _reopen_key(key, old, since=since, event=event, by=by)


def _reopen_key(
    key: ExternalKey,
    until: datetime | None,
    *,
    since: datetime | None,
    event: AuditEvent,
    by: User | None,
) -> dict[str, Any]:
    """Set the key's former end, and announce the calls in between, which are later than `since`."""
    before, key.active_until = key.active_until, until
    key.save(update_fields=["active_until"])
    announce_change(_cause_of_undoing(event), credential=key.credential, since=since, by=by)
    return {"until": audit_difference(before, until)}


def _lift_suspension(event: AuditEvent, credential: Credential, by: User | None) -> dict[str, Any]:
    """Remove a suspension as if it had never been, and attribute what waits since."""
    suspension = _suspension_of(event, credential)
    if suspension.active_until is not None:
        raise CannotUndo(gettext("It has been resumed meanwhile."))
    # It took the place of a subscriber's suspension, which holds again.
    if event.details["undo"].get("was_by_subscriber"):
        suspension.by_subscriber = True
        suspension.save(update_fields=["by_subscriber"])
        return {"by_subscriber": [False, True]}
    since = suspension.active_from
    suspension.delete()
    announce_change(_cause_of_undoing(event), credential=credential, since=since, by=by)
    return {"suspended": [to_audit_json(since), None]}


def _restore_suspension(
    event: AuditEvent, credential: Credential, by: User | None
) -> dict[str, Any]:
    """Set the former end of a suspension; calls attributed since then go to quarantine."""
    suspension = _suspension_of(event, credential)
    old, new = map(_parse_optional_datetime, event.details["undo"]["until"])
    if suspension.active_until != new:
        raise CannotUndo(gettext("The suspension has been changed meanwhile."))
    suspension.active_until = old
    suspension.save(update_fields=["active_until"])
    announce_change(_cause_of_undoing(event), credential=credential, since=new, by=by)
    return {"until, of the suspension": audit_difference(new, old)}


def _suspension_of(event: AuditEvent, credential: Credential) -> Suspension:
    number = event.details["undo"]["suspension"]
    suspension = credential.suspensions.filter(pk=number).first()
    if suspension is None:
        raise CannotUndo(NO_LONGER_THERE_MESSAGE)
    return suspension


def _assignment_changed_meanwhile(event: AuditEvent, credential: Credential) -> str:
    """Return a sentence on who changed the assignments after the event."""
    verbs = (
        AuditVerb.ASSIGNED,
        AuditVerb.MOVED,
        AuditVerb.UNASSIGNED,
        AuditVerb.UNDONE,
        AuditVerb.APPLIED,
    )
    since = AuditEvent.objects.about(credential).filter(pk__gt=event.pk, verb__in=verbs)
    later = since.last()  # the first after it: events are ordered from the newest
    if later is None:
        return gettext(
            "Its subscriptions have been changed meanwhile. Change them on its own page."
        )
    by = later.actor or "revcred"
    return gettext("Its subscriptions have been changed meanwhile, by %(by)s at %(moment)s.") % {
        "by": by,
        "moment": moment_text(later.at),
    }


def _parse_datetime(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _parse_optional_datetime(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


# Actions that keep what undoing needs in `details["undo"]`. CHANGED is undone field by field.
_RESTORE_BY_VERB: Mapping[str, Callable[[AuditEvent, Any, User | None], dict[str, Any]]] = {
    AuditVerb.MOVED: _restore_assignments,
    AuditVerb.ASSIGNED: _restore_assignments,
    AuditVerb.UNASSIGNED: _restore_assignments,
    AuditVerb.KEY_ENDED: _restore_key_end,
    AuditVerb.KEY_EXTENDED: _restore_key_end,
    AuditVerb.ALIAS_ADDED: _restore_key_end,
    AuditVerb.SUSPENDED: _lift_suspension,
    AuditVerb.RESUMED: _restore_suspension,
    AuditVerb.ROLE_CHANGED: _restore_recorded_fields,
    AuditVerb.ACTIVATED: _restore_recorded_fields,
    AuditVerb.DEACTIVATED: _restore_recorded_fields,
    AuditVerb.RIGHTS_CHANGED: _restore_recorded_fields,
    AuditVerb.MADE_STAFF: _restore_recorded_fields,
    AuditVerb.MADE_SUPERUSER: _restore_recorded_fields,
}
