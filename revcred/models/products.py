from django.db import models

from revcred.models.sources import Source


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
        help_text="The APIs it counts. With sources, only calls to one of them count. A product"
        " that never had a source counts all calls.",
    )
    also_without_source = models.BooleanField(
        "also calls of no source",
        default=False,
        help_text="Also count calls that name no source and whose path belongs to none. Without"
        " this, a product with sources does not count them.",
    )
    # On as soon as it has a source, by a trigger. It stays on when the last one goes, so that the
    # product takes no calls then instead of all, until somebody opens it.
    restricted = models.BooleanField(default=False, editable=False)

    class Meta:
        ordering = ("name", "version", "pk")

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()
