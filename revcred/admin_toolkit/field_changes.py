"""Old and new values of a saved form, field by field, as an audit event keeps them."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib.auth.forms import ReadOnlyPasswordHashField
from django.db import models
from django.forms.formsets import DELETION_FIELD_NAME
from django.utils.translation import gettext_noop

from revcred.models.audit import audit_difference, to_audit_json

# Values of these fields are never recorded; those of password inputs are not either.
CONCEALED_FIELD_NAMES = {"password", "password1", "password2", "usable_password", "key", "secret"}
CONCEALED_VALUE = gettext_noop("not shown")


def form_changes(
    form: Any, formsets: Iterable[Any] = (), *, is_new: bool = False
) -> dict[str, Any]:
    """Return `changed` and `rows` of an event's details (see `AuditEvent`), empty if nothing
    changed.
    """
    changed = {name: _field_difference(form, name, is_new=is_new) for name in form.changed_data}
    rows = [row for formset in formsets for row in _formset_rows(formset)]
    return ({"changed": changed} if changed else {}) | ({"rows": rows} if rows else {})


def last_values_of(obj: models.Model) -> dict[str, Any]:
    """Return the values of a row that is being deleted, without sealed ones."""
    fields = [
        field
        for field in obj._meta.concrete_fields
        if not field.primary_key and not _is_sealed_field(field)
    ]
    return {
        "changed": {
            field.name: [CONCEALED_VALUE, None]
            if field.name in CONCEALED_FIELD_NAMES
            else audit_difference(getattr(obj, field.name), None)
            for field in fields
            if getattr(obj, field.attname) not in (None, "", [], {})
        }
    }


def is_concealed_field(name: str, field: forms.Field) -> bool:
    """Return True if no event may keep the field's value, such as a password."""
    return (
        name in CONCEALED_FIELD_NAMES
        or isinstance(field, ReadOnlyPasswordHashField)
        or isinstance(field.widget, forms.PasswordInput)
    )


def _is_sealed_field(field: Any) -> bool:
    return isinstance(field, models.BinaryField) or "Sealed" in type(field).__name__


def _field_difference(form: Any, name: str, *, is_new: bool) -> list[Any]:
    """Return the old and the new value of one field, or two placeholders."""
    field = form.fields[name]
    # That it changed is recorded, but never the values.
    if is_concealed_field(name, field):
        return [CONCEALED_VALUE, CONCEALED_VALUE]
    old = None if is_new else _initial_row(field, form.get_initial_for_field(field, name))
    return audit_difference(old, form.cleaned_data.get(name))


def _initial_row(field: forms.Field, value: Any) -> Any:
    """Return the row whose id is the initial value, or the list of rows."""
    if isinstance(field, forms.ModelMultipleChoiceField):
        return list(value or [])
    if isinstance(field, forms.ModelChoiceField) and value not in (None, ""):
        if isinstance(value, models.Model):
            return value
        name = field.to_field_name or "pk"
        rows: Any = field.queryset
        return rows.model._base_manager.filter(**{name: value}).first()
    return value


def _formset_rows(formset: Any) -> list[dict[str, Any]]:
    """Return each row that was added, changed or deleted with the form."""
    rows = []
    # Compared by identity: a deleted row has lost its id by now.
    touched = {
        *map(id, formset.new_objects),
        *(id(obj) for obj, _ in formset.changed_objects),
        *map(id, formset.deleted_objects),
    }
    added, deleted = {*map(id, formset.new_objects)}, {*map(id, formset.deleted_objects)}
    for form in formset.forms:
        obj = form.instance
        if id(obj) not in touched:
            continue
        # Django clears the id of a deleted row; the form still knows it.
        number = form.fields[formset._pk_field.name].initial  # noqa: SLF001 - Django's own name
        rows.append(
            {
                "model": formset.model._meta.label_lower,
                "id": number or obj.pk,
                "name": str(obj)[:300],
                "old": None if id(obj) in added else _old_values(formset, form),
                "new": None if id(obj) in deleted else _new_values(formset, form),
            }
        )
    return rows


def _old_values(formset: Any, form: Any) -> dict[str, Any]:
    return {
        name: to_audit_json(_initial_row(field, form.get_initial_for_field(field, name)))
        for name, field in _recorded_fields(formset, form)
    }


def _new_values(formset: Any, form: Any) -> dict[str, Any]:
    return {
        name: to_audit_json(form.cleaned_data.get(name))
        for name, _ in _recorded_fields(formset, form)
    }


def _recorded_fields(formset: Any, form: Any) -> list[tuple[str, forms.Field]]:
    """Return the fields of a row's form, without parent, id and delete box."""
    others = {formset.fk.name, formset._pk_field.name, DELETION_FIELD_NAME}  # noqa: SLF001
    return [
        (name, field)
        for name, field in form.fields.items()
        if name not in others and not is_concealed_field(name, field)
    ]
