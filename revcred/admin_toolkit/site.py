"""The admin site of revcred: sections, and sign-in through allauth.

It is no part of `revcred.admin`, because Django creates the site before it loads admin modules.
"""

from typing import Any, ClassVar

from allauth.account.decorators import secure_admin_login
from allauth.account.utils import get_next_redirect_url
from django.apps import apps
from django.contrib.admin import AdminSite
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.text import capfirst
from django.utils.translation import gettext, gettext_noop

from revcred import backups
from revcred.admin_toolkit.installation import describe_installation
from revcred.admin_toolkit.site_search import MAX_HITS_PER_KIND, SearchGroup, SearchTerm
from revcred.models import AuditEvent
from revcred.runtime import preflight
from revcred.texts import gettext_lazy

MAX_RECENT_EVENTS = 12


class LabelledAutocompleteView(AutocompleteJsonView):
    """Results of a picker, labelled with their owner, so that two of one name can be told apart."""

    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        text = self.model_admin.autocomplete_label(obj)  # type: ignore[attr-defined]
        return {"id": str(getattr(obj, to_field_name)), "text": text}


class RevcredAdminSite(AdminSite):
    """The administration, with its models in sections instead of by app."""

    site_header = "revcred"
    site_title = "revcred"
    index_title = gettext_lazy("Overview")
    empty_value_display = "\N{EN DASH}"

    # Every registered model has to be here, or it is missing on the overview.
    SECTIONS: ClassVar[dict[str, list[str]]] = {
        gettext_noop("Customers and credentials"): [
            "revcred.Customer",
            "revcred.Subscriber",
            "revcred.Membership",
            "revcred.Product",
            "revcred.Source",
            "revcred.Subscription",
            "revcred.Credential",
            "revcred.CredentialRequest",
            "revcred.Upload",
            "revcred.Appearance",
        ],
        gettext_noop("Metering"): [
            "revcred.Gateway",
            "metering.Transaction",
            "metering.Quarantined",
            "metering.DiscoveredSource",
            "metering.Rejection",
            "metering.Conflict",
            "metering.Usage",
            "metering.IntakeStats",
            "metering.Delivery",
            "metering.Claim",
        ],
        gettext_noop("Access and audit"): [
            "revcred.User",
            "auth.Group",
            "revcred.UserToken",
            "revcred.OutgoingMail",
            "revcred.AuditEvent",
        ],
    }

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return the sections with the models that the user may see."""
        if app_label:
            return super().get_app_list(request, app_label)
        models = {
            each["model"]._meta.label: each
            for app in self._build_app_dict(request).values()
            for each in app["models"]
        }
        sections = []
        for name, labels in self.SECTIONS.items():
            if seen := [models[label] for label in labels if label in models]:
                sections.append(self._section(name, seen))
        return sections

    def _section(self, name: str, models: list[Any]) -> dict[str, Any]:
        # Sections are no apps: their link leads to the place on the overview.
        slug = name.lower().replace(" ", "-")
        return {
            "name": gettext(name),
            "app_label": slug,
            "app_url": f"{reverse('admin:index')}#{slug}",
            "has_module_perms": True,
            "models": models,
        }

    def get_urls(self) -> list[URLResolver | URLPattern]:
        search = path("search/", self.admin_view(self.search), name="search")
        settings = path("settings/", self.admin_view(self.settings), name="settings")
        return [search, settings, *super().get_urls()]

    def settings(self, request: HttpRequest) -> HttpResponse:
        """Show settings, versions and sizes of this installation, to superusers."""
        if not request.user.is_superuser:
            raise PermissionDenied
        context = self.each_context(request) | {"title": gettext("Settings"), "subtitle": None}
        return TemplateResponse(
            request, "admin/installation.html", context | describe_installation()
        )

    def search(self, request: HttpRequest) -> HttpResponse:
        """Show what all pages find for a term, or the only hit itself.

        What is typed comes by POST and is shown again only if it can be no key.
        """
        term = SearchTerm.from_posted(request.POST.get("term", ""))
        groups = self._search_groups(request, term) if term.text else []
        hits = [hit for group in groups for hit in group.hits]
        if len(hits) == 1:
            return redirect(hits[0].url)
        context = self.each_context(request) | {
            "title": gettext("Search"),
            "subtitle": None,
            "groups": groups,
            "is_asked": bool(term.text),
            "term": "" if term.may_be_key else term.text,
        }
        return TemplateResponse(request, "admin/search.html", context)

    def _search_groups(self, request: HttpRequest, term: SearchTerm) -> list[SearchGroup]:
        """Return the hits of each kind whose pages the user may see."""
        found = []
        for label in (label for labels in self.SECTIONS.values() for label in labels):
            page: Any = self.get_model_admin(apps.get_model(label))
            if not page.has_view_or_change_permission(request):
                continue
            hits = page.search_hits(request, term)
            if not hits:
                continue
            is_cut = len(hits) > MAX_HITS_PER_KIND
            found.append(
                SearchGroup(
                    name=capfirst(str(page.opts.verbose_name_plural)),
                    hits=hits[:MAX_HITS_PER_KIND],
                    all_url=page.list_url(term) if is_cut else "",
                )
            )
        return found

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Show the overview, with the latest events if the user may see the audit."""
        recent = AuditEvent.objects.all()[:MAX_RECENT_EVENTS] if _sees_audit(request) else None
        weaknesses = preflight.find_weaknesses() if request.user.is_superuser else []
        shown: dict[str, Any] = {"events": recent, "weaknesses": weaknesses}
        if request.user.is_superuser:
            shown["last_backup"] = backups.last_backup_at() or gettext("never")
        return super().index(request, shown | (extra_context or {}))

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the sign-in that everybody uses, with its limits and its second factor.

        Django's own form is never shown or posted to: it would sign in by password alone.
        """
        return secure_admin_login(_redirect_signed_in)(request)  # type: ignore[no-any-return]

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Redirect to the page that checks and records a new password."""
        return redirect("account_change_password")  # type: ignore[return-value]

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """Answer a picker by POST, so that what is typed into it is in no URL."""
        if request.method == "POST":
            # Django's view reads its parameters from GET.
            request.GET = request.POST
            request.method = "GET"
        return LabelledAutocompleteView.as_view(admin_site=self)(request)  # type: ignore[return-value]


def _redirect_signed_in(request: HttpRequest) -> HttpResponse:
    """Redirect to where the user wanted to go, or to the overview."""
    return redirect(get_next_redirect_url(request) or "admin:index")


def _sees_audit(request: HttpRequest) -> bool:
    return request.user.has_perm("revcred.view_auditevent")
