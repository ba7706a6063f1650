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
        help_text="The APIs it covers. A product without sources covers all of them.",
    )

    class Meta:
        ordering = ("name", "version", "pk")

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()
