"""Serves what an operator has set for the looks of the storefront, and tells templates of it.

Colours are a stylesheet at an address of our own, so that the content security policy need not
allow styles in pages.
"""

import time
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.db.models.signals import post_save
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_safe

from revcred.models import Appearance

MAX_AGE_SECONDS = 5.0  # that other processes show what was set before
FOREVER = "public, max-age=31536000, immutable"
# Should a browser open the file by itself: nothing in it runs, and nothing is loaded.
LOGO_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
DEFAULT_ACCENT, DEFAULT_ACCENT_DARK = "#0f766e", "#5cc8bc"  # of tokens.css
# The selector is doubled as in tokens.css, and comes later.
STYLESHEET = """\
:root:root {{
  --accent-ink: light-dark({accent}, {accent_dark});
  --accent-ink-hover: light-dark(color-mix(in srgb, {accent}, #000 20%),
    color-mix(in srgb, {accent_dark}, #fff 25%));
  --fill: {accent};
  --fill-hover: color-mix(in srgb, {accent}, #000 15%);
}}
"""


class AppearanceCache:
    """What is set, as this process has read it: each page needs it, also without a database."""

    def __init__(self) -> None:
        self._read: Appearance | None = None
        self._read_at = 0.0

    def get(self) -> Appearance:
        """Return what is set, or else how revcred looks by itself.

        While the database is away, what was read last is returned.
        """
        if self._read is None or time.monotonic() - self._read_at > MAX_AGE_SECONDS:
            try:
                self.keep(Appearance.objects.first() or Appearance())
            except (DatabaseError, InterfaceError):
                return self._read or Appearance()
        assert self._read is not None
        return self._read

    def keep(self, appearance: Appearance) -> None:
        """Take this for what is set, until it is too old."""
        self._read, self._read_at = appearance, time.monotonic()

    def forget(self, **_: Any) -> None:
        self._read = None


appearance_cache = AppearanceCache()
post_save.connect(appearance_cache.forget, sender=Appearance)


def appearance(request: HttpRequest) -> dict[str, Any]:
    """Let templates have `appearance`, read where a template asks for it."""
    return {"appearance": SimpleLazyObject(appearance_cache.get)}


@require_safe
def stylesheet(request: HttpRequest, digest: str) -> HttpResponse:
    """Answer with the colours. `digest`: of the appearance, so that a new one is loaded at once."""
    shown = appearance_cache.get()
    text = STYLESHEET.format(
        accent=shown.accent or DEFAULT_ACCENT, accent_dark=shown.accent_dark or DEFAULT_ACCENT_DARK
    )
    return _cached(HttpResponse(text, content_type="text/css; charset=utf-8"), shown, digest)


@require_safe
def logo(request: HttpRequest, digest: str) -> HttpResponse:
    """Answer with the logo."""
    shown = appearance_cache.get()
    if not shown.logo:
        raise Http404
    response = HttpResponse(bytes(shown.logo), content_type=shown.logo_type)
    response["Content-Security-Policy"] = LOGO_POLICY
    return _cached(response, shown, digest)


def _cached(response: HttpResponse, shown: Appearance, digest: str) -> HttpResponse:
    # Under an older address, which a page that was open before asks for, it is kept by nobody.
    response["Cache-Control"] = FOREVER if digest == shown.digest else "no-store"
    return response
