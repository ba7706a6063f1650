"""Browsers that a login is known in, by a signed cookie.

Their failures are counted by themselves, so that no stranger's attempts lock the owner out. The
link of a mail makes another browser known; it signs nobody in. Signing out everywhere ends all of
it.
"""

from secrets import token_hex
from typing import Any

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from revcred.models import User
from revcred.outbox import absolute_url

DEVICE_COOKIE_NAME = "revcred_device"
DEVICE_SALT = "revcred.device"
LINK_SALT = "revcred.device_link"
LINK_SECONDS = 3600
DAY_SECONDS = 86_400
MAX_LOGINS_OF_DEVICE = 5


def known_device(request: HttpRequest, user: User) -> str | None:
    """Return the name of the browser that the request comes from, if the user is known in it."""
    cookie = _read_cookie(request)
    is_known = cookie["logins"].get(str(user.pk)) == user.session_number
    return str(cookie["device"]) if is_known else None


def remember_device(request: HttpRequest, response: HttpResponse, user: User) -> None:
    """Have the browser's cookie say that the user is known in it."""
    cookie = _read_cookie(request)
    others = [each for each in cookie["logins"].items() if each[0] != str(user.pk)]
    cookie["logins"] = dict([(str(user.pk), user.session_number), *others][:MAX_LOGINS_OF_DEVICE])
    response.set_cookie(
        DEVICE_COOKIE_NAME,
        signing.dumps(cookie, salt=DEVICE_SALT),
        max_age=settings.KNOWN_DEVICE_DAYS * DAY_SECONDS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def device_link(user: User) -> str:
    """Return a link that makes the user known in the browser that opens it: only for a mail."""
    token = signing.dumps([user.pk, user.session_number], salt=LINK_SALT)
    return absolute_url(reverse("account_known_device", args=[token]))


def user_by_device_link(token: str) -> User | None:
    """Return the user that the link was sent to, or None if it is invalid or too old."""
    try:
        number, session_number = signing.loads(token, salt=LINK_SALT, max_age=LINK_SECONDS)
    except signing.BadSignature:
        return None
    return User.objects.filter(pk=number, session_number=session_number, is_active=True).first()


def _read_cookie(request: HttpRequest) -> dict[str, Any]:
    """Return the name of the browser, and the logins known in it with their session numbers."""
    try:
        cookie: dict[str, Any] = signing.loads(
            request.COOKIES.get(DEVICE_COOKIE_NAME, ""),
            salt=DEVICE_SALT,
            max_age=settings.KNOWN_DEVICE_DAYS * DAY_SECONDS,
        )
    except signing.BadSignature:
        return {"device": token_hex(16), "logins": {}}
    return cookie
