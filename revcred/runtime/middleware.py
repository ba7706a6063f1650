import sys
from collections.abc import Callable
from typing import Any

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers
from django.views.defaults import page_not_found
from whitenoise.middleware import WhiteNoiseMiddleware

GetResponse = Callable[[HttpRequest], HttpResponse]

GATEWAY_PATHS = ("/v1/", "/api/v1/", "/api/v2/", "/meter/", "/v2/", "/tool/", "/profitstream/")
PROGRAM_PATHS = (*GATEWAY_PATHS, "/readyz", "/metrics")
DATABASE_UNAVAILABLE_ERRORS = (OperationalError, InterfaceError)
RETRY_AFTER_SECONDS = "1"  # seconds


def database_unavailable_response(request: HttpRequest) -> HttpResponse:
    """503 with Retry-After: as JSON where machines ask, as a page where people do."""
    if request.path.startswith(PROGRAM_PATHS):
        body = {"code": "unavailable", "message": "The database is away. Send it again."}
        response: HttpResponse = JsonResponse(body, status=503)
    else:
        response = render(request, "503.html", status=503)
    response["Retry-After"] = RETRY_AFTER_SECONDS
    return response


def server_error_response(request: HttpRequest) -> HttpResponse:
    """The last resort. A database that goes away in a middleware ends up here, too."""
    if isinstance(sys.exc_info()[1], DATABASE_UNAVAILABLE_ERRORS):
        return database_unavailable_response(request)
    if request.path.startswith(PROGRAM_PATHS):
        body = {"code": "error", "message": "Something went wrong here. Send it again."}
        return JsonResponse(body, status=500)
    return render(request, "500.html", status=500)


def not_found_response(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: as JSON where machines ask, as a page where people do."""
    if request.path.startswith(PROGRAM_PATHS):
        body = {"code": "not_found", "message": "There is nothing here."}
        return JsonResponse(body, status=404)
    return page_not_found(request, exception)


class PagesOnlyMixin:
    """A middleware that gateways' requests, which are many, pass by."""

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(GATEWAY_PATHS):
            return self.get_response(request)  # type: ignore[attr-defined]
        return super().__call__(request)  # type: ignore[misc]


class PagesCspMiddleware(PagesOnlyMixin, CSPMiddleware):
    pass


class PagesStaticFilesMiddleware(PagesOnlyMixin, WhiteNoiseMiddleware):  # type: ignore[misc]
    pass


class PagesSessionMiddleware(PagesOnlyMixin, SessionMiddleware):
    pass


class PagesCsrfMiddleware(PagesOnlyMixin, CsrfViewMiddleware):
    pass


class PagesAuthenticationMiddleware(PagesOnlyMixin, AuthenticationMiddleware):
    pass


class PagesMessageMiddleware(PagesOnlyMixin, MessageMiddleware):
    pass


class DatabaseUnavailableMiddleware:
    """Say so honestly when PostgreSQL is away, instead of failing."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, DATABASE_UNAVAILABLE_ERRORS):
            return database_unavailable_response(request)
        return None


class PrivatePagesMiddleware:
    """What a signed-in person sees is nobody else's: no cache keeps it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if settings.SESSION_COOKIE_NAME in request.COOKIES and "Cache-Control" not in response:
            add_never_cache_headers(response)
        return response
