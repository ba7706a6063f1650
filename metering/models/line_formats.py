from django.db import models
from django.db.models.functions import Now


class LineFormat(models.Model):
    """A version of an admin's own format. Rows are only added: calls name the one that read them.

    The latest version of a name reads the lines of all gateways that have it.
    """

    name = models.SlugField(max_length=50, db_index=False)
    version = models.PositiveIntegerField()
    definition = models.JSONField(help_text="See metering.api.line_formats.definition.")
    saved_at = models.DateTimeField(db_default=Now())
    saved_by = models.CharField(max_length=254, blank=True, default="", db_default="")

    class Meta:
        ordering = ("name", "-version")
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=["name", "version"], name="lineformat_version"),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.version}"
