"""Products: what customers subscribe to."""

from django.db import models

from revcred.models.sources import Source


class Product(models.Model):
    """A product, which counts all calls or only those to its sources."""

    name = models.CharField(max_length=200)
    version = models.CharField(max_length=50, blank=True)
    external_key = models.CharField(max_length=200, unique=True)
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

    class Meta:
        ordering = ("name", "version", "pk")

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()
