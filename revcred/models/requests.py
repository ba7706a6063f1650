"""Requests of subscribers for credentials, which admins approve or reject."""

from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from revcred.models.credentials import Credential
from revcred.models.customers import Customer, Subscriber
from revcred.models.names import MAX_NAME_CHARACTERS
from revcred.models.subscriptions import Subscription
from revcred.models.users import User
from revcred.texts import gettext_lazy


class CredentialRequestQuerySet(models.QuerySet["CredentialRequest"]):
    def waiting(self) -> Self:
        """Return the requests that nobody has decided yet."""
        return self.filter(decided_at=None)

    def visible_to(self, user: User) -> Self:
        """Return the user's own requests, and those of customers the user owns."""
        owned = Customer.objects.owned_by(user).values("pk")
        own = Q(subscriber__user=user, customer__memberships__subscriber__user=user)
        return self.filter(Q(customer__in=owned) | Q(pk__in=self.model._base_manager.filter(own)))


class CredentialRequest(models.Model):
    """A request for a credential that is charged to a subscription, and what became of it."""

    class State(models.TextChoices):
        WAITING = "waiting", gettext_lazy("Waiting")
        APPROVED = "approved", gettext_lazy("Approved")
        REJECTED = "rejected", gettext_lazy("Rejected")
        WITHDRAWN = "withdrawn", gettext_lazy("Withdrawn")

    customer = models.ForeignKey(
        Customer, models.CASCADE, related_name="credential_requests", editable=False
    )
    subscription = models.ForeignKey(
        Subscription, models.CASCADE, related_name="credential_requests", editable=False
    )
    subscriber = models.ForeignKey(
        Subscriber,
        models.CASCADE,
        related_name="credential_requests",
        editable=False,
        help_text=gettext_lazy("Who asks for it, and will hold it."),
    )
    name = models.CharField(max_length=MAX_NAME_CHARACTERS, editable=False)
    environment = models.CharField(max_length=50, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, editable=False)
    note = models.CharField(gettext_lazy("what for"), max_length=500, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING, editable=False)
    decided_at = models.DateTimeField(null=True, editable=False)
    reason = models.CharField(max_length=500, blank=True, editable=False)
    credential = models.OneToOneField(
        Credential, models.SET_NULL, null=True, editable=False, related_name="request"
    )

    objects = CredentialRequestQuerySet.as_manager()

    class Meta:
        verbose_name = gettext_lazy("request for a credential")
        verbose_name_plural = gettext_lazy("requests for credentials")
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=("customer", "name"),
                condition=Q(decided_at=None),
                name="credentialrequest_once_at_a_time",
                violation_error_message=gettext_lazy(
                    "A credential of this name is requested already."
                ),
            ),
        )
        indexes = (
            models.Index(
                fields=["created_at"],
                condition=Q(decided_at=None),
                name="credentialrequest_waiting",
            ),
        )

    def __str__(self) -> str:
        return self.name
