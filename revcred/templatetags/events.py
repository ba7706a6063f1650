from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django import template

from revcred.actions import undoing
from revcred.models import AuditEvent

register = template.Library()

NOT_SAID = ("undo",)  # what only undoing needs
NOTHING = "\N{EN DASH}"
LISTED = 20  # of a long list


@register.filter
def said(event: AuditEvent) -> list[tuple[str, str]]:
    """The details of an event as one reads them aloud: of a changed field "old → new"."""
    return list(_said(event.details))


def _said(details: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in details.items():
        if name in NOT_SAID:
            continue
        if name == "changed" and isinstance(value, dict):
            for field, (old, new) in value.items():
                yield (
                    field.replace("_", " "),
                    f"{_aloud(old) or NOTHING} → {_aloud(new) or NOTHING}",
                )
        elif name == "rows":
            for row in value:
                yield _row(row)
        else:
            yield name.replace("_", " "), _aloud(value)


def _row(row: dict[str, Any]) -> tuple[str, str]:
    old, new = (_fields(row[side]) or NOTHING for side in ("old", "new"))
    return f"{row['model'].rpartition('.')[2]} “{row['name']}”", f"{old} → {new}"


def _fields(values: dict[str, Any] | None) -> str:
    return ", ".join(f"{name}: {_aloud(value)}" for name, value in (values or {}).items())


@register.filter
def may_be_undone(event: AuditEvent) -> bool:
    return undoing.obstacle_of(event) is None


def _aloud(value: Any) -> str:
    if isinstance(value, list):
        more = f", … ({len(value):,} in all)" if len(value) > LISTED else ""
        return ", ".join(map(_aloud, value[:LISTED])) + more
    if isinstance(value, dict):
        return str(value["name"]) if value.keys() == {"id", "name"} else _fields(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else _moment_or_text(str(value))


def _moment_or_text(value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    if not moment.tzinfo:
        return value
    moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment.second else f"{moment:%Y-%m-%d %H:%M}"
