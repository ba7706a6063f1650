"""Serves what an operator has set for the looks of the storefront, and tells templates of it.

Colours are a stylesheet at an address of our own, so that the content security policy need not
allow styles in pages.
"""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_safe

from revcred.models import Appearance

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


def current_appearance() -> Appearance:
    """Return what is set, or else how revcred looks by itself."""
    return Appearance.objects.first() or Appearance()


def appearance(request: HttpRequest) -> dict[str, Any]:
    """Let templates have `appearance`, read where a template asks for it."""
    return {"appearance": SimpleLazyObject(current_appearance)}


@require_safe
def stylesheet(request: HttpRequest, digest: str) -> HttpResponse:
    """Answer with the colours. `digest`: of the appearance, so that a new one is loaded at once."""
    shown = current_appearance()
    text = STYLESHEET.format(
        accent=shown.accent or DEFAULT_ACCENT, accent_dark=shown.accent_dark or DEFAULT_ACCENT_DARK
    )
    return _cached(HttpResponse(text, content_type="text/css; charset=utf-8"), shown, digest)


@require_safe
def logo(request: HttpRequest, digest: str) -> HttpResponse:
    """Answer with the logo."""
    shown = current_appearance()
    if not shown.logo:
        raise Http404
    response = HttpResponse(bytes(shown.logo), content_type=shown.logo_type)
    response["Content-Security-Policy"] = LOGO_POLICY
    return _cached(response, shown, digest)


def _cached(response: HttpResponse, shown: Appearance, digest: str) -> HttpResponse:
    # Under an older address, which a page that was open before asks for, it is kept by nobody.
    response["Cache-Control"] = FOREVER if digest == shown.digest else "no-store"
    return response
