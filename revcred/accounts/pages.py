"""Pages about one's own login besides allauth's: invitations, new addresses, passwords.

A link's token goes into the session at once, so that no later address shows it. Each new password,
its record and the mail about it are one transaction.
"""

from typing import Any

from allauth.account import views
from allauth.account.adapter import get_adapter
from allauth.account.decorators import reauthentication_required
from allauth.account.fields import PasswordField
from allauth.account.forms import SetPasswordForm
from allauth.account.utils import get_next_redirect_url
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core import signing
from django.db.models import QuerySet
from django.db.transaction import atomic
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from revcred.accounts import devices
from revcred.actions import addresses, sessions, sign_ins, subscribers
from revcred.actions.users import LoginActionError
from revcred.client_address import current_address
from revcred.languages import known_language
from revcred.models import AuditVerb, Session, User
from revcred.texts import gettext_lazy
from revcred.time_zones import time_zone_names

# Each names its token in the session, and the URL of its page.
INVITATION_PURPOSE, CONFIRM_ADDRESS_PURPOSE, STOP_ADDRESS_PURPOSE = (
    "invitation",
    "confirm_address",
    "stop_address",
)  # in the session
TOKEN_SALTS = {
    INVITATION_PURPOSE: subscribers.INVITATION_TOKEN_SALT,
    CONFIRM_ADDRESS_PURPOSE: addresses.CONFIRM_TOKEN_SALT,
    STOP_ADDRESS_PURPOSE: addresses.STOP_TOKEN_SALT,
}


class AtomicPasswordChangeView(views.PasswordChangeView):  # type: ignore[misc]
    """Set a new password, record it and queue the mail about it in one transaction."""

    form_valid = atomic(views.PasswordChangeView.form_valid)


class AtomicPasswordSetView(views.PasswordSetView):  # type: ignore[misc]
    """Set a first password, record it and queue the mail about it in one transaction."""

    form_valid = atomic(views.PasswordSetView.form_valid)


class AtomicPasswordResetView(views.PasswordResetFromKeyView):  # type: ignore[misc]
    """Set a password by link, record it and queue the mail about it in one transaction."""

    form_valid = atomic(views.PasswordResetFromKeyView.form_valid)


class AskForCodeView(views.RequestLoginCodeView):  # type: ignore[misc]
    """Record the request for a sign-in code and queue the mail in one transaction."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not settings.ACCOUNT_LOGIN_BY_CODE_ENABLED:
            raise Http404
        response: HttpResponse = super().dispatch(request, *args, **kwargs)
        return response

    @atomic
    def form_valid(self, form: Any) -> HttpResponse:
        form.record()
        response: HttpResponse = super().form_valid(form)
        return response


class MailedCodeView(views.ConfirmLoginCodeView):  # type: ignore[misc]
    """Sign in by the code that was sent, and record a wrong one."""

    def form_invalid(self, form: Any) -> HttpResponse:
        sign_ins.record_throttled_event(
            verb=AuditVerb.SIGN_IN_FAILED,
            user=self.stage.login.user,  # None if no code was sent
            address=current_address(),
        )
        response: HttpResponse = super().form_invalid(form)
        return response


class PasswordForm(forms.Form):
    """Asks for the password of somebody who need not be signed in."""

    password = PasswordField(label=gettext_lazy("Your password"), autocomplete="current-password")

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_password(self) -> str:
        """Check the password within the limits of signing in, and record a wrong one."""
        password: str = self.cleaned_data["password"]
        # allauth's own check: it counts attempts and calls authentication_failed.
        adapter = get_adapter()
        if not adapter.reauthenticate(self.user, password):
            raise adapter.validation_error("incorrect_password")
        return password


class SessionForm(forms.Form):
    """Names one of the sessions that the person may end."""

    session = forms.ModelChoiceField(Session.objects.none())

    def __init__(self, *args: Any, sessions: QuerySet[Session], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["session"]
        field.queryset = sessions


@never_cache
@require_http_methods(["GET", "HEAD"])
def open_mail_link(request: HttpRequest, token: str, purpose: str) -> HttpResponse:
    """Move the token of a mail's link into the session, and redirect to the page without it."""
    # Anybody can try any token, and each session is a row. Too old or used ones are ours, too.
    if _is_token_of_ours(token, purpose):
        request.session[f"revcred_{purpose}"] = token
    else:
        request.session.pop(f"revcred_{purpose}", None)
    return redirect(f"account_{purpose}_page")


def _is_token_of_ours(token: str, purpose: str) -> bool:
    try:
        signing.loads(token, salt=TOKEN_SALTS[purpose])
    except signing.BadSignature:
        return False
    return True


@never_cache
@require_http_methods(["GET", "HEAD"])
def known_device_page(request: HttpRequest, token: str) -> HttpResponse:
    """Make the login known in this browser, where strangers' attempts no longer limit it."""
    user = devices.user_by_device_link(token)
    if user is None:
        why = gettext(
            "This link is too old or incomplete. Try to sign in; if you have to wait, you get one."
        )
        return render(request, "account/link_refused.html", {"why": why}, status=409)
    messages.success(request, gettext("You can sign in here now."))
    response = redirect("account_login")
    devices.remember_device(request, response, user)
    return response


@never_cache
@require_http_methods(["GET", "POST"])
@sensitive_post_parameters()
def invitation_page(request: HttpRequest) -> HttpResponse:
    """Accept an invitation, with a new password or with the login that exists already."""
    token = request.session.get(f"revcred_{INVITATION_PURPOSE}", "")
    try:
        return _answer_invitation(request, token)
    except LoginActionError as refusal:
        return _render_unusable_link(request, refusal)


def _answer_invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show the form, or accept. Raises the errors of `subscribers.accept_invitation`."""
    subscriber = subscribers.subscriber_by_invitation(token=token)
    login = subscribers.login_with_address(email=subscriber.email)
    context: dict[str, Any] = {
        "subscriber": subscriber,
        "login": login,
        "is_own": login == request.user,
    }
    form = None
    if login is None:
        # Password validators compare the new password with name and address.
        stub = User(email=subscriber.email.lower(), name=subscriber.name)
        form = SetPasswordForm(user=stub, data=request.POST or None)
    if request.method == "POST":
        if form is None:
            user = request.user if isinstance(request.user, User) else None
            subscribers.accept_invitation(token=token, user=user, request=request)
        elif form.is_valid():
            password = form.cleaned_data["password1"]
            subscribers.accept_invitation(token=token, password=password, request=request)
        else:
            return render(request, "account/invitation.html", context | {"form": form})
        del request.session[f"revcred_{INVITATION_PURPOSE}"]
        if login is None:
            return redirect("account_reset_password_from_key_done")
        return redirect("storefront:home")
    # After signing in the person comes back here and accepts.
    query = urlencode({"next": reverse("account_invitation_page")})
    context["sign_in"] = f"{reverse('account_login')}?{query}"
    return render(request, "account/invitation.html", context | {"form": form})


@never_cache
@require_http_methods(["GET", "POST"])
@sensitive_post_parameters()
def confirm_address_page(request: HttpRequest) -> HttpResponse:
    """Confirm a new address, with the password if there is one and no superuser spared it."""
    token = request.session.get(f"revcred_{CONFIRM_ADDRESS_PURPOSE}", "")
    try:
        change = addresses.address_change_by_token(
            token=token, purpose=addresses.CONFIRM_TOKEN_SALT
        )
        form = None
        if change.needs_password:
            form = PasswordForm(request.POST or None, user=change.user)
        # Only a POST confirms: mail scanners open every link.
        if request.method == "POST" and (form is None or form.is_valid()):
            addresses.confirm_address_change(change=change, request=request)
            del request.session[f"revcred_{CONFIRM_ADDRESS_PURPOSE}"]
            return render(request, "account/address_confirmed.html", {"change": change})
    except LoginActionError as refusal:
        return _render_unusable_link(request, refusal)
    return render(request, "account/confirm_address.html", {"change": change, "form": form})


@never_cache
@require_http_methods(["GET", "POST"])
def stop_address_page(request: HttpRequest) -> HttpResponse:
    """Let the owner of the old address cancel a new one that was not expected."""
    token = request.session.get(f"revcred_{STOP_ADDRESS_PURPOSE}", "")
    try:
        change = addresses.address_change_by_token(token=token, purpose=addresses.STOP_TOKEN_SALT)
        if request.method == "POST":
            addresses.cancel_address_change(change=change, by=None, request=request)
            del request.session[f"revcred_{STOP_ADDRESS_PURPOSE}"]
            return render(request, "account/address_stopped.html", {"change": change})
    except LoginActionError as refusal:
        return _render_unusable_link(request, refusal)
    return render(request, "account/stop_address.html", {"change": change})


@never_cache
@require_http_methods(["GET", "POST"])
@sensitive_post_parameters()
@login_required
def resume_reveals_page(request: HttpRequest) -> HttpResponse:
    """Let keys be revealed again after an address change: signed in, by password."""
    user: Any = request.user
    # Nothing to confirm, or confirmed in another tab.
    if user.reveals_rest_since is None:
        return redirect("storefront:home")
    if not user.has_usable_password():
        return redirect("account_set_password")
    form = PasswordForm(request.POST or None, user=user)
    if request.method == "POST" and form.is_valid():
        addresses.resume_reveals(user=user, request=request)
        messages.success(request, gettext("Thank you. Keys and secrets are shown again."))
        return redirect("storefront:home")
    return render(request, "account/resume_reveals.html", {"form": form})


@never_cache
@require_http_methods(["GET", "POST"])
@login_required
@reauthentication_required(allow_get=True)  # type: ignore[untyped-decorator]
def sessions_page(request: HttpRequest) -> HttpResponse:
    """List one's own sessions; end one or all of them, after a fresh confirmation."""
    user: Any = request.user
    own = Session.objects.valid().filter(user=user)
    if request.method == "POST" and "everywhere" in request.POST:
        sessions.sign_out_everywhere(user=user, by=user)
        request.session.flush()
        messages.success(request, gettext("You are signed out everywhere."))
        return redirect("account_login")
    if request.method == "POST":
        form = SessionForm(request.POST, sessions=own)
        if form.is_valid():
            sessions.end_session(session=form.cleaned_data["session"], user=user, by=user)
        # Also if it had ended before: it is as the person wants it.
        messages.success(request, gettext("The session has ended."))
        return redirect("account_sessions")
    current = Session.objects.of_key(request.session.session_key or "").first()
    context = {"sessions": own, "current": current and current.pk, "now": timezone.now()}
    return render(request, "account/sessions.html", context)


class PreferencesForm(forms.ModelForm):  # type: ignore[type-arg]
    """Asks for the language of pages and mails, and the time zone of pages."""

    class Meta:
        model = User
        fields = ("language", "time_zone")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["language"] = forms.ChoiceField(
            label=gettext("Language"),
            choices=[("", gettext("As the browser asks")), *settings.LANGUAGES],
            required=False,
            help_text=gettext("Of pages, and of mails to you."),
        )
        names = [(name, name.replace("_", " ")) for name in time_zone_names()]
        self.fields["time_zone"] = forms.ChoiceField(
            label=gettext("Time zone"),
            choices=[("", gettext("UTC, until you choose one")), *names],
            required=False,
            help_text=gettext(
                "Pages show times in this zone, and take what you type in it. Mails, exports and"
                " the API have UTC."
            )
            if self.instance.is_staff
            else gettext("Pages show times in this zone. Days of usage, and mails, have UTC."),
        )


@never_cache
@require_http_methods(["GET", "POST"])
@login_required
def preferences_page(request: HttpRequest) -> HttpResponse:
    """Choose the language, and the time zone in which pages show moments."""
    user: Any = request.user
    form = PreferencesForm(request.POST or None, instance=user)
    if request.method == "POST" and form.is_valid():
        user.save(update_fields=["language", "time_zone"])
        # Said in the language that was chosen just now.
        with translation.override(known_language(user.language) or translation.get_language()):
            text = gettext("Pages now show times in %(zone)s.")
        messages.success(request, text % {"zone": user.time_zone or "UTC"})
        return redirect("account_time_zone")
    context = {"form": form, "now": timezone.now()}
    return render(request, "account/preferences.html", context)


@require_POST
@login_required
def language_page(request: HttpRequest) -> HttpResponse:
    """Set the language by one button, such as that of the administration, and lead back."""
    user: Any = request.user
    language = known_language(request.POST.get("language", ""))
    if not language:
        return HttpResponseBadRequest(gettext("There is no such language."))
    user.language = language
    user.save(update_fields=["language"])
    return redirect(get_next_redirect_url(request) or "account_time_zone")


def _render_unusable_link(request: HttpRequest, refusal: LoginActionError) -> HttpResponse:
    return render(request, "account/link_refused.html", {"why": str(refusal)}, status=409)
