"""Template filters for audit events."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django import template
from django.utils.translation import gettext

from revcred.actions import undoing
from revcred.models import AuditEvent
from revcred.models.audit import REQUEST_ID_DETAIL
from revcred.texts import grouped
from revcred.time_zones import moment_text

register = template.Library()

# For undoing only, and for finding lines of the log; an event's own page shows the latter.
HIDDEN_DETAILS = ("undo", REQUEST_ID_DETAIL)
NO_VALUE_TEXT = "\N{EN DASH}"
MAX_LISTED_VALUES = 20


@register.filter
def event_details(event: AuditEvent) -> list[tuple[str, str]]:
    """Return the details of an event as pairs of name and text, such as "old → new"."""
    return list(_detail_pairs(event.details))


def _detail_pairs(details: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a pair for each detail, each changed field and each changed row."""
    for name, value in details.items():
        if name in HIDDEN_DETAILS:
            continue
        # Events of early versions kept field names only, as a list.
        if name == "changed" and isinstance(value, dict):
            yield from _difference_pairs(value)
        elif name == "rows":
            for row in value:
                yield _row_pair(row)
        else:
            yield gettext(name.replace("_", " ")), _value_in_words(value)


def restored_values(event: AuditEvent) -> list[tuple[str, str]]:
    """Return pairs for fields that undoing sets but `event_details` has no values of."""
    fields = undoing.restored_field_names(event) - {*(event.details.get("changed") or ())}
    return list(_difference_pairs({name: event.details["undo"][name] for name in sorted(fields)}))


def _difference_pairs(changed: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name of each changed field with its values, as "old → new"."""
    for field, (old, new) in changed.items():
        yield (
            gettext(field.replace("_", " ")),
            f"{_value_in_words(old) or NO_VALUE_TEXT} → {_value_in_words(new) or NO_VALUE_TEXT}",
        )


def _row_pair(row: dict[str, Any]) -> tuple[str, str]:
    old, new = (_fields_in_words(row[side]) or NO_VALUE_TEXT for side in ("old", "new"))
    return f"{gettext(row['model'].rpartition('.')[2])} “{row['name']}”", f"{old} → {new}"


def _fields_in_words(values: dict[str, Any] | None) -> str:
    return ", ".join(f"{name}: {_value_in_words(value)}" for name, value in (values or {}).items())


@register.filter
def may_be_undone(event: AuditEvent) -> bool:
    """Return True if the event itself is no obstacle to undoing it."""
    return undoing.undo_obstacle(event) is None


def _value_in_words(value: Any) -> str:
    if isinstance(value, list):
        more = (
            gettext(", … (%(count)s in all)") % {"count": grouped(len(value))}
            if len(value) > MAX_LISTED_VALUES
            else ""
        )
        return ", ".join(map(_value_in_words, value[:MAX_LISTED_VALUES])) + more
    if isinstance(value, dict):
        return str(value["name"]) if value.keys() == {"id", "name"} else _fields_in_words(value)
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    return "" if value is None else _datetime_or_text(str(value))


def _datetime_or_text(value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    # A name or id may look like a date; recorded datetimes always have a zone.
    if not moment.tzinfo:
        return value
    return moment_text(moment, seconds=bool(moment.second))
