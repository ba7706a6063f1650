"""Admin pages of subscribers' requests for credentials: a queue to approve or reject."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext

from revcred.actions import credential_requests, credentials
from revcred.admin_toolkit import confirmation
from revcred.admin_toolkit.action_pages import ActionForm, ActionPagesMixin, FieldErrors
from revcred.admin_toolkit.badges import BadgeTone, badge
from revcred.admin_toolkit.filters import ChoiceFilter
from revcred.languages import within_sentence
from revcred.models import CredentialRequest, User
from revcred.texts import gettext_lazy, number_of
from revcred.time_zones import day_text, moment_with_zone

REQUEST_STATE_TONES: dict[str, BadgeTone] = {
    CredentialRequest.State.WAITING: "warn",
    CredentialRequest.State.APPROVED: "good",
    CredentialRequest.State.REJECTED: "bad",
    CredentialRequest.State.WITHDRAWN: "over",
}
REQUEST_ERRORS: FieldErrors = {
    credential_requests.AlreadyDecided: (
        None,
        gettext_lazy("Somebody has decided this request meanwhile."),
    ),
    credential_requests.RequestTooLate: (
        None,
        gettext_lazy(
            "The subscription or the expiry has ended meanwhile. Reject the request, and say so."
        ),
    ),
    credentials.CredentialNameInUse: (
        None,
        gettext_lazy(
            "This customer has a credential of this name by now. Reject the request, and say so."
        ),
    ),
    credentials.HoldersNotMembers: (
        None,
        gettext_lazy("Whoever asked no longer belongs to the customer. Reject the request."),
    ),
}


class ApproveRequestForm(ActionForm):
    """Asks before the credential that was requested is issued."""

    title = gettext_lazy("Approve")
    button = gettext_lazy("Approve and issue")
    field_errors: ClassVar[FieldErrors] = REQUEST_ERRORS
    target: CredentialRequest

    def effects(self) -> list[confirmation.Effect]:
        request = self.target
        ends = moment_with_zone(request.expires_at) if request.expires_at else gettext("never")
        used = credential_requests.count_of_product(request.customer, request.subscription.product)
        return [
            confirmation.Effect(
                gettext(
                    "“%(request)s” of %(customer)s is issued with a new key, which %(subscriber)s"
                    " may reveal. It expires: %(ends)s."
                )
                % {
                    "request": request,
                    "customer": request.customer,
                    "subscriber": request.subscriber,
                    "ends": ends,
                }
            ),
            confirmation.Effect(
                gettext(
                    "Its calls are charged to “%(subscription)s” from now on. The customer has"
                    " %(credentials)s of this product or requests for some."
                )
                % {
                    "subscription": request.subscription,
                    "credentials": number_of(used, "%(count)s credential", "%(count)s credentials"),
                }
            ),
        ]

    def perform(self, by: User) -> str:
        credential_requests.approve_request(request=self.target, by=by)
        return gettext("“%(target)s” was issued. %(subscriber)s is told by mail.") % {
            "target": self.target,
            "subscriber": self.target.subscriber,
        }


class RejectRequestForm(ActionForm):
    """Asks why the request is rejected."""

    title = gettext_lazy("Reject")
    button = gettext_lazy("Reject this request")
    field_errors: ClassVar[FieldErrors] = REQUEST_ERRORS
    target: CredentialRequest

    reason = forms.CharField(
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("The person who asked reads it, also in a mail."),
    )

    def effects(self) -> list[confirmation.Effect]:
        return [
            confirmation.Effect(
                gettext(
                    "%(subscriber)s, who asked on %(moment)s, gets no credential, and a mail with"
                    " this reason: %(reason)s"
                )
                % {
                    "subscriber": self.target.subscriber,
                    "moment": day_text(self.target.created_at),
                    "reason": self.cleaned_data["reason"],
                }
            )
        ]

    def perform(self, by: User) -> str:
        credential_requests.reject_request(
            request=self.target, reason=self.cleaned_data["reason"], by=by
        )
        return gettext("The request for “%(target)s” was rejected.") % {"target": self.target}


class RequestStateFilter(ChoiceFilter):
    """Requests in one state."""

    title, parameter_name, choices_of = gettext_lazy("state"), "state", CredentialRequest.State


@admin.register(CredentialRequest)
class CredentialRequestAdmin(ActionPagesMixin):
    """Requests for credentials, each with buttons to approve and to reject it."""

    list_display = ("name", "customer", "subscription", "subscriber", "state_badge", "created_at")
    list_select_related = ("customer", "subscription", "subscriber")
    list_filter = (RequestStateFilter,)
    empty_list_text = gettext_lazy(
        "Subscribers have not requested any credential. A product's page says who issues them."
    )
    change_form_template = "admin/revcred/credentialrequest/change_form.html"
    fields = (
        "name",
        "customer",
        "subscription",
        "subscriber",
        "note",
        "environment",
        "expires_at",
        "created_at",
        "state",
        "decided_at",
        "reason",
        "credential",
    )
    readonly_fields = fields
    action_forms: ClassVar[dict[str, type[ActionForm]]] = {
        "approve": ApproveRequestForm,
        "reject": RejectRequestForm,
    }

    @admin.display(description=gettext_lazy("state"))
    def state_badge(self, request: CredentialRequest) -> str:
        return badge(
            within_sentence(request.get_state_display()), REQUEST_STATE_TONES[request.state]
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False: requests are decided by actions, and not edited."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        found = self.get_object(request, object_id)
        context = {
            "is_waiting": isinstance(found, CredentialRequest) and found.decided_at is None,
            "may_decide": self.may_perform(request, ApproveRequestForm),
        }
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))
