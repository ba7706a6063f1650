"""Products: what customers subscribe to."""

from django.db import models

from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS, MAX_NAME_CHARACTERS
from revcred.models.sources import Source


class Product(models.Model):
    """A product, which counts all calls or only those to its sources."""

    class CredentialIssuing(models.TextChoices):
        PROVIDER = "provider", "Only the provider"
        REQUEST = "request", "Subscribers on request, which somebody approves"
        SUBSCRIBER = "subscriber", "Subscribers by themselves"

    name = models.CharField(max_length=MAX_NAME_CHARACTERS)
    version = models.CharField(max_length=50, blank=True)
    external_key = models.CharField(max_length=MAX_EXTERNAL_KEY_CHARACTERS, unique=True)
    # Of no use since there is no public list of products; dropped by a later release.
    published = models.BooleanField(default=True, editable=False)
    sources = models.ManyToManyField(
        Source,
        related_name="products",
        blank=True,
        help_text="The APIs it counts. With sources, only calls to one of them count. A product"
        " that never had a source counts all calls.",
    )
    also_without_source = models.BooleanField(
        "also calls of no source",
        default=False,
        help_text="Also count calls that name no source and whose path belongs to none. Without"
        " this, a product with sources does not count them.",
    )
    # A trigger sets it once the product has a source. It stays set when the last one goes, so that
    # the product then counts no calls instead of all, until somebody opens it.
    restricted = models.BooleanField(default=False, editable=False)
    credential_issuing = models.CharField(
        "who issues credentials",
        max_length=10,
        choices=CredentialIssuing,
        default=CredentialIssuing.PROVIDER,
        db_default=CredentialIssuing.PROVIDER,
        help_text="Members and owners of a customer find this in the storefront; viewers do not.",
    )
    credential_limit = models.PositiveIntegerField(
        "most credentials of a customer",
        null=True,
        blank=True,
        help_text="Subscribers issue or request no more than these. Empty: as many as they want.",
    )
    credential_max_days = models.PositiveIntegerField(
        "longest lifetime of a credential, in days",
        null=True,
        blank=True,
        help_text="Subscribers have to choose an expiry within these days. Empty: none is needed.",
    )

    class Meta:
        ordering = ("name", "version", "pk")

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()
