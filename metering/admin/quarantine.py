from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import DatabaseError
from django.db.models import Q, QuerySet
from django.db.transaction import atomic, set_rollback
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode

from metering.admin import explanations, groups, owners, remedies, uncounted
from metering.admin.filters import (
    ElementFilter,
    GatewayFilter,
    OccurredBeforeFilter,
    OccurredSinceFilter,
    PathFilter,
    ReasonFilter,
    StatusFilter,
)
from metering.admin.groups import QuarantineGroup
from metering.admin.transactions import ReceiptModelAdmin, format_elements
from metering.inventories.receiving import latest_inventory
from metering.models import InventoriedKey, Quarantined, QuarantineDrop, QuarantineReason
from metering.models.transactions import MeteredCall
from metering.quarantine import actions, decisions
from metering.quarantine.actions import MomentChoice
from revcred.actions import credentials
from revcred.admin.credential_actions import (
    ALREADY_ASSIGNED_MESSAGE,
    NOT_ASSIGNED_MESSAGE,
    OTHER_CUSTOMER_MESSAGE,
    REVOKED_MESSAGE,
    key_in_use_message,
    use_again_field,
)
from revcred.admin_toolkit import confirmation, pickers
from revcred.admin_toolkit.action_pages import ActionForm, FieldErrors
from revcred.admin_toolkit.datetime_field import MomentField
from revcred.admin_toolkit.filters import LinkedFilter, YesNoFilter
from revcred.admin_toolkit.lists import parse_id
from revcred.admin_toolkit.selections import SelectionForm, SelectionMixin
from revcred.admin_toolkit.site_search import SearchHit, SearchTerm
from revcred.fingerprints import fingerprint
from revcred.models import Credential, Gateway, User
from revcred.time_zones import moment_with_zone

# Only the groups of the page are counted, each by a query of the index.
GROUPS_PER_PAGE = 50
PARAMETERS_OF_GROUPS = frozenset({"reason", "gateway", "p"})  # in the address of their page
MAX_SHARES_IN_PREVIEW = 10
MAX_DROPS_SHOWN = 50
NOTHING_TO_CHARGE_MESSAGE = (
    "Nothing of this group waits any more under the key of a credential. Go back to the quarantine."
)


class MarkReviewedForm(ActionForm):
    """Take a group off the list of open groups."""

    title = "Mark as reviewed"
    button = "Mark this group as reviewed"
    explanation = (
        "The group leaves the list of open groups. Nothing is lost: its transactions are still"
        " attributed if their credential appears later, and you can put the group back."
    )

    note = forms.CharField(
        max_length=500, help_text="What you found out, for colleagues who ask later."
    )

    def perform(self, by: User) -> str:
        note = self.cleaned_data["note"]
        count = actions.mark_reviewed(self.target.transactions(), by=by, note=note)
        return f"{count:,} transactions marked as reviewed."


class PutBackForm(ActionForm):
    """Put a reviewed group back on the list of open groups."""

    title = "Put back"
    button = "Put this group back"
    explanation = "All reviewed transactions of this group are open again."

    def perform(self, by: User) -> str:
        count = actions.put_back_transactions(self.target.transactions(), by=by)
        return f"{count:,} transactions put back."


class MatchAgainForm(ActionForm):
    """Attribute a group's transactions once more."""

    title = "Match again"
    button = "Match this group again"
    is_destructive = True
    explanation = (
        "You rarely need this: when a credential, key or subscription appears, the transactions"
        " that wait for it are attributed automatically. This checks all that wait for the same"
        " credential once more, or the whole quarantine if no credential has the key."
        " Transactions that could not be processed are tried again."
    )

    def effects(self) -> list[confirmation.Effect]:
        limit = groups.MAX_COUNTED_PER_GROUP
        # One more than is counted tells that there are more.
        waiting = self.target.transactions().values("pk")[: limit + 1].count()
        calls = confirmation.calls_in_words(min(waiting, limit), is_complete=waiting <= limit)
        sentence = (
            f"{calls} of this group will be judged again. Calls that still belong to nobody stay in"
            " quarantine."
        )
        return [confirmation.Effect(sentence)]

    def perform(self, by: User) -> str:
        cause = f"“{by}” asked for it"
        actions.match_again(self.target.transactions(), cause=cause, by=by)
        return (
            "The group is being matched again in the background. “Re-attribution” shows the"
            " progress."
        )


class ChooseMomentForm(ActionForm):
    """Choose when calls outside the acceptance window count."""

    title = "Choose the moment"
    button = "Count these calls"
    is_destructive = True
    explanation = (
        "These calls have a moment that is too old or too far ahead, so they were not counted."
        " Choose when they count. The usage of that hour changes, and their receipts keep the"
        " original moment. You cannot undo this."
    )

    at = forms.ChoiceField(
        label="They count", choices=MomentChoice.choices, widget=forms.RadioSelect
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        transactions = self.target.transactions()
        field: Any = self.fields["at"]
        # Previews run the statements that attribute the calls, so that they cannot promise another
        # result than the action has.
        field.choices = [
            (at.value, _label_with_preview(at, actions.preview_moments(transactions, at)))
            for at in MomentChoice
        ]

    def effects(self) -> list[confirmation.Effect]:
        at = MomentChoice(self.cleaned_data["at"])
        preview = actions.preview_moments(self.target.transactions(), at)
        return [confirmation.Effect(f"{_label_with_preview(at, preview)}.")]

    def perform(self, by: User) -> str:
        at = MomentChoice(self.cleaned_data["at"])
        count = actions.choose_moments(self.target.transactions(), at=at, by=by)
        return (
            f"{count:,} calls are being counted in the background. “Re-attribution” shows the"
            " progress."
        )


def _label_with_preview(at: MomentChoice, preview: actions.MomentPreview) -> str:
    """Return the label of a choice with the number of calls that each subscription would get."""
    parts = [
        f"{share.calls:,} for {share.subscription.customer} / {share.subscription}"
        if share.subscription
        else f"{share.calls:,} would wait: {share.reason.label if share.reason else ''}"
        for share in preview.shares[:MAX_SHARES_IN_PREVIEW]
    ]
    if len(preview.shares) > MAX_SHARES_IN_PREVIEW:
        others = sum(share.calls for share in preview.shares[MAX_SHARES_IN_PREVIEW:])
        parts.append(f"{others:,} for others")
    if preview.is_cut:
        parts.append(f"more, beyond the first {actions.MAX_CALLS_PREVIEWED:,}")
    if preview.beyond:
        parts.append(
            f"{preview.beyond:,} cannot: the ledger does not keep that day. They can count only at"
            " their arrival"
        )
    return f"{at.label}: {'; '.join(parts) or 'none'}"


REMEMBER_HELP = (
    "Ticked: later calls are charged in the same way, until somebody ends it. Otherwise it ends"
    " after the last call that waits."
)


class RememberField(forms.BooleanField):
    """Asks whether a decision is for later calls, too."""

    def __init__(self) -> None:
        super().__init__(
            required=False, initial=True, label="Remember this decision", help_text=REMEMBER_HELP
        )


class AttachKeyForm(ActionForm):
    """Add the key of a group to a credential as an alias."""

    title = "Assign this key to a credential"
    button = "Add this key as an alias"
    explanation = (
        "revcred does not know the key itself and does not need it: its fingerprint becomes an"
        " alias of the credential. The transactions that wait under it are then attributed."
    )
    field_errors: ClassVar[FieldErrors] = {
        credentials.CredentialRevoked: ("credential", REVOKED_MESSAGE),
        credentials.KeyInUse: (None, key_in_use_message),
        credentials.KeyOfRevokedCredential: ("use_again", ""),
    }

    credential = pickers.credential_picker()
    use_again = use_again_field()
    only_here = forms.BooleanField(required=False, label="Only at this gateway")
    active_from = MomentField(
        required=False,
        label="Counts from",
        help_text="Leave empty to start as early as transactions are accepted.",
    )
    remember = RememberField()
    active_until = MomentField(
        required=False,
        label="Counts until",
        help_text="Leave empty for no end, or to end it after the last call that waits.",
    )

    def perform(self, by: User) -> str:
        data = self.cleaned_data
        credentials.add_alias_by_fingerprint(
            credential=data["credential"],
            key_fingerprint=self.target.fingerprint,
            hint=self.target.hint,
            gateway=self.target.gateway if data["only_here"] else None,
            active_from=data["active_from"],
            active_until=data["active_until"] or _end_unless_remembered(self.target, data),
            use_again=data["use_again"],
            by=by,
        )
        return (
            f"The key is now an alias of “{data['credential']}”."
            " The transactions that wait under it are being attributed."
        )


class ChargeForm(ActionForm):
    """Assign the credential of a group to a subscription from its first waiting call on."""

    title = "Charge these calls to a subscription"
    button = "Charge these calls"
    explanation = (
        "The credential is assigned to the subscription from the first waiting call on, as if you"
        " had done it in time. Its page shows the assignment, and its history can undo it."
    )
    field_errors: ClassVar[FieldErrors] = {
        credentials.CredentialRevoked: (None, REVOKED_MESSAGE),
        credentials.SubscriptionOfOtherCustomer: ("to", OTHER_CUSTOMER_MESSAGE),
        credentials.AlreadyAssigned: ("to", ALREADY_ASSIGNED_MESSAGE),
        credentials.NotAssigned: (None, NOT_ASSIGNED_MESSAGE),
    }

    to = pickers.subscription_picker(label="Subscription")
    remember = RememberField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = studied_group(self.target)
        if self.group.owner:
            widget: Any = self.fields["to"].widget
            widget.customer = self.group.owner.credential.customer

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.group.owner is None or self.group.since is None:
            raise forms.ValidationError(NOTHING_TO_CHARGE_MESSAGE)
        return cleaned

    def effects(self) -> list[confirmation.Effect]:
        credential, to = self.credential, self.cleaned_data["to"]
        until = _end_unless_remembered(self.target, self.cleaned_data)
        end = f" until {moment_with_zone(until, seconds=True)}" if until else " on, without an end"
        others = remedies.assigned_instead(self.group, credential, to)
        instead = f", instead of {', '.join(f'“{other}”' for other in others)}" if others else ""
        since = moment_with_zone(self.group.since, seconds=True)
        sentence = f"“{credential}” is charged to “{to}” from {since}{end}{instead}."
        return [confirmation.Effect(sentence)]

    @property
    def credential(self) -> Credential:
        if self.group.owner is None:
            raise credentials.NotAssigned
        return self.group.owner.credential

    def perform(self, by: User) -> str:
        to, since = self.cleaned_data["to"], self.group.since
        if since is None:
            raise credentials.NotAssigned
        decisions.charge_credential_to(
            credential=self.credential,
            subscription=to,
            since=since,
            until=_end_unless_remembered(self.target, self.cleaned_data),
            instead_of=remedies.assigned_instead(self.group, self.credential, to),
            by=by,
        )
        return f"“{self.credential}” is charged to “{to}”. The waiting calls are being attributed."


def _end_unless_remembered(group: QuarantineGroup, data: Mapping[str, Any]) -> datetime | None:
    """Return when the decision ends: never if it is remembered."""
    if data["remember"]:
        return None
    latest = explanations.latest_open_call(group)
    return decisions.end_of_decision(latest.occurred_at) if latest else None


def studied_group(group: QuarantineGroup) -> QuarantineGroup:
    """Return the group with its calls counted, and with its owner."""
    (measured,) = groups.measure_groups([group])
    latest = explanations.latest_open_call(group)
    (studied,) = owners.with_owners(
        [replace(measured, last_seen=latest.occurred_at if latest else None)]
    )
    return studied


class GroupFilter(LinkedFilter):
    """A filter by the group that an address names."""

    title, parameter_name = "group", "group"

    def lookups(self, request: HttpRequest, model_admin: Any) -> tuple[()]:
        # It is chosen on the page of groups.
        self.may_choose = False
        return ()

    def in_words(self) -> str:
        group = existing_group(self.value() or "")
        return str(group) if group else "a group that does not exist"

    def narrow_by_text(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        group = QuarantineGroup.from_slug(self.value() or "")
        return queryset.filter(pk__in=group.transactions()) if group else queryset.none()


class ReviewedFilter(YesNoFilter):
    """A filter by whether a transaction was reviewed."""

    title, parameter_name = "reviewed", "reviewed"

    def condition(self, now: datetime) -> Q:
        return Q(released_at__isnull=False)


class MatchRowAgainForm(ActionForm):
    """Attribute one transaction once more."""

    title = "Match again"
    button = "Match this call again"
    explanation = "This judges this one call by the rules as they are now, at once."
    field_errors: ClassVar[FieldErrors] = {
        DatabaseError: (None, "It still cannot be processed. Its receipt names the error."),
    }

    def effects(self) -> list[confirmation.Effect]:
        user: Any = self.request.user
        with atomic():
            reason = actions.match_transaction_again(transaction=self.target, by=user)
            set_rollback(True)
        sentence = (
            f"1 call would stay in quarantine: {reason.label}."
            if reason
            else "1 call would be charged now."
        )
        return [confirmation.Effect(sentence)]

    def perform(self, by: User) -> str:
        reason = actions.match_transaction_again(transaction=self.target, by=by)
        if reason:
            return f"The call still waits: {reason.label}."
        return "The call is charged now. Its receipt shows to whom."


class WaitingSelectionForm(SelectionForm):
    """An action on many waiting calls, which all stay in quarantine or leave it at once."""

    model = Quarantined

    def transactions(self) -> QuerySet[Quarantined]:
        return Quarantined.objects.filter(pk__in=[row.pk for row in self.rows])


class MarkManyReviewedForm(WaitingSelectionForm):
    """Takes calls off the list of open ones."""

    title = MarkReviewedForm.title
    button = "Mark them as reviewed"
    about = (
        "They leave the list of open calls. Nothing is lost: they are still attributed if their"
        " credential appears later, and you can put them back."
    )
    none_concerned = "All of these calls are marked as reviewed."

    note = forms.CharField(
        max_length=500, help_text="What you found out, for colleagues who ask later."
    )

    def concerned(self, rows: list[Any]) -> list[Any]:
        return [row for row in rows if row.released_at is None]

    def perform(self, by: User) -> str:
        count = actions.mark_reviewed(self.transactions(), by=by, note=self.cleaned_data["note"])
        self.undo = ("put-back", "Undo: put them back", [row.pk for row in self.rows])
        return f"{count:,} transactions marked as reviewed."


class PutManyBackForm(WaitingSelectionForm):
    """Puts reviewed calls back on the list of open ones."""

    title = PutBackForm.title
    button = "Put them back"
    about = "They are open again."
    none_concerned = "All of these calls are open."

    def concerned(self, rows: list[Any]) -> list[Any]:
        return [row for row in rows if row.released_at is not None]

    def perform(self, by: User) -> str:
        count = actions.put_back_transactions(self.transactions(), by=by)
        return f"{count:,} transactions put back."


class MatchManyAgainForm(WaitingSelectionForm):
    """Judges calls once more, one by one."""

    title = MatchAgainForm.title
    button = "Match them again"
    about = "This judges just these calls by the rules as they are now, at once."
    max_rows = 100
    field_errors = MatchRowAgainForm.field_errors

    def effects(self) -> list[confirmation.Effect]:
        user: Any = self.request.user
        with atomic():
            reasons = Counter(self._match(user))
            set_rollback(True)
        charged = reasons.pop(None, 0)
        sentences = [f"{confirmation.counted(charged, 'call')} would be charged now."]
        sentences += [
            f"{confirmation.counted(count, 'call')} would stay in quarantine: {reason.label}."
            for reason, count in reasons.items()
            if reason is not None
        ]
        return [confirmation.Effect(sentence) for sentence in sentences]

    def _match(self, by: User) -> list[QuarantineReason | None]:
        return [actions.match_transaction_again(transaction=row, by=by) for row in self.rows]

    def perform(self, by: User) -> str:
        found = self._match(by)
        charged = found.count(None)
        waiting = len(found) - charged
        still = confirmation.counted(waiting, "call still waits", "calls still wait")
        return f"{confirmation.counted(charged, 'call is', 'calls are')} charged now; {still}."


@admin.register(Quarantined)
class QuarantinedAdmin(SelectionMixin, ReceiptModelAdmin):
    """The quarantine: first its groups, then the transactions of one of them."""

    list_display = (
        "transaction_id",
        "occurred_at",
        "gateway",
        "reason",
        "key",
        "subscription_named",
        "counted",
        "reviewed_at",
    )
    # Reason, gateway and key are the same in all rows of a group: there is room for other columns.
    list_display_in_group = (
        "transaction_id",
        "occurred_at",
        "method",
        "path",
        "subscription_named",
        "source_named",
        "counted",
        "error",
        "reviewed_at",
        "review_note",
    )
    list_select_related = ("gateway",)
    list_filter = (
        GroupFilter,
        ReviewedFilter,
        ReasonFilter,
        GatewayFilter,
        StatusFilter,
        PathFilter,
        ElementFilter,
        OccurredSinceFilter,
        OccurredBeforeFilter,
    )
    unindexed_parameters = frozenset({"status", "path", "element"})
    indexed_parameters = frozenset({"group"})
    more_columns = (
        *("received_at", "status", "method", "path", "source_named", "error", "review_note"),
    )
    # By id, since no index has the moments of all transactions.
    ordering = ("-pk",)
    counted_as = "waiting"
    change_list_template = "admin/metering/quarantined/change_list.html"
    action_forms: ClassVar[Mapping[str, type[ActionForm]]] = {"match": MatchRowAgainForm}
    selection_forms: ClassVar[Mapping[str, type[SelectionForm]]] = {
        "review": MarkManyReviewedForm,
        "put-back": PutManyBackForm,
        "match": MatchManyAgainForm,
    }
    # By the last part of the action's address.
    group_action_forms: ClassVar[Mapping[str, type[ActionForm]]] = {
        "review": MarkReviewedForm,
        "put-back": PutBackForm,
        "claim": MatchAgainForm,
        "attach": AttachKeyForm,
        "charge": ChargeForm,
        "moment": ChooseMomentForm,
    }

    @admin.display(description="key")
    def key(self, row: Quarantined) -> str | None:
        return f"…{row.hint}" if row.hint else None

    @admin.display(description="reviewed at", ordering="released_at")
    def reviewed_at(self, row: Quarantined) -> Any:
        return row.released_at

    @admin.display(description="note")
    def review_note(self, row: Quarantined) -> str:
        return row.release_note

    @admin.display(description="counted")
    def counted(self, row: MeteredCall) -> str:
        return format_elements(row)

    def own_columns(self, request: HttpRequest) -> tuple[str, ...]:
        return self.list_display_in_group if "group" in request.GET else self.list_display

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                f"groups/<str:slug>/{name}/",
                self.admin_site.admin_view(self._group_page_of(form)),
                name=f"metering_quarantined_{name}",
            )
            for name, form in self.group_action_forms.items()
        ]
        return own + super().get_urls()

    def _group_page_of(self, form_class: type[ActionForm]) -> Any:
        def page(request: HttpRequest, slug: str) -> HttpResponse:
            group = existing_group(slug)
            if group is None and form_class is AttachKeyForm:
                group = inventoried_group(slug)
            # Somebody else may have emptied the group since the page was opened.
            if group is None:
                raise Http404
            return self.action_page(request, form_class, group)

        return page

    def search_hits(self, request: HttpRequest, term: SearchTerm) -> list[SearchHit]:
        """Return the groups whose transactions have this key."""
        return [
            SearchHit(
                label=measured.reason.label,
                url=self.url_of(measured),
                detail=f"{measured.count_in_words} waiting under this key at {measured.gateway}",
            )
            for measured in groups.measure_groups(groups.groups_of_key(fingerprint(term.key)))
            if measured.count
        ]

    def may_perform(self, request: HttpRequest, form_class: type[ActionForm]) -> bool:
        user: Any = request.user
        # These change a credential, which is another right than that to the quarantine.
        if form_class in (AttachKeyForm, ChargeForm) and not user.has_perm(
            "revcred.change_credential"
        ):
            return False
        return super().may_perform(request, form_class)

    def url_of(self, target: Any) -> str:
        """Return the page of a group, or of one transaction: once it is charged, its receipt."""
        if isinstance(target, QuarantineGroup):
            return f"{self._list_url()}?group={target.slug}"
        if Quarantined.objects.filter(pk=target.pk).exists():
            return super().url_of(target)
        address = reverse("admin:metering_transaction_changelist")
        return f"{address}?{urlencode({'q': target.transaction_id})}"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """List groups, unless the address asks for transactions by what groups do not have."""
        if PARAMETERS_OF_GROUPS.issuperset(request.GET):
            return self.groups_view(request)
        group = existing_group(request.GET.get("group", ""))
        # All groups that were reviewed, unless the rows themselves are asked for.
        if group is None and request.GET.get("reviewed") == "groups":
            return self.reviewed_view(request)
        context: dict[str, Any] = {"group": group}
        if group:
            (group,) = explanations.with_explanations(
                uncounted.with_uncounted_calls([studied_group(group)])
            )
            has_reviewed = group.transactions().exclude(released_at=None).exists()
            context = {
                "group": group,
                "remedies": remedies.remedies_of(group, request.user),
                "has_reviewed": has_reviewed,
            }
        return super().changelist_view(request, context | (extra_context or {}))

    def groups_view(self, request: HttpRequest) -> HttpResponse:
        """Answer the page of open groups, which counts only those that it shows."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        reason = request.GET.get("reason", "")
        gateway = request.GET.get("gateway", "")
        found = groups.find_groups(
            reason=QuarantineReason(reason) if reason in QuarantineReason.values else None,
            gateway=parse_id(gateway),
        )
        page = Paginator(found, GROUPS_PER_PAGE).get_page(request.GET.get("p"))
        context = self.admin_site.each_context(request) | {
            "title": "Quarantine",
            "subtitle": None,
            "opts": self.opts,
            "groups": explanations.with_explanations(
                uncounted.with_uncounted_calls(
                    owners.with_owners(groups.measure_groups(list(page)))
                )
            ),
            "page": page,
            "is_cut": len(found) >= groups.MAX_GROUPS,
            "reasons": QuarantineReason,
            "reason": reason,
            "gateways": Gateway.objects.all()[:100],
            "gateway": gateway,
            "drops": QuarantineDrop.objects.select_related("gateway")[:MAX_DROPS_SHOWN],
            "unknown_key_days": settings.UNKNOWN_KEY_DAYS,
            "max_unknown_keys": settings.MAX_UNKNOWN_KEYS_PER_GATEWAY,
        }
        return TemplateResponse(request, "admin/metering/quarantined/groups.html", context)

    def reviewed_view(self, request: HttpRequest) -> HttpResponse:
        """Answer the page of groups that were marked as reviewed, from which they are put back."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = groups.find_reviewed_groups()
        page = Paginator(found, GROUPS_PER_PAGE).get_page(request.GET.get("p"))
        context = self.admin_site.each_context(request) | {
            "title": "Reviewed",
            "subtitle": None,
            "opts": self.opts,
            "groups": owners.with_owners(list(page)),
            "page": page,
        }
        return TemplateResponse(request, "admin/metering/quarantined/reviewed.html", context)


def existing_group(slug: str) -> QuarantineGroup | None:
    """Return the group that an address names, or None if it has no transactions."""
    group = QuarantineGroup.from_slug(slug)
    return group and group.with_gateway_and_hint()


def inventoried_group(slug: str) -> QuarantineGroup | None:
    """Return the group of an unknown key that its gateway lets in, also if no call waits."""
    group = QuarantineGroup.from_slug(slug)
    if group is None or group.fingerprint is None or not group.has_unknown_key:
        return None
    inventory = latest_inventory(group.gateway_id)
    if inventory is None:
        return None
    entries = inventory.entries.exclude(kind=InventoriedKey.Kind.DIGEST)
    entry = entries.filter(fingerprint=group.fingerprint).first()
    return replace(group, hint=entry.hint, gateway=inventory.gateway) if entry else None
