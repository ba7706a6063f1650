import json
from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import (
    Case,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_noop

from metering.models.functions import first_id_at
from revcred.models import (
    Assignment,
    Credential,
    Customer,
    ExternalKey,
    Gateway,
    Product,
    Source,
    Subscription,
)
from revcred.models.credentials import CredentialQuerySet
from revcred.models.periods import REST_OF_SECOND
from revcred.public_ids import FingerprintOfPublicId, PublicIdOf
from revcred.texts import gettext_lazy


class QuarantineReason(models.TextChoices):
    """The reason why a transaction could not be attributed."""

    UNKNOWN_KEY = "unknown_key", gettext_noop("No credential has this key")
    KEY_NOT_VALID = "key_not_valid", gettext_noop("The key or its credential was not valid then")
    NO_SUBSCRIPTION = "no_subscription", gettext_noop("No subscription fits that moment and source")
    SUBSCRIPTION_MISMATCH = (
        "subscription_mismatch",
        gettext_noop("The key is not charged to the named subscription"),
    )
    AMBIGUOUS = "ambiguous", gettext_noop("More than one subscription fits")
    ANONYMOUS = "anonymous", gettext_noop("Neither a key nor a subscription is named")
    UNKNOWN_CREDENTIAL = "unknown_credential", gettext_noop("There is no credential of that name")
    UNKNOWN_CUSTOMER = "unknown_customer", gettext_noop("There is no customer of that name")
    UNKNOWN_PRODUCT = "unknown_product", gettext_noop("There is no product of that name")
    UNKNOWN_SUBSCRIBER = "unknown_subscriber", gettext_noop("There is no such subscriber")
    NAMES_DISAGREE = "names_disagree", gettext_noop("The names and the key do not belong together")
    POISON = "poison", gettext_noop("It could not be processed")
    MOMENT_OUTSIDE = "moment_outside", gettext_noop("Its moment is outside the window")


class ExactDecoder(json.JSONDecoder):
    """A decoder that reads decimals exactly as they are written.

    A quantity has up to 18 digits before the point and nine after it. A float holds 15 in all.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"parse_float": Decimal} | options)


class MatchedBy(models.TextChoices):
    KEY = "key", gettext_noop("Key")
    ALIAS = "alias", gettext_noop("Alias")
    PUBLIC_ID = "public_id", gettext_noop("public id")
    SUBSCRIPTION = "subscription", gettext_noop("Subscription")
    NAME = "name", gettext_noop("Name")


def unconstrained_reference(
    model: type[models.Model], *, null: bool = False
) -> "models.ForeignKey[Any, Any]":
    """Return a foreign key without a constraint, an index, or a reverse relation.

    For rows written a thousand times a second, which may outlive what they refer to.
    """
    return models.ForeignKey(
        model,
        models.DO_NOTHING,
        null=null,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )


class MeteredCall(models.Model):
    """Fields that a gateway reports of one call. Sizes in bytes, latency in milliseconds."""

    id = models.UUIDField(primary_key=True, editable=False)
    gateway = unconstrained_reference(Gateway)
    transaction_id = models.TextField()
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField()
    subscription_named = models.TextField(blank=True, default="")
    source_named = models.TextField(blank=True, default="")
    method = models.TextField(blank=True, default="")
    path = models.TextField(blank=True, default="")
    status = models.SmallIntegerField(null=True)
    request_bytes = models.BigIntegerField(null=True)
    response_bytes = models.BigIntegerField(null=True)
    latency_ms = models.FloatField(null=True)
    elements = models.JSONField(decoder=ExactDecoder)
    metadata = models.JSONField(null=True)
    # Names of customer, product and more, if the sender gives any: see the SQL function
    # `owner_by_name` in the migrations.
    names = models.JSONField(null=True)
    corrects = models.UUIDField(null=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.transaction_id


class TransactionQuerySet(models.QuerySet["Transaction"]):
    def of(self, subscription: Subscription) -> Self:
        return self.filter(subscription=subscription)

    def standing(self) -> Self:
        """Keep rows that count today: neither reversals nor rows that one takes back."""
        corrections = self.model._base_manager.filter(corrects=OuterRef("pk"))
        return self.filter(~Exists(corrections), sign=1)


class Transaction(MeteredCall):
    """A row of the ledger: one metered call and its owner. The ledger is only ever added to.

    A correction is a pair of rows: one with sign -1, which takes back the row it `corrects`, and
    one with sign +1 that replaces it (in quarantine, if there is no owner now). A migration
    partitions the table by the day of `occurred_at`.
    """

    attributed_at = models.DateTimeField()
    matched_by = models.CharField(max_length=12, choices=MatchedBy)
    external_key = unconstrained_reference(ExternalKey, null=True)
    credential = unconstrained_reference(Credential, null=True)
    assignment = unconstrained_reference(Assignment, null=True)
    subscription = unconstrained_reference(Subscription)
    customer = unconstrained_reference(Customer)
    product = unconstrained_reference(Product)
    source = unconstrained_reference(Source, null=True)
    quarantined_at = models.DateTimeField(null=True)
    quarantine_reason = models.CharField(  # noqa: DJ001 - NULL: it never was there
        max_length=21, choices=QuarantineReason, null=True
    )
    claim = unconstrained_reference("metering.Claim", null=True)  # type: ignore[arg-type]
    sign = models.SmallIntegerField(default=1)

    objects = TransactionQuerySet.as_manager()

    class Meta:
        ordering = ("-occurred_at",)
        indexes = (
            models.Index(
                fields=["subscription", "-occurred_at"], name="transaction_by_subscription"
            ),
            # Corrections are few: without the condition every call would pay for this index.
            models.Index(
                fields=["corrects"],
                condition=models.Q(corrects__isnull=False),
                name="transaction_by_corrected",
            ),
        )


class QuarantinedQuerySet(models.QuerySet["Quarantined"]):
    def of_credentials(self, credentials: CredentialQuerySet) -> Self:
        """Keep calls under a key or public id of these credentials, and annotate `credential_id`.

        A key means the credential that had it when the call was made, or else had it last before. A
        call from before the key's first period is nobody's: whoever takes a string over later
        learns nothing of it.
        """
        # The last moment that a call in whole seconds may be of.
        last_moment = ExpressionWrapper(
            OuterRef("occurred_at") + Value(REST_OF_SECOND), models.DateTimeField()
        )
        began = ExternalKey.objects.filter(
            Q(gateway=None) | Q(gateway=OuterRef("gateway")),
            fingerprint=OuterRef("fingerprint"),
            active_from__lte=last_moment,
        ).alias(has_ended=Case(When(active_until__lte=OuterRef("occurred_at"), then=1), default=0))
        # As in attribution: a key bound to the gateway goes before one for any.
        owner = began.order_by(
            "has_ended", F("gateway").asc(nulls_last=True), "-active_from", "-pk"
        ).values("credential")
        named = Credential.objects.filter(public_id=PublicIdOf(OuterRef("fingerprint")))
        keys = ExternalKey.objects.filter(credential__in=credentials.values("pk"))
        public_ids = credentials.order_by().values_list(FingerprintOfPublicId("public_id"))
        # A union and no OR, which would read the whole quarantine.
        fingerprints = keys.order_by().values_list("fingerprint").union(public_ids, all=True)
        return (
            self.filter(fingerprint__in=fingerprints)
            .alias(
                owner=Coalesce(
                    Subquery(owner[:1]),
                    Subquery(named.values("pk")),
                    output_field=models.BigIntegerField(),
                )
            )
            .annotate(credential_id=F("owner"))
            .filter(credential_id__in=credentials.values("pk"))
        )

    def made_with(self, credentials: Collection[int] | QuerySet[Any, Any]) -> Self:
        """Keep calls of these of the credentials that `of_credentials` was given, as ids."""
        wanted: dict[str, Any] = {"credential_id__in": credentials}
        return self.filter(**wanted)

    def arrived_since(self, moment: datetime) -> Self:
        """Keep what arrived since the moment. Ids begin with it, and name the partition."""
        return self.filter(pk__gte=first_id_at(moment))


class Quarantined(MeteredCall):
    """A transaction in quarantine: it could not be attributed, and waits until it can be.

    A reviewed one (`released_at`) has been looked at. It leaves the list of open ones, and is still
    attributed if an owner appears later.
    """

    fingerprint = models.UUIDField(null=True)
    hint = models.CharField(max_length=4, blank=True, default="")
    reason = models.CharField(max_length=21, choices=QuarantineReason)
    quarantined_at = models.DateTimeField()
    error = models.CharField(max_length=200, blank=True, default="")
    # The code that met the error. Other code tries again by itself.
    code_version = models.CharField(max_length=250, blank=True, default="", db_default="")
    # Its moment was outside the window on arrival, and no admin has chosen another yet. Until then
    # it is judged, but never attributed.
    outside = models.BooleanField(default=False, db_default=False)
    # The fingerprint of its key written plainly, and the oddities it is written with, such as
    # "quotes". See `metering.similar_keys`.
    similar_fingerprint = models.UUIDField(null=True)
    oddities = models.CharField(max_length=60, blank=True, default="", db_default="")
    released_at = models.DateTimeField(null=True)
    released_by = models.CharField(max_length=254, blank=True, default="")
    release_note = models.CharField(max_length=500, blank=True, default="")

    objects = QuarantinedQuerySet.as_manager()

    class Meta:
        verbose_name_plural = gettext_lazy("quarantine")
        ordering = ("-occurred_at",)
        indexes = (
            models.Index(fields=["fingerprint"], name="quarantined_by_fingerprint"),
            models.Index(fields=["subscription_named"], name="quarantined_by_subscription"),
            models.Index(
                fields=["quarantined_at"],
                condition=models.Q(names__isnull=False),
                name="quarantined_by_names",
            ),
            models.Index(
                fields=["reason", "fingerprint", "gateway", "hint", "occurred_at"],
                condition=models.Q(released_at=None),
                name="quarantined_open",
            ),
            models.Index(
                fields=["released_at"],
                condition=models.Q(released_at__isnull=False),
                name="quarantined_released",
            ),
            models.Index(
                fields=["corrects"],
                condition=models.Q(corrects__isnull=False),
                name="quarantined_by_corrected",
            ),
        )


class SeenTransaction(models.Model):
    """A transaction that has been processed, remembered for longer than a repeat is accepted.

    `dedup_key` is its deduplication key, a hash of gateway and transaction id. Where several
    calls share an id, it covers more, and `shared_id` is the hash of gateway and id. A
    migration partitions the table by hash.
    """

    dedup_key = models.UUIDField(primary_key=True)
    shared_id = models.UUIDField(null=True)
    transaction = models.UUIDField()
    content_hash = models.UUIDField()
    occurred_at = models.DateTimeField()
    received_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        # BRIN is enough to find the oldest rows: they lie on disk in the order of their arrival.
        indexes = (
            BrinIndex(fields=["received_at"], name="seentransaction_by_received"),
            models.Index(
                fields=["shared_id"],
                condition=models.Q(shared_id__isnull=False),
                name="seentransaction_by_shared_id",
            ),
        )

    def __str__(self) -> str:
        return str(self.dedup_key)


class Conflict(models.Model):
    """A transaction sent again with other content. The first one counts; this is the later one."""

    transaction = models.UUIDField(db_index=True)
    gateway = models.ForeignKey(Gateway, models.PROTECT, related_name="+")
    transaction_id = models.TextField()
    received_at = models.DateTimeField()
    content = models.JSONField(decoder=ExactDecoder)

    class Meta:
        ordering = ("-pk",)

    def __str__(self) -> str:
        return self.transaction_id
