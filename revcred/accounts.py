from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context as current
from django.http import HttpRequest
from django.urls import reverse

from revcred.outbox import absolute_url, queue_mail, site_name


class InvitedOnly(DefaultAccountAdapter):  # type: ignore[misc]
    """Nobody signs up: subscribers are invited by an admin. Mails go through the outbox."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        queue_mail(template_prefix, email, {"site": site_name(current.request)} | context)

    def get_reset_password_from_key_url(self, key: str) -> str:
        uid, _, token = key.partition("-")
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": uid, "key": token})
        return absolute_url(path, current.request)
