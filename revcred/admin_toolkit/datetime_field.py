"""Form fields for points in time, in the zone of the page and to the second."""

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from revcred.admin_toolkit.generic import ModelForm


class MomentInput(forms.DateTimeInput):
    """The browser's own picker. It shows and sends the digits of the page's zone."""

    input_type = "datetime-local"
    supports_microseconds = False

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs={"step": "1"} | (attrs or {}), format="%Y-%m-%dT%H:%M:%S")

    def render(self, *args: Any, **kwargs: Any) -> SafeString:
        """Return the input with the name of the zone that its digits are of."""
        zone = timezone.get_current_timezone_name()
        return format_html('{} <span class="zone">{}</span>', super().render(*args, **kwargs), zone)


class MomentField(forms.DateTimeField):
    """A point in time, typed in the zone of the page and returned in UTC.

    Digits that a clock shows twice, as in the night that summer time ends, mean the first time.
    """

    widget = MomentInput

    def to_python(self, value: Any) -> datetime | None:
        zone = timezone.get_current_timezone()
        with timezone.override(UTC):
            typed: datetime | None = super().to_python(value)  # its digits, without rules of a zone
        if typed is None or isinstance(value, datetime) or typed.tzinfo is not UTC:
            return typed and typed.astimezone(UTC)  # it came with its zone
        try:
            moment = typed.replace(tzinfo=zone).astimezone(UTC)
        except OverflowError:  # of the first day of all
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None
        if moment.astimezone(zone).replace(tzinfo=None) != typed.replace(tzinfo=None):
            message = gettext("No clock shows this time: it is left out where summer time begins.")
            raise forms.ValidationError(message)
        return moment

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare the digits, too: those that a clock shows twice stay the moment that they are."""
        if not super().has_changed(initial, data) or not isinstance(initial, datetime):
            return super().has_changed(initial, data)
        shown = timezone.localtime(initial).replace(microsecond=0, tzinfo=None)
        return parse_datetime(str(data)) != shown


class KeepsMicrosecondsForm(ModelForm):
    """Keeps the microseconds of an unchanged point in time, which its input does not show."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name, field in self.fields.items():
            if isinstance(field, MomentField) and name not in self.changed_data:
                cleaned[name] = getattr(self.instance, name)
        return cleaned
