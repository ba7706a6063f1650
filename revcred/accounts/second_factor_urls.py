"""allauth's pages about the second factor, each request in one transaction.

A change and its record are committed together.
"""

from allauth.mfa.urls import urlpatterns as allauth_patterns
from django.db.transaction import atomic
from django.urls import URLPattern, URLResolver, include, path


def _atomic_pattern(pattern: URLPattern | URLResolver) -> URLPattern | URLResolver:
    """Return the URL pattern with its view in a transaction; includes are copied."""
    route = str(pattern.pattern)
    if isinstance(pattern, URLResolver):
        return path(route, include([_atomic_pattern(each) for each in pattern.url_patterns]))
    return path(route, atomic(pattern.callback), name=pattern.name)


urlpatterns = [_atomic_pattern(each) for each in allauth_patterns]
