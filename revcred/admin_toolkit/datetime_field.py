"""Form fields for points in time, in UTC and to the second."""

from typing import Any

from django import forms

from revcred.admin_toolkit.generic import ModelForm


class UtcDateTimeInput(forms.DateTimeInput):
    """The browser's own picker. It shows and sends UTC, like all pages."""

    # Without a zone: the browser shows and sends exactly the digits of UTC.
    input_type = "datetime-local"
    supports_microseconds = False

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs={"step": "1"} | (attrs or {}), format="%Y-%m-%dT%H:%M:%S")


class UtcDateTimeField(forms.DateTimeField):
    """A point in time, typed in UTC."""

    widget = UtcDateTimeInput


class KeepsMicrosecondsForm(ModelForm):
    """Keeps the microseconds of an unchanged point in time, which its input does not show."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name, field in self.fields.items():
            if isinstance(field, UtcDateTimeField) and name not in self.changed_data:
                cleaned[name] = getattr(self.instance, name)
        return cleaned
