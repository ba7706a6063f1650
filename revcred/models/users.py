"""Logins of staff and subscribers, and what changes or guards them."""

from datetime import timedelta
from typing import Any, ClassVar, Self

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models.functions import Lower, Now
from django.utils import timezone
from django.utils.crypto import salted_hmac

from revcred.texts import gettext_lazy
from revcred.time_zones import MAX_ZONE_CHARACTERS

ADDRESS_CHANGE_LIFETIME = timedelta(days=3)  # like the link for a forgotten password


class UserManager(BaseUserManager["User"]):
    """Creates logins with lower-case addresses."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        # Addresses are kept in lower case; a unique constraint over lower(email) guards that.
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=username)


class User(AbstractBaseUser, PermissionsMixin):
    """A login by e-mail address, of staff or of a subscriber."""

    email = models.EmailField(max_length=254, unique=True)
    name = models.CharField(max_length=150, blank=True)
    is_staff = models.BooleanField(
        gettext_lazy("staff"),
        default=False,
        help_text=gettext_lazy("May sign in to the administration."),
    )
    is_active = models.BooleanField(
        gettext_lazy("active"),
        default=True,
        help_text=gettext_lazy("Switch off instead of deleting a user."),
    )
    # The database's default is for versions of revcred that do not know the column.
    time_zone = models.CharField(
        max_length=MAX_ZONE_CHARACTERS,
        blank=True,
        default="",
        db_default="",
        help_text=gettext_lazy(
            "In which pages show the user moments, such as Europe/Berlin. Empty: UTC."
        ),
    )
    language = models.CharField(
        max_length=10,
        blank=True,
        default="",
        db_default="",
        help_text=gettext_lazy(
            "Of pages of the storefront and mails, such as de. Empty: the browser's."
        ),
    )
    date_joined = models.DateTimeField(default=timezone.now, editable=False)
    session_number = models.PositiveIntegerField(
        default=0, editable=False, help_text=gettext_lazy("One more ends all sessions of the user.")
    )
    reveals_rest_since = models.DateTimeField(
        null=True,
        editable=False,
        help_text=gettext_lazy(
            "Since then no key is revealed to the user, until the user has confirmed the new"
            " sign-in address."
        ),
    )
    # Then the name and the address became a pseudonym: see `revcred.actions.people`.
    erased_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        ordering = ("email",)
        constraints = (
            models.UniqueConstraint(
                Lower("email"),
                name="user_email_any_case",
                violation_error_message=gettext_lazy("There is a user with this address already."),
            ),
        )

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name or self.email

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """Return the hash that every request compares with its session.

        Raising `session_number` ends all sessions. As long as it is 0 the hash is Django's own, so
        that an upgrade ends no session.
        """
        # Depends on the password: changing it ends other sessions anyway.
        own: str = super()._get_session_auth_hash(secret=secret)  # type: ignore[misc]
        if not self.session_number:
            return own
        return salted_hmac(
            "revcred.session_number", f"{self.session_number}:{own}", algorithm="sha256"
        ).hexdigest()


class AddressChangeQuerySet(models.QuerySet["AddressChange"]):
    def open(self) -> Self:
        """Return changes that the new address may still confirm."""
        return self.filter(
            confirmed_at=None, cancelled_at=None, asked_at__gt=Now() - ADDRESS_CHANGE_LIFETIME
        )


class AddressChange(models.Model):
    """A new sign-in address that was requested. It counts once it is confirmed from there."""

    user = models.ForeignKey(User, models.CASCADE, related_name="address_changes")
    old_email = models.EmailField(max_length=254)
    new_email = models.EmailField(max_length=254)
    asked_at = models.DateTimeField(default=timezone.now)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    needs_password = models.BooleanField(
        default=True,
        help_text=gettext_lazy("The link alone does not confirm: the password is asked for."),
    )
    confirmed_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)

    objects = AddressChangeQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(
                fields=["user"],
                # An expired change still counts as open here: asking again cancels it first.
                condition=models.Q(confirmed_at=None, cancelled_at=None),
                name="addresschange_one_open",
            ),
        )

    def __str__(self) -> str:
        return f"{self.old_email} → {self.new_email}"


class FailedSignIns(models.Model):
    """A counter of events of one kind at one login, of which at most one a minute is recorded.

    Row 0 counts all addresses that nobody signs in with. What was typed is not kept: it may be a
    password.
    """

    # No foreign key: 0 is no user, and the count outlives a deleted login.
    user_number = models.BigIntegerField()
    verb = models.CharField(max_length=20)
    recorded_at = models.DateTimeField()
    unrecorded = models.PositiveIntegerField(default=0)
    address = models.GenericIPAddressField(null=True)

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=["user_number", "verb"], name="failedsignins_once"),
        )

    def __str__(self) -> str:
        return f"{self.verb} of user {self.user_number}"
