"""Middleware and error handlers: pages for people, JSON for programs."""

import sys
from collections.abc import Callable
from typing import Any

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponsePermanentRedirect,
    JsonResponse,
)
from django.middleware.common import CommonMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.gzip import GZipMiddleware
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django.views.defaults import page_not_found, permission_denied
from psycopg.errors import QueryCanceled
from whitenoise.middleware import WhiteNoiseMiddleware

from revcred.client_address import answering, is_trusted_proxy
from revcred.languages import browser_language, installation_language, known_language
from revcred.request_id import META_KEY, REQUEST_ID_HEADER, choose_request_id, working_for
from revcred.runtime.program_paths import accepts_any_host, is_program_path
from revcred.runtime.schema_version import is_older_than_database
from revcred.time_zones import time_zone_of

GetResponse = Callable[[HttpRequest], HttpResponse]

# Further paths that no person looks at: errors there are JSON.
MONITORING_PATHS = ("/healthz", "/readyz", "/metrics")
DATABASE_UNAVAILABLE_ERRORS = (OperationalError, InterfaceError)
RETRY_AFTER_SECONDS = "1"  # seconds
TRUSTED_TYPES = {"require-trusted-types-for": ["'script'"], "trusted-types": ["default"]}
# Passkeys and the button that copies a key are all that pages need.
PERMISSIONS_POLICY = ", ".join(
    [
        *(
            f"{feature}=()"
            for feature in (
                "accelerometer",
                "autoplay",
                "browsing-topics",
                "camera",
                "display-capture",
                "encrypted-media",
                "fullscreen",
                "geolocation",
                "gyroscope",
                "hid",
                "idle-detection",
                "magnetometer",
                "microphone",
                "midi",
                "payment",
                "picture-in-picture",
                "screen-wake-lock",
                "serial",
                "usb",
                "xr-spatial-tracking",
            )
        ),
        "clipboard-write=(self)",
        "publickey-credentials-create=(self)",
        "publickey-credentials-get=(self)",
    ]
)


def _is_for_programs(request: HttpRequest) -> bool:
    return is_program_path(request.path) or request.path.startswith(MONITORING_PATHS)


def database_unavailable_response(request: HttpRequest) -> HttpResponse:
    """Answer 503 with Retry-After: JSON to programs, a page to people."""
    if _is_for_programs(request):
        body = {
            "code": "unavailable",
            "message": "The database is unavailable. Send the request again.",
        }
        response: HttpResponse = JsonResponse(body, status=503)
    else:
        response = render(request, "503.html", status=503)
    response["Retry-After"] = RETRY_AFTER_SECONDS
    return response


def took_too_long_response(request: HttpRequest) -> HttpResponse:
    """Answer 503 to staff whose list or search took the database too long."""
    context = {"seconds": settings.STATEMENT_TIMEOUT}
    return render(request, "admin/too_long.html", context, status=503)


def server_error_response(request: HttpRequest) -> HttpResponse:
    """Answer 500, or 503 if a middleware lost the database."""
    # process_exception sees errors of views only, not of other middleware.
    if isinstance(sys.exc_info()[1], DATABASE_UNAVAILABLE_ERRORS):
        return database_unavailable_response(request)
    if _is_for_programs(request):
        body = {"code": "error", "message": "An internal error occurred. Send the request again."}
        return JsonResponse(body, status=500)
    return render(request, "500.html", status=500)


def not_found_response(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404: JSON to programs, a page to people."""
    if _is_for_programs(request):
        body = {"code": "not_found", "message": "There is nothing at this address."}
        return JsonResponse(body, status=404)
    if _is_administration(request):
        return render(request, "admin/404.html", status=404)
    return page_not_found(request, exception)


def expired_form_response(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer 403 to a form that was open too long, or that another site sent."""
    return render(request, "expired_form.html", {"address": request.path}, status=403)


def bad_request_response(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400, such as for a host that is not ours: JSON to programs, a page to people."""
    if _is_for_programs(request):
        body = {"code": "bad_request", "message": "The request is not one that revcred takes."}
        return JsonResponse(body, status=400)
    return render(request, "400.html", status=400)


def forbidden_response(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403: a page of the administration to staff who are there, else of the storefront."""
    if _is_administration(request):
        return render(request, "admin/403.html", status=403)
    return permission_denied(request, exception)


def _is_administration(request: HttpRequest) -> bool:
    """Return True if a member of staff is at an address of the administration."""
    user: Any = getattr(request, "user", None)
    return bool(request.path_info.startswith(reverse("admin:index")) and user and user.is_staff)


class PagesOnlyMixin:
    """Lets a middleware skip gateways' requests, which are many and need none of it."""

    def __call__(self, request: HttpRequest) -> Any:
        if is_program_path(request.path_info):
            return self.get_response(request)  # type: ignore[attr-defined]
        return super().__call__(request)  # type: ignore[misc]


class PagesCompressionMiddleware(PagesOnlyMixin, GZipMiddleware):
    """Compressed pages. What a proxy would guess from their length is blurred by Django."""


class PagesCspMiddleware(PagesOnlyMixin, CSPMiddleware):
    """Content security policy, on pages only.

    Pages of the storefront and of the login take HTML only from the policy that
    `trusted_types.js` makes. The administration's own scripts write HTML.
    """

    def get_policy_parts(
        self,
        request: HttpRequest,
        response: Any,
        report_only: bool = False,  # noqa: FBT001, FBT002 - the signature of django-csp
    ) -> Any:
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only and _requires_trusted_types(request):
            parts.update = {**(parts.update or {}), **TRUSTED_TYPES}
        return parts


def _requires_trusted_types(request: HttpRequest) -> bool:
    match = request.resolver_match
    if match is None:
        return False
    return match.namespace == "storefront" or str(match.url_name).startswith(("account_", "mfa_"))


class BrowserFeaturesMiddleware:
    """Switches features of browsers off that no page needs, and keeps other sites' pages out."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not is_program_path(request.path_info):
            response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
            response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return response


class PagesStaticFilesMiddleware(PagesOnlyMixin, WhiteNoiseMiddleware):  # type: ignore[misc]
    """Static files, looked for by pages only."""


class PagesSessionMiddleware(PagesOnlyMixin, SessionMiddleware):
    """Sessions, on pages only."""

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        # The list of somebody's sessions tells the browsers apart by it.
        session: Any = request.session
        session.browser = request.headers.get("user-agent", "")


class PagesCsrfMiddleware(PagesOnlyMixin, CsrfViewMiddleware):
    """CSRF protection, on pages only: gateways have tokens."""


class PagesAuthenticationMiddleware(PagesOnlyMixin, AuthenticationMiddleware):
    """Signed-in users, on pages only."""


class PagesMessageMiddleware(PagesOnlyMixin, MessageMiddleware):
    """Messages, on pages only."""


class HostCheckMiddleware(CommonMiddleware):
    """Answers 400 to a `Host` that is not in ALLOWED_HOSTS, except to monitoring and to checks.

    Probes and Prometheus ask for whatever name or address a process has inside the network. Only
    there is it answered, so that ALLOWED_HOSTS need not name it. Caddy and Envoy ask about a call
    under the host that its caller named.
    """

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        path = request.path_info
        if path in MONITORING_PATHS or accepts_any_host(path):
            return None
        return super().process_request(request)


class RequestIdMiddleware:
    """Lets the answer, log lines and audit events of a request carry its id."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        meta = request.META
        request_id = meta[META_KEY] = choose_request_id(
            meta.get("HTTP_X_REQUEST_ID", ""), peer=meta.get("REMOTE_ADDR", "")
        )
        with working_for(request_id):
            response = self.get_response(request)
        response[REQUEST_ID_HEADER] = request_id
        return response


class ClientAddressMiddleware:
    """Lets every audit event of a request have the IP address that the request came from.

    X-Forwarded-Proto is taken from everybody but trusted proxies: no other may say HTTPS.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "HTTP_X_FORWARDED_PROTO" in request.META and not is_trusted_proxy(
            request.META.get("REMOTE_ADDR", "")
        ):
            del request.META["HTTP_X_FORWARDED_PROTO"]
        with answering(request):
            return self.get_response(request)


class DatabaseUnavailableMiddleware:
    """Answers 503 instead of 500 while PostgreSQL is unavailable, or newer than this code."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception.__cause__, QueryCanceled) and _is_administration(request):
            return took_too_long_response(request)
        if isinstance(exception, DATABASE_UNAVAILABLE_ERRORS):
            return database_unavailable_response(request)
        # A column or function that has gone. A process of the new code answers.
        if isinstance(exception, ProgrammingError) and is_older_than_database():
            return database_unavailable_response(request)
        return None


class PrivatePagesMiddleware:
    """Keeps pages of signed-in people out of all caches."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        # By the cookie, since asking for the user would load the session on every request.
        if settings.SESSION_COOKIE_NAME in request.COOKIES and "Cache-Control" not in response:
            add_never_cache_headers(response)
        return response


class BrowserLanguageMiddleware:
    """Shows pages, and errors, in the language that the browser asks for.

    It needs no database: whatever fails later is said in that language, too.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # Programs get English.
        if _is_for_programs(request):
            return self.get_response(request)
        language = browser_language(request.headers.get("Accept-Language", ""))
        request.browser_language = language  # type: ignore[attr-defined] # for what runs later
        with translation.override(language or settings.LANGUAGE_CODE):
            response = self.get_response(request)
        patch_vary_headers(response, ["Accept-Language"])
        return response


class PagePreferencesMiddleware:
    """Shows pages in the time zone of the signed-in person, and in the language chosen."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # Programs get and send UTC, and English.
        if _is_for_programs(request):
            return self.get_response(request)
        zone, chosen = None, ""
        # Without a session nobody is signed in.
        if settings.SESSION_COOKIE_NAME in request.COOKIES:
            try:
                zone = time_zone_of(request.user)
            except DATABASE_UNAVAILABLE_ERRORS:
                # Whatever needs the database says so itself.
                return self.get_response(request)
            chosen = known_language(getattr(request.user, "language", ""))
        with timezone.override(zone), translation.override(_page_language(request, chosen)):
            return self.get_response(request)


def _page_language(request: HttpRequest, chosen: str) -> str:
    asked: str = request.browser_language  # type: ignore[attr-defined]
    return chosen or asked or installation_language()
