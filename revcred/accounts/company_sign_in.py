"""Signing in at one's own company, by allauth's OpenID Connect client.

The typed address leads to the company by its domain, so nobody learns who has a login. What comes
back is judged by `revcred.actions.company_sign_ins`, also each time the session that it opened is
used. A second round trip, with a fresh sign-in
there, confirms who asks before keys are revealed, for people who have no password here.
"""

import logging
import re
import time
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter, get_adapter
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin
from allauth.socialaccount.providers.base.constants import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.functional import SimpleLazyObject
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext, gettext_noop
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from requests import RequestException, Response, Session

from revcred.actions import company_sign_ins, sign_ins
from revcred.actions.users import LoginActionError
from revcred.client_address import current_address
from revcred.models import AuditVerb, CompanySignIn, User
from revcred.runtime.middleware import GetResponse
from revcred.texts import gettext_lazy

logger = logging.getLogger(__name__)

PROVIDER_PREFIX = "company-"
AUTHENTICATION_METHOD = "socialaccount"  # as allauth names it in its records of a session
# How far the clock of a provider may be behind, where it says when somebody signed in there.
CLOCK_LEEWAY_SECONDS = 30
# Raised where a provider describes itself by something else than what is agreed.
NOT_A_CONFIGURATION = (ValueError, KeyError, TypeError, AttributeError)
MAX_ANSWER_BYTES = 1_000_000  # a configuration, a set of keys or a token has some thousands
MAX_ANSWER_SECONDS = 10.0  # for the whole of it: allauth limits each wait only
ANSWER_PART_BYTES = 65_536
CONFIRMED_FOR = "confirmed_for"  # in the state of a round trip: whom it is to confirm
SINCE = "since"
SESSION_OVER_MESSAGE = gettext_noop(
    "Your company's sign-in no longer opens your login. Sign in another way."
)


class AnswerTooLarge(RequestException):
    """A provider's answer is larger than any that is needed, or does not end."""


class CompanySignInAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Knows the providers of customers, and lets their answers open what they may."""

    def list_apps(
        self, request: HttpRequest, provider: str | None = None, client_id: str | None = None
    ) -> list[SocialApp]:
        # Anybody may ask for any address: no number is longer than the database takes.
        found = re.fullmatch(f"{PROVIDER_PREFIX}([0-9]{{1,18}})", provider or "")
        if found is None:
            return []
        company = CompanySignIn.objects.filter(customer=int(found[1])).first()
        return [_app_of(company)] if company else []

    def get_requests_session(self) -> Session:
        """Return a session that reads no more of an answer than there can be use for."""
        session: Session = super().get_requests_session()
        session.hooks["response"].append(_read_limited)
        return session

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Find whom the answer of the provider signs in, or whom it confirms.

        Raises ImmediateHttpResponse with the page that says why not, or that goes on.
        """
        claims = sociallogin.account.extra_data
        # What the provider tells of a person is used here, and not kept.
        sociallogin.account.extra_data = {}
        if sociallogin.account.pk:
            sociallogin.account.save(update_fields=["extra_data"])
        try:
            account = _account_of(sociallogin, claims)
        except LoginActionError as error:
            raise ImmediateHttpResponse(_rejected(request, str(error))) from error
        confirmation = sociallogin.state.get("data")
        if confirmation:
            raise ImmediateHttpResponse(
                _confirm(request, account, confirmation, claims, sociallogin.state.get("next"))
            )
        # The list of sessions names the browser, which a reloaded session has forgotten.
        session: Any = request.session
        session.browser = request.headers.get("user-agent", "")
        # A sign-in that waits for a second factor is kept in the session, without the token.
        sociallogin.token = None
        sociallogin.account, sociallogin.user = account, account.user

    def on_authentication_error(self, request: HttpRequest, provider: Any, **problem: Any) -> None:
        error = problem.get("exception")
        # The text of an error may repeat what the provider was sent.
        logger.warning(
            "Signing in by %s failed: %s", provider.app.provider_id, type(error).__name__
        )
        raise ImmediateHttpResponse(
            _rejected(request, gettext("Your company's sign-in did not finish. Try again."))
        )


def _read_limited(response: Response, *_: Any, **__: Any) -> None:
    """Read the answer, before `requests` would read all of it. Raises AnswerTooLarge."""
    ends_at = time.monotonic() + MAX_ANSWER_SECONDS
    content = BytesIO()
    while part := response.raw.read1(ANSWER_PART_BYTES, decode_content=True):
        content.write(part)
        if content.tell() > MAX_ANSWER_BYTES or time.monotonic() > ends_at:
            response.close()
            raise AnswerTooLarge
    content.seek(0)
    response.raw = content


class CompanySessionMiddleware:
    """Ends a session that a company's provider opened or confirmed, once it may do so no longer."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # Requests of programs have none.
        if hasattr(request, "user"):
            user = request.user
            # Only when a page asks who is there: other pages load no session.
            request.user = SimpleLazyObject(lambda: _user_of_session(request, user))  # type: ignore[assignment]
        return self.get_response(request)


def _user_of_session(request: HttpRequest, user: Any) -> User | AnonymousUser:
    for record in get_authentication_records(request, user) if user.is_authenticated else ():
        if record["method"] == AUTHENTICATION_METHOD and not company_sign_ins.may_session_go_on(
            user=user, provider_id=record["provider"], subject=record["uid"]
        ):
            request.session.flush()
            messages.warning(request, gettext(SESSION_OVER_MESSAGE))
            return AnonymousUser()
    return user  # type: ignore[no-any-return]


class AskForCompanyForm(forms.Form):
    """Asks for an address, whose domain leads to the company."""

    email = forms.EmailField(
        label=gettext_lazy("Your e-mail address at your company"),
        widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True}),
    )

    def clean_email(self) -> str:
        email = str(self.cleaned_data["email"])
        domain = email.rpartition("@")[2].lower()
        self.companies = CompanySignIn.objects.for_domain(domain)
        if not self.companies:
            message = gettext("No company sign-in is set up for addresses at %(domain)s.") % {
                "domain": domain
            }
            raise forms.ValidationError(message)
        return email


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def company_sign_in_page(request: HttpRequest) -> HttpResponse:
    """Ask for the address, and lead to the company that its domain belongs to."""
    following = _safe_next(request)
    form = AskForCompanyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        companies = form.companies
        chosen = [each for each in companies if str(each.customer_id) == request.POST.get("at")]
        if len(companies) == 1 or chosen:
            return _leave(request, (chosen or companies)[0], following)
        context = {"form": form, "next": following, "companies": companies}
        return render(request, "account/company/choose.html", context)
    context = {"form": form, "next": following}
    return render(request, "account/company/sign_in.html", context)


@never_cache
@require_http_methods(["GET", "HEAD"])
@login_required
def confirm_at_company_page(request: HttpRequest) -> HttpResponse:
    """Lead to the company, where the person signs in anew, and back. Raises PermissionDenied."""
    user: Any = request.user
    company = company_of(user)
    if company is None:
        raise PermissionDenied
    confirmation = {CONFIRMED_FOR: user.pk, SINCE: time.time()}
    return _leave(request, company, _safe_next(request), confirmation)


def company_of(user: User) -> CompanySignIn | None:
    """Return the company at which this login is connected."""
    providers = SocialAccount.objects.filter(user=user).values_list("provider", flat=True)
    numbers = [int(provider.removeprefix(PROVIDER_PREFIX)) for provider in providers]
    return CompanySignIn.objects.filter(customer__in=numbers).first()


def _app_of(company: CompanySignIn) -> SocialApp:
    return SocialApp(
        provider="openid_connect",
        provider_id=company.provider_id,
        name="your company",
        client_id=company.client_id,
        secret=company.unseal_secret(),
        settings={"server_url": company.issuer, "oauth_pkce_enabled": True},
    )


def _account_of(sociallogin: SocialLogin, claims: dict[str, Any]) -> SocialAccount:
    """Return the connected account. Raises the errors of `find_or_connect_login`."""
    provider_id = sociallogin.account.provider
    company = (
        CompanySignIn.objects.select_related("customer")
        .filter(customer=int(provider_id.removeprefix(PROVIDER_PREFIX)))
        .first()
    )
    id_token, more = claims.get("id_token") or {}, claims.get("userinfo") or {}
    # OpenID Connect Core 5.3.2: what is told beside the token counts only of the same person.
    if (
        company is None
        or not id_token.get("sub")
        or more.get("sub", id_token["sub"]) != id_token["sub"]
    ):
        raise company_sign_ins.NotAMember
    told = more if more.get("email") else id_token
    return company_sign_ins.find_or_connect_login(
        company=company,
        subject=str(id_token["sub"]),
        email=str(told.get("email") or ""),
        is_verified=told.get("email_verified") in (True, "true"),
    )


def _confirm(
    request: HttpRequest,
    account: SocialAccount,
    confirmation: dict[str, Any],
    claims: dict[str, Any],
    following: str | None,
) -> HttpResponse:
    """Record that the signed-in person has signed in anew at the company, or say why not."""
    user: Any = request.user
    if user.pk != account.user_id or confirmation[CONFIRMED_FOR] != user.pk:
        return _rejected(
            request, gettext("That is another account than the one you are signed in with.")
        )
    signed_in_at = (claims.get("id_token") or {}).get("auth_time")
    is_fresh = isinstance(signed_in_at, int | float) and (
        signed_in_at >= confirmation[SINCE] - CLOCK_LEEWAY_SECONDS
    )
    if not is_fresh:
        return _rejected(
            request,
            gettext(
                "Your company's sign-in did not ask you again, or does not say that it did."
                " Choose a password by mail to confirm that it is you."
            ),
        )
    record_authentication(
        request,
        user,
        AUTHENTICATION_METHOD,
        provider=account.provider,
        uid=account.uid,
        reauthenticated=True,
    )
    return redirect(following or "storefront:home")


def _leave(
    request: HttpRequest,
    company: CompanySignIn,
    following: str,
    confirmation: dict[str, Any] | None = None,
) -> HttpResponse:
    """Answer with a page that goes on to the company.

    No redirect: the policy of the page lets forms lead nowhere else.
    """
    auth_params = {"prompt": "login", "max_age": "0"} if confirmation else {}
    try:
        provider = get_adapter().get_provider(request, company.provider_id)
        response = provider.redirect(
            request,
            AuthProcess.REDIRECT if confirmation else AuthProcess.LOGIN,
            next_url=following,
            data=confirmation,
            auth_params=auth_params,
        )
    except (RequestException, OAuth2Error, *NOT_A_CONFIGURATION) as error:
        logger.warning("%s cannot be reached: %s", company.provider_id, type(error).__name__)
        why = gettext("Your company's sign-in cannot be reached. Try again in a minute.")
        return _rejected(request, why, status=502)
    target = urlsplit(response["Location"])
    if target.scheme not in ("https", "http"):
        return _rejected(
            request, gettext("Your company's sign-in is not set up right."), status=502
        )
    context = {"target": target.geturl(), "host": target.hostname}
    return render(request, "account/company/leave.html", context)


def _rejected(request: HttpRequest, why: str, status: int = 403) -> HttpResponse:
    user = request.user if isinstance(request.user, User) else None
    sign_ins.record_throttled_event(
        verb=AuditVerb.SIGN_IN_FAILED, user=user, address=current_address()
    )
    context = {"why": why, "is_signed_in": user is not None}
    return render(request, "account/company/rejected.html", context, status=status)


def _safe_next(request: HttpRequest) -> str:
    """Return where to go afterwards: a page of ours."""
    wanted = str(request.POST.get("next") or request.GET.get("next") or "")
    is_ours = url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return wanted if wanted and is_ours else reverse("storefront:home")
