"""Credentials with their keys, sealed values, suspensions and assignments."""

from datetime import datetime
from typing import ClassVar, Self

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import ArrayField, RangeOperators
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Coalesce, Lower, Now
from django.utils import timezone
from django.utils.translation import gettext

from revcred.crypto import SealedTextField, bind_to_place, unbind_from_place
from revcred.fingerprints import fingerprint, new_fingerprint_hex, old_fingerprint_hex
from revcred.models.customers import Customer, Membership, Subscriber
from revcred.models.gateways import Gateway
from revcred.models.names import MAX_NAME_CHARACTERS
from revcred.models.periods import ACTIVE_PERIOD, DatedModel, DatedQuerySet
from revcred.models.subscriptions import Subscription
from revcred.models.users import User
from revcred.texts import gettext_lazy


class RandomPublicId(models.Func):
    """A new public id of a credential: `cred_` and 32 hexadecimal digits."""

    template = "('cred_' || replace(gen_random_uuid()::text, '-', ''))"
    output_field = models.CharField(max_length=40)


class CredentialQuerySet(models.QuerySet["Credential"]):
    def visible_to(self, user: User) -> Self:
        """Return credentials the user holds as a member, and those of customers the user owns."""
        held = Credential.holders.through.objects.filter(
            subscriber__user=user,
            credential__customer__memberships__subscriber__user=user,
        )
        of_owned = Customer.objects.owned_by(user).values("pk")
        return self.filter(Q(pk__in=held.values("credential")) | Q(customer__in=of_owned))

    def with_suspended(self, moment: datetime) -> Self:
        """Annotate `suspended`, so that a list needs no query per row."""
        suspensions = Suspension.objects.at(moment).filter(credential=OuterRef("pk"))
        return self.annotate(suspended=Exists(suspensions))

    def with_charged(self, moment: datetime) -> Self:
        """Annotate `charged`: True if it is assigned to a subscription that is active then."""
        assignments = Assignment.objects.at(moment).filter(
            credential=OuterRef("pk"), subscription__in=Subscription.objects.at(moment)
        )
        return self.annotate(charged=Exists(assignments))


class Credential(models.Model):
    """A caller's identity, which lasts while its keys come and go."""

    class State(models.TextChoices):
        ACTIVE = "active", gettext_lazy("Active")
        SUSPENDED = "suspended", gettext_lazy("Suspended")
        EXPIRED = "expired", gettext_lazy("Expired")
        REVOKED = "revoked", gettext_lazy("Revoked")

    # Needs no index of its own: that of credential_name_of_customer begins with the customer.
    customer = models.ForeignKey(
        Customer, models.PROTECT, related_name="credentials", db_index=False
    )
    # Stands in logs of gateways and goes to the backends, where no key should.
    # PostgreSQL makes it, so that every way to add a credential does. NULL: see the migration.
    public_id = models.CharField(  # noqa: DJ001 - NULL until the migration has filled it
        max_length=40, null=True, editable=False, db_default=RandomPublicId()
    )
    name = models.CharField(max_length=MAX_NAME_CHARACTERS)
    holders = models.ManyToManyField(
        Subscriber,
        related_name="credentials",
        blank=True,
        help_text=gettext_lazy("The people who use it and may reveal it."),
    )
    environment = models.CharField(
        max_length=50, blank=True, help_text=gettext_lazy("Such as production or staging.")
    )
    tags = ArrayField(
        models.CharField(max_length=100),
        default=list,
        blank=True,
        help_text=gettext_lazy("Separated by commas."),
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    revocation_reason = models.CharField(max_length=500, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = CredentialQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                # A revoked credential keeps its name, which another may have again.
                fields=("customer", "name", "revoked_at"),
                nulls_distinct=False,
                name="credential_name_of_customer",
                violation_error_message=gettext_lazy(
                    "This customer has a credential of this name already."
                ),
            ),
            # Target of an assignment's foreign key over two columns: one customer on both sides.
            models.UniqueConstraint("id", "customer", name="credential_of_customer"),
            models.UniqueConstraint("public_id", name="credential_public_id"),
            models.CheckConstraint(
                name="credential_revoked_with_a_reason",
                condition=Q(revoked_at=None, revocation_reason="")
                | (Q(revoked_at__isnull=False) & ~Q(revocation_reason="")),
            ),
        )
        indexes = (
            models.Index(OpClass(Lower("name"), "text_pattern_ops"), name="credential_by_name"),
            # For the filters of the list.
            GinIndex(fields=["tags"], name="credential_by_tags"),
            models.Index(fields=["environment", "id"], name="credential_by_environment"),
            models.Index(
                fields=["expires_at"],
                condition=Q(expires_at__isnull=False),
                name="credential_by_expiry",
            ),
            models.Index(
                fields=["id"], condition=Q(revoked_at__isnull=False), name="credential_revoked"
            ),
        )

    def __str__(self) -> str:
        return self.name

    def state_at(self, moment: datetime, *, suspended: bool) -> State:
        """Return the state at a moment. `suspended`: whether a suspension holds then."""
        if self.revoked_at and self.revoked_at <= moment:
            return self.State.REVOKED
        if self.expires_at and self.expires_at <= moment:
            return self.State.EXPIRED
        return self.State.SUSPENDED if suspended else self.State.ACTIVE

    def may_be_managed_by(self, user: User) -> bool:
        """Return True if the user is a member of the customer in any role but viewer.

        Whether the user sees the credential at all is asked with `visible_to`.
        """
        memberships = self.customer.memberships.filter(subscriber__user=user)
        return memberships.exclude(role=Membership.Role.VIEWER).exists()


class Suspension(DatedModel):
    """A period in which a credential must not be used, kept because past calls are judged by it."""

    credential = models.ForeignKey(Credential, models.CASCADE, related_name="suspensions")
    # The database's default is for versions of revcred that do not know the column.
    by_subscriber = models.BooleanField(
        gettext_lazy("by a subscriber"),
        default=False,
        db_default=False,
        help_text=gettext_lazy(
            "A subscriber made it, and may end it. Others are the provider's to end."
        ),
    )

    objects = DatedQuerySet["Suspension"].as_manager()

    class Meta(DatedModel.Meta):
        abstract = False
        ordering = ("active_from",)
        constraints = (
            *DatedModel.Meta.constraints,
            ExclusionConstraint(
                name="suspension_once_at_a_time",
                expressions=[
                    ("credential", RangeOperators.EQUAL),
                    (ACTIVE_PERIOD, RangeOperators.OVERLAPS),
                ],
            ),
        )

    def __str__(self) -> str:
        return gettext("%(credential)s from %(active_from)s") % {
            "credential": self.credential,
            "active_from": f"{self.active_from:%Y-%m-%d %H:%M}",
        }


class ExternalKeyQuerySet(DatedQuerySet["ExternalKey"]):
    def ever_counting(self) -> Self:
        """Return keys that were not withdrawn before they counted."""
        return self.exclude(active_until__lte=F("active_from"))

    def current(self, moment: datetime) -> Self:
        """Return the key in force, and during a rotation the one that ends soon as well."""
        return self.at(moment).filter(kind=ExternalKey.Kind.KEY)

    def with_sealed(self) -> Self:
        """Annotate `has_value` and `has_secret`: True if there is something to reveal."""
        return self.annotate(
            has_value=Q(sealed__value__isnull=False), has_secret=Q(sealed__secret__isnull=False)
        )


class ExternalKey(DatedModel):
    """A string under which usage may arrive during a period, known by its fingerprint."""

    class Kind(models.TextChoices):
        KEY = "key", gettext_lazy("Key")
        ALIAS = "alias", gettext_lazy("Alias")

    credential = models.ForeignKey(Credential, models.CASCADE, related_name="keys")
    kind = models.CharField(max_length=5, choices=Kind, default=Kind.KEY)
    gateway = models.ForeignKey(
        Gateway,
        models.PROTECT,
        related_name="external_keys",
        null=True,
        blank=True,
        help_text=gettext_lazy("The only gateway it counts at. Empty: any."),
    )
    fingerprint = models.UUIDField(editable=False)
    hint = models.CharField(max_length=4, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # A subscriber may move such an end, and no end that the provider set.
    end_by_subscriber = models.BooleanField(default=False, db_default=False, editable=False)

    objects = ExternalKeyQuerySet.as_manager()

    class Meta(DatedModel.Meta):
        abstract = False
        ordering = ("-active_from", "-pk")
        constraints = (
            # A key withdrawn before it counted ends where it starts. It is kept, because usage that
            # came under it is known by its fingerprint.
            models.CheckConstraint(
                name="externalkey_ends_no_earlier_than_it_starts",
                condition=Q(active_until=None) | Q(active_until__gte=F("active_from")),
            ),
            ExclusionConstraint(
                name="externalkey_means_one_credential",
                expressions=[
                    ("fingerprint", RangeOperators.EQUAL),
                    (Coalesce(F("gateway_id"), 0), RangeOperators.EQUAL),
                    (ACTIVE_PERIOD, RangeOperators.OVERLAPS),
                ],
                violation_error_message=gettext_lazy("This key is in use already in that time."),
            ),
        )
        indexes = (
            # Serves attribution by itself, without a look at the table.
            models.Index(
                fields=["fingerprint", "gateway"],
                include=["id", "kind", "active_from", "active_until", "credential"],
                name="externalkey_by_fingerprint",
            ),
            models.Index(fields=["hint"], name="externalkey_by_hint"),
            # Few keys end, and the list is filtered by them.
            models.Index(
                fields=["active_until"],
                include=["credential"],
                condition=Q(active_until__isnull=False),
                name="externalkey_by_end",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} …{self.hint}" if self.hint else self.get_kind_display()

    @property
    def last_used_at(self) -> datetime | None:
        """Return when the key was last used, or None. Needs `select_related("use")` in lists."""
        use: KeyUse | None = getattr(self, "use", None)
        return use.last_used_at if use else None


class KeyUse(models.Model):
    """The time a key was last used. Every attribution writes it, so the row is narrow and
    unchecked.
    """

    external_key = models.OneToOneField(
        ExternalKey, models.CASCADE, primary_key=True, related_name="use", db_constraint=False
    )
    last_used_at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"Use of {self.external_key_id}"


class SealedValue(models.Model):
    """A key and its secret, sealed. Only the action that reveals reads them.

    By `secret_fingerprint`, a keyed fingerprint, an upload recognises an unchanged secret.
    """

    external_key = models.OneToOneField(
        ExternalKey, models.CASCADE, primary_key=True, related_name="sealed"
    )
    value: "models.Field[str | None, str | None]" = SealedTextField(null=True)
    secret: "models.Field[str | None, str | None]" = SealedTextField(null=True)
    secret_fingerprint = models.UUIDField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"Sealed value of {self.external_key_id}"

    @classmethod
    def token(cls, field: str, text: str, *, of: int) -> bytes:
        """Return the text as the table keeps it in that key's row, for writing many at once."""
        column: SealedTextField = cls._meta.get_field(field)  # type: ignore[assignment]
        return column.seal(bind_to_place(text, to=_sealed_place(field, of)))

    def _place(self, field: str) -> str:
        return _sealed_place(field, self.external_key_id)

    def seal(self, *, value: str | None, secret: str | None) -> None:
        """Set both values, each bound to this row and column."""
        self.value = None if value is None else bind_to_place(value, to=self._place("value"))
        self.secret = None if secret is None else bind_to_place(secret, to=self._place("secret"))
        self.secret_fingerprint = None if secret is None else fingerprint(secret, label="secret")

    def unseal(self, field: str) -> str | None:
        """Return the text of `value` or `secret`. Raises CannotUnseal if sealed for another row."""
        bound = getattr(self, field)
        return None if bound is None else unbind_from_place(bound, to=self._place(field))


def _sealed_place(field: str, key: int) -> str:
    return f"revcred.sealedvalue.{field}:{key}"


class CurrentTransaction(models.Func):
    """The number of the database transaction, by which others tell what is new to them."""

    template = "(pg_current_xact_id()::text::bigint)"
    output_field = models.BigIntegerField()


class ExportedDigest(models.Model):
    """A digest of a key for gateways, made under EXPORT_KEY.

    It outlives its external key for a while, so that gateways learn of the end. Triggers note
    changes of whatever makes a key valid.
    """

    external_key = models.OneToOneField(
        ExternalKey,
        models.DO_NOTHING,
        primary_key=True,
        related_name="exported",
        db_constraint=False,
    )
    digest = models.BinaryField()
    key_id = models.CharField(max_length=8, help_text=gettext_lazy("Which EXPORT_KEY made it."))
    changed_in = models.BigIntegerField(
        db_default=CurrentTransaction(), db_index=True, help_text="A transaction's number."
    )
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"Digest of {self.external_key_id}"


class KeyringCheck(models.Model):
    """One sealed fingerprint by which a process checks at start that it has the right keys."""

    text: "models.Field[str, str]" = SealedTextField()

    class Meta:
        default_permissions = ()
        constraints = (models.CheckConstraint(name="keyringcheck_only_one", condition=Q(pk=1)),)

    def __str__(self) -> str:
        return "Keyring check"

    # Part of what is sealed: another name here would make every keyring look wrong.
    PLACE: ClassVar[str] = "revcred.sealedcanary.text:1"

    @classmethod
    def matches(cls) -> bool:
        """Return True if fingerprints are what they were. Raises CannotUnseal: wrong keyring."""
        return cls.uses_new_key() or cls._kept_text() == _old_canary()

    @classmethod
    def uses_new_key(cls) -> bool:
        """Return True if FINGERPRINT_KEY is in use, and False before it has replaced the old one.

        The first process ever writes the row. Raises CannotUnseal.
        """
        return cls._kept_text() == new_fingerprint_hex("canary", label="canary")

    @classmethod
    def begin_new_key(cls) -> None:
        """Have FINGERPRINT_KEY used from the commit on."""
        expected = new_fingerprint_hex("canary", label="canary")
        cls(pk=1, text=bind_to_place(expected, to=cls.PLACE)).save()

    @classmethod
    def _kept_text(cls) -> str:
        expected = new_fingerprint_hex("canary", label="canary")
        canary, _ = cls.objects.get_or_create(
            pk=1, defaults={"text": bind_to_place(expected, to=cls.PLACE)}
        )
        return unbind_from_place(canary.text, to=cls.PLACE)


def _old_canary() -> str | None:
    if not settings.OLD_FINGERPRINT_KEY:
        return None
    return old_fingerprint_hex("canary", label="canary")


class UnmovedFingerprint(models.Model):
    """A fingerprint of OLD_FINGERPRINT_KEY by which a key or token is still known."""

    fingerprint = models.UUIDField(primary_key=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.fingerprint)


class FingerprintMove(models.Model):
    """The fingerprints of one key or token under both FINGERPRINT_KEYs, seen in what came in."""

    old = models.UUIDField(unique=True)
    new = models.UUIDField()
    is_applied = models.BooleanField(default=False)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.old} → {self.new}"


class Assignment(DatedModel):
    """The subscription that a credential's usage is charged to during a period."""

    # Foreign keys over two columns, made in the migrations, check each with the customer.
    customer = models.ForeignKey(
        Customer, models.PROTECT, related_name="+", editable=False, db_constraint=False
    )
    credential = models.ForeignKey(
        Credential,
        models.CASCADE,
        related_name="assignments",
        db_index=False,
        db_constraint=False,
    )
    subscription = models.ForeignKey(
        Subscription, models.PROTECT, related_name="assignments", db_constraint=False
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = DatedQuerySet["Assignment"].as_manager()

    class Meta(DatedModel.Meta):
        abstract = False
        ordering = ("-active_from", "-pk")
        constraints = (
            *DatedModel.Meta.constraints,
            ExclusionConstraint(
                name="assignment_once_at_a_time",
                expressions=[
                    ("credential", RangeOperators.EQUAL),
                    ("subscription", RangeOperators.EQUAL),
                    (ACTIVE_PERIOD, RangeOperators.OVERLAPS),
                ],
                violation_error_message=gettext_lazy(
                    "It is charged to this subscription in that time already."
                ),
            ),
        )
        indexes = (
            # Serves attribution by itself, without a look at the table.
            models.Index(
                fields=["credential"],
                include=["id", "subscription", "active_from", "active_until"],
                name="assignment_by_credential",
            ),
        )

    def __str__(self) -> str:
        return f"{self.credential} → {self.subscription}"
