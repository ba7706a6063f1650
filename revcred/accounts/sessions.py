"""The store of sessions (SESSION_ENGINE): under digests, and with an end.

A session ends when it rested too long, or a fixed time after somebody signed in. That it is used is
written at most once a minute.
"""

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.db import IntegrityError
from django.db.models.functions import Now
from django.db.transaction import atomic
from django.utils import timezone

from revcred.client_address import current_address
from revcred.models import Session
from revcred.models.sessions import MAX_BROWSER_CHARACTERS, session_digest

SEEN_INTERVAL = timedelta(minutes=1)


class SessionStore(SessionBase):
    """Sessions in a table of their own, where people see theirs and end them."""

    browser = ""  # what the present request says it is: the middleware of sessions sets it
    _signed_in_at: datetime | None = None

    @property
    def key_salt(self) -> str:
        """Bind the signed data to its row: a copy under another digest is not continued."""
        return f"revcred.session.{session_digest(self.session_key or '').hex()}"

    def load(self) -> dict[str, Any]:
        rows = Session.objects.valid().of_key(self.session_key or "")
        row = rows.only("data", "user_id", "created_at", "last_seen_at").first()
        if row is None:
            self._session_key = None
            return {}
        if row.user_id is not None:
            self._signed_in_at = row.created_at
        if timezone.now() - row.last_seen_at > SEEN_INTERVAL:
            # By the database's clock, so that of requests at once only one writes.
            unseen = Session.objects.filter(pk=row.pk, last_seen_at__lt=Now() - SEEN_INTERVAL)
            unseen.update(last_seen_at=Now(), **self._client())
        data: dict[str, Any] = self.decode(row.data)
        return data

    def exists(self, session_key: str) -> bool:
        return Session.objects.of_key(session_key).exists()

    def create(self) -> None:
        while True:
            self._session_key = self._get_new_session_key()  # type: ignore[attr-defined]
            try:
                self.save(must_create=True)
            except CreateError:
                continue
            self.modified = True
            return

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's signature
        if self.session_key is None:
            self.create()
            return
        data = self._get_session(no_load=must_create)  # type: ignore[attr-defined]
        fields = {"data": self.encode(data), "user_id": data.get(SESSION_KEY)}
        if not must_create:
            if not Session.objects.of_key(self.session_key).update(**fields):
                raise UpdateError
            return
        # A new key for a session in which somebody has signed in does not make it last longer.
        since = self._signed_in_at or timezone.now()
        try:
            with atomic():
                Session.objects.create(
                    digest=session_digest(self.session_key),
                    created_at=since,
                    **self._client(),
                    **fields,
                )
        except IntegrityError as error:
            raise CreateError from error

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            Session.objects.of_key(key).delete()

    def flush(self) -> None:
        self._signed_in_at = None
        super().flush()

    @classmethod
    def clear_expired(cls) -> None:
        # `exclude` would have to say what NULL means for each part of the condition.
        Session.objects.exclude(pk__in=Session.objects.valid().values("pk")).delete()

    def _client(self) -> dict[str, Any]:
        browser = self.browser[:MAX_BROWSER_CHARACTERS]
        return {"address": current_address(), "browser": browser}
