from django.contrib.postgres.fields import ArrayField
from django.db import models


class Source(models.Model):
    """An API behind a product: what a transaction says it was a call to."""

    name = models.CharField(max_length=200)
    external_key = models.CharField(
        max_length=200, unique=True, help_text="What gateways send as source."
    )
    url_prefixes = ArrayField(
        models.CharField(max_length=500),
        default=list,
        blank=True,
        help_text="Paths that belong to it where no source is sent, such as /maps/v1/. "
        "The longest that fits wins.",
    )

    class Meta:
        ordering = ("name", "pk")

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    """What customers subscribe to."""

    name = models.CharField(max_length=200)
    version = models.CharField(max_length=50, blank=True)
    external_key = models.CharField(max_length=200, unique=True)
    published = models.BooleanField(default=True)
    sources = models.ManyToManyField(
        Source,
        related_name="products",
        blank=True,
        help_text="The APIs it covers. A product without sources covers all of them.",
    )

    class Meta:
        ordering = ("name", "version", "pk")

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()
