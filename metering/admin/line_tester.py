"""The page at a gateway that shows what a format makes of pasted lines. They are stored nowhere."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from django import forms
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from metering import actions
from metering.admin.line_recipes import recipe_of
from metering.api.line_formats.choosing import (
    UnknownFormat,
    format_choices,
    format_named,
    name_of_format,
)
from metering.api.line_formats.compiled import CompiledFormat
from metering.api.line_formats.definition import (
    MAX_DEFINITION_BYTES,
    FormatDefinition,
    InvalidDefinition,
    check_speed,
    definition_as_text,
    parse_definition,
)
from metering.api.line_formats.trying import TriedLines, count_read_facts, try_lines
from metering.api.transactions import AcceptanceWindow
from metering.models import LineFormat
from metering.recent_calls import calls_reported_lately
from revcred.admin_toolkit import confirmation
from revcred.admin_toolkit.action_pages import ActionForm
from revcred.admin_toolkit.lists import parse_id
from revcred.api.errors import BodyTooLarge, MalformedRequest
from revcred.models import Gateway, Subscription, User

MAX_LINES = 20
MAX_CHARACTERS = 200_000
DRAFT_NAME = "draft"
MAX_VERSIONS_SHOWN = 10


class DefinitionField(forms.CharField):
    """Takes the definition of a format as JSON."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.Textarea(
            attrs={"rows": 16, "spellcheck": "false", "class": "vLargeTextField"}
        )
        super().__init__(max_length=MAX_DEFINITION_BYTES, widget=widget, **kwargs)

    def clean(self, value: Any) -> FormatDefinition | None:
        text = super().clean(value)
        if not text:
            return None
        try:
            definition = parse_definition(text)
            check_speed(definition)
        except InvalidDefinition as error:
            raise forms.ValidationError(str(error)) from error
        return definition


class TryLinesForm(forms.Form):
    """Asks for lines, and for the format to read them by."""

    lines = forms.CharField(
        max_length=MAX_CHARACTERS,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "class": "vLargeTextField"}),
        help_text=f"Up to {MAX_LINES} lines of the gateway's log, or a body that it posts. They are"
        " not stored.",
    )
    line_format = forms.ChoiceField(label="Format")
    definition = DefinitionField(
        required=False,
        label="Or a definition",
        help_text="JSON, read instead of the format above. Save it once it fits.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["line_format"]
        field.choices = format_choices()

    def clean_lines(self) -> str:
        lines: str = self.cleaned_data["lines"]
        if sum(not line.isspace() for line in lines.splitlines(keepends=True)) > MAX_LINES and (
            not lines.lstrip().startswith(("[", "{"))
        ):
            message = f"Paste up to {MAX_LINES} lines."
            raise forms.ValidationError(message)
        return lines

    def chosen(self) -> CompiledFormat:
        """Return the definition that was typed, or else the format that was chosen."""
        definition = self.cleaned_data["definition"]
        if definition is not None:
            return CompiledFormat(DRAFT_NAME, 0, definition)
        return format_named(self.cleaned_data["line_format"])


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The format that reads most facts of the lines, if another one was tried."""

    name: str
    title: str
    facts: int
    facts_of_chosen: int


class SaveFormatForm(ActionForm):
    """Save a definition as a version of an own format, and let this gateway have it."""

    title = "Save a format"
    button = "Save this format"
    explanation = (
        "A format of your own reads the lines of every gateway that has it, by its latest version."
        " Each change is a new version, and calls name the one that read them."
    )
    field_errors = {  # noqa: RUF012 - as the base class has it
        actions.NameOfBuiltInFormat: ("name", ""),
        actions.SavedMeanwhile: (None, ""),
    }

    name = forms.SlugField(max_length=50, help_text="Small letters, digits and hyphens.")
    definition = DefinitionField()
    for_gateway = forms.BooleanField(
        required=False, initial=True, label="This gateway has it from now on"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.is_bound:
            self._begin_with_base()

    def _begin_with_base(self) -> None:
        """Begin with the definition of the format that the page was opened for."""
        name = str(self.initial.get("base") or name_of_format(self.target))
        version = parse_id(str(self.initial.get("version") or ""))
        saved = LineFormat.objects.filter(name=name)
        chosen = saved.filter(version=version).first() if version else None
        if chosen:
            text = msgspec.json.format(msgspec.json.encode(chosen.definition), indent=2).decode()
        else:
            try:
                text = definition_as_text(format_named(name).definition)
            except UnknownFormat:
                text = ""
        own_name = name if saved.exists() else f"own-{name}"
        begin = {"name": own_name, "definition": text, "for_gateway": True}
        self.initial = {**begin, **self.initial}

    def effects(self) -> list[confirmation.Effect]:
        data = self.cleaned_data
        gateways = set(Gateway.objects.filter(line_format=data["name"]))
        if data["for_gateway"]:
            gateways.add(self.target)
        if not gateways:
            return []
        names = ", ".join(sorted(each.name for each in gateways))
        sentence = (
            f"From now on, lines of {names} are read by it. Those that do not fit are rejected."
        )
        return [confirmation.effect(sentence, calls_reported_lately(self.target))]

    def perform(self, by: User) -> str:
        data = self.cleaned_data
        saved = actions.save_line_format(
            name=data["name"],
            definition=data["definition"],
            gateway=self.target if data["for_gateway"] else None,
            by=by,
        )
        return f"The format {saved.name}, version {saved.version}, has been saved."


@never_cache
@sensitive_post_parameters("lines")
def lines_page(request: HttpRequest, site: Any, gateway: Gateway) -> HttpResponse:
    """Show the form, and after a POST what would become of each line. Nothing is written."""
    data: Any = request.POST.copy() if request.method == "POST" else None
    if data is not None and data.get("propose"):
        data["line_format"], data["definition"] = data["propose"], ""
    form = TryLinesForm(data, initial={"line_format": name_of_format(gateway)})
    context = site.each_context(request) | {
        "title": "Try lines",
        "subtitle": None,
        "opts": Gateway._meta,
        "original": gateway,
        "form": form,
        "recipe": recipe_of(gateway, request.build_absolute_uri("/").rstrip("/")),
        "current": name_of_format(gateway),
        "versions": LineFormat.objects.filter(name=gateway.line_format)[:MAX_VERSIONS_SHOWN],
    }
    if form.is_bound and form.is_valid():
        context |= _tried(form, gateway)
    return TemplateResponse(request, "admin/metering/lines.html", context)


def _tried(form: TryLinesForm, gateway: Gateway) -> Mapping[str, Any]:
    """Return what the page shows of the lines."""
    text, window = form.cleaned_data["lines"], AcceptanceWindow.for_gateway(gateway, timezone.now())
    try:
        chosen = form.chosen()
        tried = try_lines(text, chosen, gateway, window)
        proposal = _proposal(text, chosen, window)
    except (MalformedRequest, BodyTooLarge) as error:
        form.add_error("lines", str(error.detail))
        return {}
    except UnknownFormat:
        form.add_error("line_format", "This format does not exist any more. Choose another one.")
        return {}
    calls = [each for line in tried.lines for each in line.calls]
    numbers = {each.verdict.subscription_id for each in calls if not each.verdict.reason}
    found = Subscription.objects.select_related("customer").in_bulk([n for n in numbers if n])
    return {
        "tried": tried,
        "rows": list(_rows(tried, found)),
        "proposal": proposal,
        "tried_format": None if chosen.name == DRAFT_NAME else chosen,
        "definition_text": definition_as_text(chosen.definition),
        "save_url": _save_url(gateway, chosen),
        "counts": {
            "taken": len(calls),
            "ignored": sum(not line.calls and not line.rejected for line in tried.lines),
            "rejected": sum(len(line.rejected) for line in tried.lines),
        },
    }


def _rows(
    tried: TriedLines, subscriptions: Mapping[Any, Subscription]
) -> Iterator[Mapping[str, Any]]:
    for line in tried.lines:
        for each in line.calls:
            verdict = each.verdict
            yield {
                "number": line.number,
                "tried": each,
                "subscription": None
                if verdict.reason
                else subscriptions.get(verdict.subscription_id),
                "reason": verdict.reason.label if verdict.reason else "",
            }
        yield from ({"number": line.number, "rejection": each} for each in line.rejected)
        if not line.calls and not line.rejected:
            yield {"number": line.number}


def _proposal(text: str, chosen: CompiledFormat, window: AcceptanceWindow) -> Proposal | None:
    """Return the format that reads more facts of the lines than the chosen one, if any does."""
    own = count_read_facts(text, chosen, window)
    best: Proposal | None = None
    for name, title in format_choices():
        facts = count_read_facts(text, format_named(name), window)
        if facts > (best.facts if best else own):
            best = Proposal(name=name, title=title, facts=facts, facts_of_chosen=own)
    return best


def _save_url(gateway: Gateway, chosen: CompiledFormat) -> str:
    address = reverse("admin:revcred_gateway_save-format", args=[gateway.pk])
    base = "" if chosen.name == DRAFT_NAME else chosen.name
    return f"{address}?{urlencode({'base': base})}" if base else address
