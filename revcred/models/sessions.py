"""Sessions of browsers, under digests: whoever reads the table cannot continue one."""

from datetime import timedelta
from hashlib import sha256
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from revcred.browsers import browser_in_words
from revcred.models.users import User

MAX_BROWSER_CHARACTERS = 200


def session_digest(session_key: str) -> bytes:
    """Return the digest under which a session is kept."""
    return sha256(session_key.encode()).digest()


class SessionQuerySet(models.QuerySet["Session"]):
    def valid(self) -> Self:
        """Return the sessions that neither rested nor lasted too long."""
        staff = self._within(settings.STAFF_SESSION_IDLE_SECONDS, settings.STAFF_SESSION_SECONDS)
        subscribers = self._within(
            settings.SUBSCRIBER_SESSION_IDLE_SECONDS, settings.SUBSCRIBER_SESSION_SECONDS
        )
        # One in which nobody has signed in holds no more than the token of a mail's link.
        anonymous = self._within(settings.STAFF_SESSION_SECONDS, settings.STAFF_SESSION_SECONDS)
        return self.filter(
            (Q(user__is_staff=True) & staff)
            | (Q(user__is_staff=False) & subscribers)
            | (Q(user=None) & anonymous)
        )

    def of_key(self, session_key: str) -> Self:
        """Return the session that a cookie with this value continues."""
        return self.filter(digest=session_digest(session_key))

    @staticmethod
    def _within(idle_seconds: int, seconds: int) -> Q:
        idle, whole = timedelta(seconds=idle_seconds), timedelta(seconds=seconds)
        return Q(last_seen_at__gt=Now() - idle, created_at__gt=Now() - whole)


class Session(models.Model):
    """The session of one browser. Its data is signed, and says who has signed in."""

    digest = models.BinaryField(max_length=32, unique=True)
    data = models.TextField()
    user = models.ForeignKey(User, models.CASCADE, null=True, related_name="sessions")
    created_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)
    address = models.GenericIPAddressField(null=True)
    browser = models.CharField(max_length=MAX_BROWSER_CHARACTERS, blank=True)

    objects = SessionQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ("-last_seen_at",)

    def __str__(self) -> str:
        return f"session {self.pk}"

    @property
    def browser_in_words(self) -> str:
        return browser_in_words(self.browser)


def end_all_sessions(user: User) -> None:
    """End all sessions of the user, also those that a process is about to save."""
    User.objects.filter(pk=user.pk).update(session_number=F("session_number") + 1)
    Session.objects.filter(user=user).delete()
