"""Customers, the people who belong to them, and their roles."""

from typing import Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop

from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS, MAX_NAME_CHARACTERS
from revcred.models.users import User
from revcred.texts import gettext_lazy

MAX_METADATA_CHARACTERS = 16_000  # of JSON; an upload has the same limit


class CustomerQuerySet(models.QuerySet["Customer"]):
    def owned_by(self, user: User) -> Self:
        """Return the customers of which the user is an owner."""
        return self.filter(
            memberships__subscriber__user=user, memberships__role=Membership.Role.OWNER
        )


class Customer(models.Model):
    """An organisation or person that pays for subscriptions."""

    name = models.CharField(max_length=MAX_NAME_CHARACTERS)
    external_key = models.CharField(
        max_length=MAX_EXTERNAL_KEY_CHARACTERS,
        unique=True,
        help_text=gettext_lazy("The name other systems know this customer by."),
    )
    email_domains = ArrayField(
        models.CharField(max_length=253),
        default=list,
        blank=True,
        help_text=gettext_lazy(
            "Separated by commas, such as example.com, example.org. Before somebody with an"
            " address of another domain becomes a member, the page says so."
        ),
    )
    tags = ArrayField(
        models.CharField(max_length=100),
        default=list,
        blank=True,
        help_text=gettext_lazy("Separated by commas."),
    )
    metadata = models.JSONField(default=dict, blank=True)
    notes = models.TextField(
        max_length=4_000,
        blank=True,
        default="",
        db_default="",
        help_text=gettext_lazy(
            "For the provider only: subscribers never see them. Changes are on record."
        ),
    )
    suspended_at = models.DateTimeField(
        gettext_lazy("suspended from"),
        null=True,
        blank=True,
        help_text=gettext_lazy(
            "From then on its keys and secrets are not revealed. Usage is still counted."
        ),
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = CustomerQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (
            # For searches by the beginning of a name, in any case of letters.
            models.Index(OpClass(Lower("name"), "text_pattern_ops"), name="customer_by_name"),
        )

    def __str__(self) -> str:
        return self.name


class SubscriberQuerySet(models.QuerySet["Subscriber"]):
    def of(self, user: User) -> Self:
        """Return the subscriber who signs in as this user."""
        return self.filter(user=user)


class Subscriber(models.Model):
    """A person at one or several customers. Accepting an invitation gives the person a login."""

    email = models.EmailField(max_length=254, unique=True)
    name = models.CharField(max_length=MAX_NAME_CHARACTERS, blank=True)
    # NULL instead of an empty text, of which the unique index would allow only one.
    external_key = models.CharField(
        max_length=MAX_EXTERNAL_KEY_CHARACTERS, unique=True, null=True, blank=True
    )
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        # The person stays a member when the login is deleted, and may be invited again.
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="subscriber",
    )
    invited_at = models.DateTimeField(null=True, editable=False)
    customers = models.ManyToManyField(
        Customer, through="revcred.Membership", related_name="subscribers"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # Then name, address and external key became pseudonyms: see `revcred.actions.people`.
    erased_at = models.DateTimeField(null=True, editable=False)

    objects = SubscriberQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                # Mail servers treat addresses alike in any case of letters, so must we.
                Lower("email"),
                name="subscriber_email_any_case",
                violation_error_message=gettext_lazy(
                    "There is a subscriber with this address already."
                ),
            ),
        )
        # Apart from changing subscribers: support may invite, but not redirect an invitation.
        permissions = (
            ("invite_subscriber", gettext_noop("Can invite subscribers")),
            ("look_as_subscriber", gettext_noop("Can look at the storefront as a subscriber does")),
            (
                "erase_subscriber",
                gettext_noop("Can erase people and export what is held about them"),
            ),
        )

    def __str__(self) -> str:
        return self.email


class Membership(models.Model):
    """A subscriber's role at a customer: an owner sees all of it, others only what they hold."""

    class Role(models.TextChoices):
        OWNER = "owner", gettext_lazy("Owner")
        MEMBER = "member", gettext_lazy("Member")
        VIEWER = "viewer", gettext_lazy("Viewer")

    customer = models.ForeignKey(Customer, models.CASCADE, related_name="memberships")
    subscriber = models.ForeignKey(Subscriber, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                "customer",
                "subscriber",
                name="membership_once",
                violation_error_message=gettext_lazy(
                    "This subscriber belongs to this customer already."
                ),
            ),
        )

    def __str__(self) -> str:
        return gettext("%(subscriber)s, %(role)s at %(customer)s") % {
            "subscriber": self.subscriber,
            "role": self.get_role_display(),
            "customer": self.customer,
        }
