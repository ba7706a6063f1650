"""Middleware that keeps keys out of URLs, because histories and logs keep URLs.

A request with a key in its query is redirected to the same page without it; other methods than GET
and HEAD go on without it. No response redirects to a URL with a key, neither in its query nor in a
URL that is in its query, such as where to go after signing in.

Staff are told of all keys that revcred knows, subscribers of their own. Nobody learns of any before
signing in: redirects then lose everything that may be a key, whether or not revcred knows it.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import Resolver404, resolve

from revcred import pasting
from revcred.fingerprints import fingerprint
from revcred.models import Credential, User
from revcred.redaction import MIN_SECRET_CHARACTERS
from revcred.runtime.middleware import GetResponse
from revcred.runtime.program_paths import is_program_path
from revcred.texts import gettext_lazy

SAFE_METHODS = {"GET", "HEAD"}
MAX_NESTED_URLS = 3  # addresses in the queries of addresses
# Values of revcred's own URLs that are no keys: numbers of rows, moments, plain words.
NO_KEY_PATTERN = re.compile(r"\d{1,19}|\d{4}-\d\d(-\d\d)?([T ][\d:.]+(Z|[+-][\d:]+)?)?|[a-z_]+")
UUID_PATTERN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

KEY_IN_URL_MESSAGE_FOR_STAFF = gettext_lazy(
    "The address of that page contained a key, which would be kept in histories and logs."
    " To find a key, use the search at the top of the page: it keeps the key out of the"
    " address."
)
KEY_IN_URL_MESSAGE = gettext_lazy(
    "The address of that page contained a key, which would be kept in histories and logs."
    " To find a key, type it into the search field of your credentials: it keeps the key"
    " out of the address."
)

IsKey = Callable[[str], bool]


class KeysInUrlsMiddleware:
    """Has to come after the middleware of sessions, users and messages."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if is_program_path(request.path_info):
            return self.get_response(request)
        response = self._redirect_from_key(request) or self.get_response(request)
        if "Location" in response:
            response["Location"] = _location_without_keys(response["Location"], request)
        return response

    def _redirect_from_key(self, request: HttpRequest) -> HttpResponse | None:
        """Return a redirect to the same page without keys; other methods only lose them."""
        if not request.GET or (query := _query_without_keys(request)) is None:
            return None
        if request.method in SAFE_METHODS:
            _warn(request)
            return redirect(f"{request.path}?{query}" if query else request.path)
        request.META["QUERY_STRING"] = query
        request.GET = type(request.GET)(query)
        return None


def _warn(request: HttpRequest) -> None:
    if request.user.is_authenticated:
        messages.warning(
            request, KEY_IN_URL_MESSAGE_FOR_STAFF if request.user.is_staff else KEY_IN_URL_MESSAGE
        )


def _query_without_keys(request: HttpRequest) -> str | None:
    """Return the query without keys, or None if there is none in it."""
    pairs = [(name, value) for name, values in request.GET.lists() for value in values]
    sound = _parameters_without_keys(
        pairs, _is_key_for(request), is_anonymous=_is_anonymous(request)
    )
    return None if sound == pairs else urlencode(sound)


def _location_without_keys(address: str, request: HttpRequest) -> str:
    is_anonymous = _is_anonymous(request)
    is_key = pasting.looks_like_key if is_anonymous else _is_key_for(request)
    if not urlsplit(address).query:
        return address
    return _url_without_keys(address, is_key, is_anonymous=is_anonymous)


def _is_anonymous(request: HttpRequest) -> bool:
    return not request.user.is_authenticated


def _is_key_for(request: HttpRequest) -> IsKey:
    user: Any = request.user
    if user.is_authenticated and user.is_staff:
        return pasting.is_known_key
    if user.is_authenticated:
        return lambda text: pasting.is_marked_as_key(text) or _is_own_key(text, user)
    return pasting.is_marked_as_key


def _is_own_key(text: str, user: User) -> bool:
    marks = [fingerprint(pasting.extract_key(text))]
    return Credential.objects.visible_to(user).filter(keys__fingerprint__in=marks).exists()


def _url_without_keys(address: str, is_key: IsKey, *, is_anonymous: bool, depth: int = 0) -> str:
    """Return the URL without keys in its query, or without any query if it is nested too deeply."""
    parts = urlsplit(address)
    if depth >= MAX_NESTED_URLS:
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    sound = _parameters_without_keys(pairs, is_key, is_anonymous=is_anonymous, depth=depth)
    if sound == pairs:
        return address
    query = urlencode(sound)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, parts.fragment))


def _parameters_without_keys(
    pairs: list[tuple[str, str]], is_key: IsKey, *, is_anonymous: bool, depth: int = 0
) -> list[tuple[str, str]]:
    sound = []
    for name, value in pairs:
        if _is_url(value):
            nested = pasting.looks_like_key if is_anonymous else is_key
            path = _url_without_keys_in_path(value, nested)
            led = _url_without_keys(path, nested, is_anonymous=is_anonymous, depth=depth + 1)
            sound.append((name, led))
        elif _is_query(value):
            inside = _parameters_without_keys(
                parse_qsl(value, keep_blank_values=True),
                is_key,
                is_anonymous=is_anonymous,
                depth=depth,
            )
            is_sound = inside == parse_qsl(value, keep_blank_values=True)
            if is_sound and not _may_be_key(name, is_key):
                sound.append((name, value))
        elif not (_may_be_key(value, is_key) or _may_be_key(name, is_key)):
            sound.append((name, value))
    return sound


def _may_be_key(text: str, is_key: IsKey) -> bool:
    if len(text) < MIN_SECRET_CHARACTERS or NO_KEY_PATTERN.fullmatch(text):
        return False
    return is_key(text) or pasting.is_marked_as_key(text)


def _is_url(value: str) -> bool:
    return value.startswith(("/", "http:", "https:"))


def _is_query(value: str) -> bool:
    """Return True for a query in a value, such as the filters that admin pages pass on."""
    return bool(re.match(r"[A-Za-z_]\w*(=|&)", value)) and " " not in value


def _url_without_keys_in_path(address: str, is_key: IsKey) -> str:
    """Return the URL, or that of the first page if its path may contain a key."""
    parts = urlsplit(address)
    try:
        values = [*resolve(parts.path).kwargs.values()]
    except Resolver404:
        values = [*parts.path.split("/")]
    texts = (text for text in map(str, values) if not UUID_PATTERN.fullmatch(text))
    if not any(_may_be_key(text, is_key) for text in texts):
        return address
    return "/admin/" if parts.path.startswith("/admin/") else "/"
