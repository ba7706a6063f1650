"""Admin pages of credentials."""

from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.views.decorators.http import require_POST

from revcred import hooks, pasting
from revcred.actions import credentials, memberships, mistakes
from revcred.admin import leaks
from revcred.admin.credential_actions import (
    AddAliasForm,
    AssignSubscriptionForm,
    DeleteMistakeForm,
    EndKeyForm,
    IssueCredentialForm,
    MoveCredentialForm,
    ResumeCredentialForm,
    RevokeCredentialForm,
    RotateCredentialForm,
    SuspendCredentialForm,
    UnassignSubscriptionForm,
    holders_not_members_in_words,
    may_add_members,
    unseen_key_in_words,
)
from revcred.admin.credential_filters import (
    AssignedProductFilter,
    AssignedSubscriptionFilter,
    BoundGatewayFilter,
    ChargedFilter,
    EnvironmentFilter,
    ExpiresBeforeFilter,
    FingerprintFilter,
    HolderFilter,
    NeverUsedFilter,
    OldKeyFilter,
    StateFilter,
    UnusedSinceFilter,
    parse_fingerprint,
)
from revcred.admin.customers import CustomerFilter
from revcred.admin.selections import CREDENTIAL_SELECTIONS
from revcred.admin_toolkit import confirmation, search
from revcred.admin_toolkit.action_pages import ActionForm
from revcred.admin_toolkit.audited import may_undo_changes, undone_event_ids
from revcred.admin_toolkit.badges import BadgeTone, badge
from revcred.admin_toolkit.datetime_field import KeepsMicrosecondsForm
from revcred.admin_toolkit.filters import TagFilter
from revcred.admin_toolkit.selections import SelectionMixin
from revcred.admin_toolkit.site_search import MAX_HITS_PER_KIND, SearchHit, SearchTerm
from revcred.fingerprints import fingerprint
from revcred.languages import within_sentence
from revcred.models import (
    Assignment,
    AuditEvent,
    Credential,
    ExternalKey,
    Subscriber,
    User,
)
from revcred.texts import gettext_lazy, number_of
from revcred.time_zones import moment_text, moment_with_zone

CredentialState = Credential.State

# Yellow needs somebody's attention, grey does not, red is final.
CREDENTIAL_STATE_TONES: dict[Credential.State, BadgeTone] = {
    CredentialState.ACTIVE: "good",
    CredentialState.SUSPENDED: "warn",
    CredentialState.EXPIRED: "over",
    CredentialState.REVOKED: "bad",
}
MAX_EVENTS_SHOWN = 20
MAX_PERIODS_SHOWN = 100


def key_period_in_words(key: ExternalKey) -> str:
    """Return kind, end and period of a key, such as `key …eisw since 2026-01-01 08:00 UTC`."""
    at = gettext(" at %(gateway)s") % {"gateway": key.gateway} if key.gateway else ""
    if key.active_until is None:
        return gettext("%(key)s%(at)s since %(moment)s") % {
            "key": key,
            "at": at,
            "moment": moment_with_zone(key.active_from),
        }
    until = moment_with_zone(key.active_until)
    return gettext("%(key)s%(at)s since %(moment)s until %(until)s") % {
        "key": key,
        "at": at,
        "moment": moment_text(key.active_from),
        "until": until,
    }


class CredentialForm(KeepsMicrosecondsForm):
    """Edits a credential's plain fields and its holders."""

    actor: User
    joining: list[Subscriber]  # holders who would become members

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        self.joining = []
        if "holders" in self.changed_data:
            self.joining = credentials.holders_not_members(
                customer=self.instance.customer, holders=cleaned.get("holders") or ()
            )
        if self.joining and not may_add_members(self.actor):
            self.add_error("holders", holders_not_members_in_words(self.joining))
        return cleaned

    def clean_name(self) -> str:
        """Check the name here: the customer, which the constraint includes, is no field."""
        name = str(self.cleaned_data["name"])
        same = Credential.objects.filter(
            customer=self.instance.customer_id, name=name, revoked_at=self.instance.revoked_at
        )
        if same.exclude(pk=self.instance.pk).exists():
            self.add_error("name", gettext("This customer has a credential of this name already."))
        return name


@admin.register(Credential)
class CredentialAdmin(SelectionMixin):
    """Credentials: issued, rotated, assigned and revoked by actions; plain fields are edited."""

    form = CredentialForm
    list_display = ("name", "customer", "keys", "charged_to", "environment", "state", "last_used")
    list_select_related = ("customer",)
    list_filter = (
        FingerprintFilter,
        StateFilter,
        CustomerFilter,
        AssignedProductFilter,
        AssignedSubscriptionFilter,
        HolderFilter,
        TagFilter,
        EnvironmentFilter,
        BoundGatewayFilter,
        ExpiresBeforeFilter,
        UnusedSinceFilter,
        NeverUsedFilter,
        OldKeyFilter,
        ChargedFilter,
    )
    unindexed_parameters = frozenset({"unused_since", "never_used", "charged"})
    indexed_parameters = frozenset({"customer", "subscription", "holder", "fingerprint"})
    more_columns = ("tags", "expires_at", "public_id", "created_at", "revoked_at")
    search_fields = ("name",)
    search_help_text = gettext_lazy(
        "A whole key, its last four characters, a holder's e-mail address, or words of a"
        " name, customer or subscription. Keys are kept out of the address."
    )
    fields = ("name", "holders", "environment", "tags", "expires_at")
    autocomplete_fields = ("holders",)
    change_list_template = "admin/revcred/credential/change_list.html"
    change_form_template = "admin/revcred/credential/change_form.html"
    selection_forms = CREDENTIAL_SELECTIONS
    action_forms: ClassVar[dict[str, type[ActionForm]]] = {
        "add-alias": AddAliasForm,
        "rotate": RotateCredentialForm,
        "suspend": SuspendCredentialForm,
        "resume": ResumeCredentialForm,
        "revoke": RevokeCredentialForm,
        "delete-mistake": DeleteMistakeForm,
        "move": MoveCredentialForm,
        "assign": AssignSubscriptionForm,
        "unassign": UnassignSubscriptionForm,
        "end-key": EndKeyForm,
    }

    @admin.display(description=gettext_lazy("keys"))
    def keys(self, credential: Any) -> str:
        return format_html_join(" ", "<code>…{}</code>", ((k.hint,) for k in credential.now_keys))

    @admin.display(description=gettext_lazy("charged to"))
    def charged_to(self, credential: Any) -> str:
        return ", ".join(str(each.subscription) for each in credential.now_assignments)

    @admin.display(description=gettext_lazy("state"))
    def state(self, credential: Any) -> str:
        state = credential.state_at(timezone.now(), suspended=credential.suspended)
        return badge(within_sentence(state.label), CREDENTIAL_STATE_TONES[state])

    @admin.display(description=gettext_lazy("last used"))
    def last_used(self, credential: Any) -> Any:
        return max(filter(None, (k.last_used_at for k in credential.now_keys)), default=None)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        now = timezone.now()
        # Two queries for the whole page instead of two for each row.
        keys = ExternalKey.objects.at(now).select_related("use")
        assignments = Assignment.objects.at(now).select_related("subscription")
        credentials_of_page: Any = super().get_queryset(request).select_related("customer")
        found: QuerySet[Any] = credentials_of_page.with_suspended(now).prefetch_related(
            Prefetch("keys", keys, to_attr="now_keys"),
            Prefetch("assignments", assignments, to_attr="now_assignments"),
        )
        return found

    def search_queries(self, term: str) -> list[QuerySet[Any]]:
        return search.credential_search_queries(term)

    def search_hits(self, request: HttpRequest, term: SearchTerm) -> list[SearchHit]:
        """Return the credentials of a key or alias first, each with the period of that key."""
        keys = ExternalKey.objects.filter(fingerprint=fingerprint(term.key))
        of_key = [
            SearchHit(
                label=str(key.credential),
                url=self.url_of(key.credential),
                detail=f"{key.credential.customer} · {key_period_in_words(key)}",
            )
            for key in keys.select_related("credential__customer", "gateway")[:MAX_HITS_PER_KIND]
        ]
        return of_key or super().search_hits(request, term)

    def hit_detail(self, found: Any) -> str:
        state = found.state_at(timezone.now(), suspended=found.suspended)
        hints = "".join(f" …{key.hint}" for key in found.now_keys if key.hint)
        return f"{found.customer} · {within_sentence(state.label)}{hints and ' ·' + hints}"

    def autocomplete_label(self, found: Any) -> str:
        hints = "".join(f" …{key.hint}" for key in found.now_keys)
        return f"{found} · {found.customer}{hints}"

    def get_urls(self) -> list[URLPattern]:
        find = self.admin_site.admin_view(require_POST(self.find))
        desk = [
            path(f"leaks/{address}", self.admin_site.admin_view(view), name=name)
            for address, view, name in (
                ("", self._leak_desk, "revcred_credential_leaks"),
                ("scan/", require_POST(leaks.scan_part), "revcred_credential_leaks-scan"),
                ("contain/", self._contain_leak, "revcred_credential_contain-leak"),
            )
        ]
        # Ahead of Django's patterns, whose last one takes every path.
        return [
            path("find/", find, name="revcred_credential_find"),
            *desk,
            *super().get_urls(),
        ]

    def _leak_desk(self, request: HttpRequest) -> HttpResponse:
        return leaks.leak_desk_page(request, self.admin_site)

    def _contain_leak(self, request: HttpRequest) -> HttpResponse:
        return self.action_page(request, leaks.ContainLeakForm)

    def find(self, request: HttpRequest) -> HttpResponse:
        """Search by POST, so that a typed key gets into no URL and no log."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        # PostgreSQL takes no NUL in a text.
        term = request.POST.get("term", "").replace("\0", "").strip()
        if not term:
            return HttpResponseRedirect(self._list_url())
        if not search.may_be_key_of_credential(term):
            return self._to_list(q=term)
        return self._to_key(fingerprint(pasting.extract_key(term)))

    def _to_key(self, key_fingerprint: UUID) -> HttpResponse:
        # Two are enough to know that there is more than one.
        found = list(
            search.credentials_with_fingerprint(key_fingerprint).values_list("pk", flat=True)[:2]
        )
        # One hit is what somebody with a key in hand wants: show it at once.
        if len(found) == 1:
            return HttpResponseRedirect(self.url_of(Credential(pk=found[0])))
        return self._to_list(fingerprint=str(key_fingerprint))

    def _to_list(self, **query: str) -> HttpResponse:
        return HttpResponseRedirect(f"{self._list_url()}?{urlencode(query)}")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        sought = parse_fingerprint(request.GET.get("fingerprint"))
        return super().changelist_view(request, {"sought": sought} | (extra_context or {}))

    def action_done(
        self, request: HttpRequest, form: ActionForm, target: Any, sentence: str
    ) -> HttpResponse:
        """Lead back to the list from a credential that is gone."""
        if not isinstance(form, DeleteMistakeForm):
            return super().action_done(request, form, target, sentence)
        messages.success(request, sentence)
        return HttpResponseRedirect(self._list_url())

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        return self.action_page(request, IssueCredentialForm)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        credential = self.get_object(request, object_id)
        known = credential_page_context(credential) if isinstance(credential, Credential) else {}
        # Decides whether the list of events shows links to undo them.
        known["may_undo"] = may_undo_changes(request, Credential)
        return super().change_view(request, object_id, form_url, known | (extra_context or {}))

    def save_model(self, request: HttpRequest, obj: Credential, form: Any, change: Any) -> None:
        credentials.change_credential(
            credential=obj,
            holders=form.cleaned_data["holders"],
            # Shown on the confirmation page before, and so agreed to.
            new_members=form.joining,
            by=request.user,  # type: ignore[arg-type]
        )

    def new_members(self, form: Any) -> list[str]:
        return [
            memberships.describe_new_member(person, form.instance.customer)
            for person in form.joining
        ]

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        form = super().get_form(request, obj, **kwargs)
        form.actor = request.user
        return form

    def effects(self, form: Any, formsets: Any) -> list[confirmation.Effect]:
        return [*self._expiry_effects(form), *self._holder_effects(form)]

    def _expiry_effects(self, form: Any) -> list[confirmation.Effect]:
        if "expires_at" not in form.changed_data:
            return []
        credential, at = form.instance, form.cleaned_data["expires_at"]
        lately = hooks.recent_calls_of(credential=credential)
        if confirmation.ends_earlier(form, "expires_at"):
            through = gettext("through “%(credential)s”") % {"credential": credential}
            return [confirmation.ending_calls_in_words(through, at, lately)]
        sentence = gettext(
            "“%(credential)s” is valid %(until)s. Its calls are charged as long as that."
        ) % {"credential": credential, "until": confirmation.until_in_words(at)}
        return [confirmation.effect(sentence, lately)]

    def _holder_effects(self, form: Any) -> list[confirmation.Effect]:
        """Return who may reveal its keys from now on, and who may no longer."""
        if "holders" not in form.changed_data:
            return []
        before = set(form.initial.get("holders") or ())
        after = set(form.cleaned_data["holders"])
        active_keys = form.instance.keys.at(timezone.now())
        keys = number_of(active_keys.count(), "%(count)s key", "%(count)s keys")
        added, gone = after - before, before - after
        sentences = []
        if added:
            names = ", ".join(sorted(map(str, added)))
            sentences.append(
                gettext("%(names)s may reveal %(keys)s of “%(instance)s” from now on.")
                % {"names": names, "keys": keys, "instance": form.instance}
            )
        # Removing a holder takes back no key that the person has seen.
        if gone:
            names = ", ".join(sorted(map(str, gone)))
            sentences.append(
                gettext(
                    "%(names)s may no longer reveal %(keys)s of “%(instance)s”. They may have"
                    " seen them already: rotate the credential to make these keys worthless."
                )
                % {"names": names, "keys": keys, "instance": form.instance}
            )
        return [confirmation.Effect(sentence) for sentence in sentences]

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: Any) -> None:
        """Do nothing: the action has saved the holders."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        """Do nothing: the action has recorded the change."""


def credential_page_context(credential: Any) -> dict[str, Any]:
    """Return everything the page shows of a credential, without key and secret."""
    now = timezone.now()
    state = credential.state_at(now, suspended=credential.suspended)
    return {
        "now": now,
        "state": badge(within_sentence(state.label), CREDENTIAL_STATE_TONES[state]),
        "is_revoked": state is CredentialState.REVOKED,
        "is_suspended": credential.suspended,
        "is_mistake": not mistakes.reason_to_keep(credential),
        "unseen_key": "" if credential.revoked_at else unseen_key_in_words(credential),
        "keys": credential.keys.select_related("gateway", "use")[:MAX_PERIODS_SHOWN],
        "assignments": credential.assignments.select_related("subscription__product")[
            :MAX_PERIODS_SHOWN
        ],
        "suspensions": credential.suspensions.all()[:MAX_PERIODS_SHOWN],
        "events": AuditEvent.objects.about(credential)[:MAX_EVENTS_SHOWN],
        "undone": undone_event_ids(credential),
    }
