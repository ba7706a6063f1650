"""Protection against saves from an old tab.

Each form carries a version of all that it shows. A save whose version is outdated is not carried
out.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from django.contrib.admin.utils import label_for_field
from django.db import models
from django.forms import model_to_dict
from django.http import HttpRequest
from django.utils.text import capfirst
from django.utils.translation import gettext

from revcred.models import AuditEvent
from revcred.models.audit import to_audit_json
from revcred.time_zones import moment_with_zone

VERSION_FIELD = "_version"
MAX_EVENTS_SEARCHED = 50  # of those since the form was opened


def form_version(model_admin: Any, request: HttpRequest, obj: models.Model) -> str:
    """Return the version of a form: digests of its values, and the id of the last event."""
    last = AuditEvent.objects.about(obj).values_list("pk", flat=True).first()
    version = {"event": last or 0, "values": _value_digests(model_admin, request, obj)}
    return urlsafe_b64encode(json.dumps(version).encode()).decode()


def changes_since_version(model_admin: Any, request: HttpRequest, obj: models.Model) -> list[str]:
    """Return sentences on what was changed since the posted form was opened."""
    posted = request.POST.get(VERSION_FIELD)
    if posted is None:
        return []
    event, before = _parse_version(posted)
    now = _value_digests(model_admin, request, obj)
    changed = [name for name in now if before.get(name) != now[name]]
    # Ids grow with time, so later events have greater ones.
    since = list(AuditEvent.objects.about(obj).filter(pk__gt=event)[:MAX_EVENTS_SEARCHED])
    return [_change_in_words(model_admin, obj, name, since) for name in changed]


def _parse_version(posted: str) -> tuple[int, dict[str, str]]:
    """Return event id and digests of a posted version. An unreadable one differs in everything."""
    try:
        version = json.loads(urlsafe_b64decode(posted.encode()))
        return int(version["event"]), dict(version["values"])
    except (ValueError, TypeError, KeyError):
        return 0, {}


def _value_digests(model_admin: Any, request: HttpRequest, obj: models.Model) -> dict[str, str]:
    """Return a digest for each field of the form, and one for each kind of rows with it."""
    form = model_admin.get_form(request, obj, change=True)
    own = model_to_dict(obj, fields=list(form.base_fields))
    values = {name: _value_digest(value) for name, value in own.items()}
    # Rows of inlines are part of the form: somebody may have added one.
    for formset, inline in model_admin.get_formsets_with_inlines(request, obj):
        rows = inline.get_queryset(request).filter(**{formset.fk.name: obj}).order_by("pk")
        fields = list(formset.form.base_fields)
        values[_rows_name(inline.model)] = _value_digest(
            [[row.pk, model_to_dict(row, fields=fields)] for row in rows]
        )
    return values


def _rows_name(model: type[models.Model]) -> str:
    return f"rows of {model._meta.label_lower}"


def _value_digest(value: Any) -> str:
    text = json.dumps(to_audit_json(value), sort_keys=True)
    # Short, since only a comparison with the same form of the same thing has to be safe.
    return sha256(text.encode()).hexdigest()[:12]


def _change_in_words(
    model_admin: Any, obj: models.Model, name: str, since: Iterable[AuditEvent]
) -> str:
    """Return a sentence on a change, with person and time if an event tells them."""
    label = _field_label(model_admin, obj, name)
    for event in since:
        changed, rows = event.details.get("changed", {}), event.details.get("rows", [])
        if name in changed or any(name == f"rows of {row['model']}" for row in rows):
            by = event.actor or "revcred"
            return gettext("“%(label)s” was changed by %(by)s at %(moment)s.") % {
                "label": label,
                "by": by,
                "moment": moment_with_zone(event.at, seconds=True),
            }
    return gettext("“%(label)s” was changed.") % {"label": label}


def _field_label(model_admin: Any, obj: models.Model, name: str) -> str:
    """Return what the page calls the field or the kind of rows."""
    for formset in model_admin.inlines:
        if name == _rows_name(formset.model):
            return capfirst(str(formset.model._meta.verbose_name_plural))
    if name.startswith("rows of "):
        return name.removeprefix("rows of ")
    return capfirst(str(label_for_field(name, type(obj), model_admin)))
