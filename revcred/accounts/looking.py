"""Staff who look at the storefront as a subscriber does, for half an hour, and change nothing.

The session stays that of the member of staff, so that nobody is signed in as somebody else: only
pages of the storefront are made for the subscriber, and only where a page is asked for.
django-hijack signs in as the other person, which would give the subscriber's session, second
factor, known browsers and mails to somebody else.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop
from django.views.decorators.http import require_POST

from revcred.actions import looking
from revcred.models import Subscriber, User
from revcred.runtime.middleware import DATABASE_UNAVAILABLE_ERRORS, database_unavailable_response

LOOK_PERIOD = timedelta(minutes=30)
SESSION_ENTRY = "look_as_subscriber"
READ_METHODS = ("GET", "HEAD", "OPTIONS")
READ_ONLY_MESSAGE = gettext_noop(
    "You look at the storefront as a subscriber does. Nothing can be changed here,"
    " and no key or secret is revealed."
)
# Pages of the login that open the session of whoever the company's provider names.
COMPANY_URL_NAMES = {
    "account_company_sign_in",
    "account_confirm_at_company",
    "openid_connect_callback",
}
LOOK_OVER_MESSAGE = gettext_noop("You no longer look as a subscriber: that lasts for 30 minutes.")


def begin_look(request: HttpRequest, subscriber: Subscriber) -> None:
    """Show the storefront as the subscriber sees it. Raises as the action does."""
    until = timezone.now() + LOOK_PERIOD
    user: Any = request.user
    login = looking.begin_look(subscriber=subscriber, by=user, until=until)
    request.session[SESSION_ENTRY] = {"user": login.pk, "until": until.isoformat()}


@require_POST
def end_look_page(request: HttpRequest) -> HttpResponse:
    """Go back to the subscriber's page in the administration."""
    entry = request.session.pop(SESSION_ENTRY, None)
    subscriber = Subscriber.objects.filter(user=entry["user"]).first() if entry else None
    if subscriber is None:
        return HttpResponseRedirect(reverse("storefront:home"))
    user: Any = request.user
    looking.end_look(subscriber=subscriber, by=user)
    return HttpResponseRedirect(reverse("admin:revcred_subscriber_change", args=[subscriber.pk]))


class LookAsSubscriberMiddleware:
    """Makes pages of the storefront for the subscriber as whom a member of staff looks.

    Meanwhile nobody signs in at a company, which would make the session somebody else's.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        match = request.resolver_match
        is_of_company = match is not None and match.url_name in COMPANY_URL_NAMES
        if match is None or not (match.namespace == "storefront" or is_of_company):
            return None
        try:
            self._look(request, str(match.url_name))
        except DATABASE_UNAVAILABLE_ERRORS:
            return database_unavailable_response(request)
        return None

    def _look(self, request: HttpRequest, url_name: str) -> None:
        user: Any = request.user
        if not user.is_staff or SESSION_ENTRY not in request.session:
            return
        entry = request.session[SESSION_ENTRY]
        until = datetime.fromisoformat(entry["until"])
        login = User.objects.filter(pk=entry["user"], is_active=True, is_staff=False).first()
        if login is None or until <= timezone.now() or not user.has_perm(looking.LOOK_RIGHT):
            del request.session[SESSION_ENTRY]
            messages.warning(request, gettext(LOOK_OVER_MESSAGE))
            return
        if url_name in COMPANY_URL_NAMES:
            raise PermissionDenied(gettext(READ_ONLY_MESSAGE))
        request.look = {"by": user, "until": until}  # type: ignore[attr-defined] # for templates
        request.user = login
        if request.method not in READ_METHODS or url_name.startswith("reveal_"):
            raise PermissionDenied(gettext(READ_ONLY_MESSAGE))
