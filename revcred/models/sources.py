"""Sources: the APIs behind products, and the paths that belong to them."""

import re

from django.core.exceptions import ValidationError
from django.db import DataError, connection, models
from django.db.models import F, Q, Value
from django.db.models.lookups import IsNull, Regex
from django.db.transaction import atomic

# An escaped digit, unless the backslash before it is escaped itself.
BACK_REFERENCE = re.compile(r"(?<!\\)(?:\\\\)*\\[1-9]")


class Source(models.Model):
    """An API behind a product. A transaction may name it, or belong to it by its path."""

    name = models.CharField(max_length=200)
    external_key = models.CharField(
        max_length=200, unique=True, help_text="What gateways send as source."
    )

    class Meta:
        ordering = ("name", "pk")

    def __str__(self) -> str:
        return self.name


class PathRule(models.Model):
    """A rule on paths that belong to a source, for transactions that name no source.

    Of the rules that match, the kind that comes first in `Match` decides, and within a kind the
    longest text.
    """

    class Match(models.TextChoices):
        EQUALS = "equals", "equals"
        BEGINS_WITH = "begins_with", "begins with"
        ENDS_WITH = "ends_with", "ends with"
        CONTAINS = "contains", "contains"
        REGEX = "regex", "fits the expression"

    source = models.ForeignKey(Source, models.CASCADE, related_name="path_rules")
    match = models.CharField("the path", max_length=12, choices=Match, default=Match.BEGINS_WITH)
    text = models.CharField(max_length=500)

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(
                fields=("match", "text"),
                name="one_source_per_path_rule",
                violation_error_message="This rule is a source's already.",
            ),
            # An expression that PostgreSQL cannot compile would make every attribution fail.
            models.CheckConstraint(
                condition=~Q(match="regex") | Q(IsNull(Regex(Value(""), F("text")), rhs=False)),
                name="path_rule_compiles",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_match_display()} {self.text}"

    def clean(self) -> None:
        if self.match == self.Match.REGEX:
            _check_expression(self.text)
        elif "?" in self.text or "://" in self.text:
            raise ValidationError(
                {"text": "Enter the path only, such as /maps/v1/. Host and query are not compared."}
            )


def _check_expression(text: str) -> None:
    """Validate a regular expression by asking PostgreSQL. Raises ValidationError."""
    if BACK_REFERENCE.search(text):
        raise ValidationError(
            {"text": "Back references such as \\1 are not allowed: they may take too long."}
        )
    try:
        with atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT '' ~ %s", [text])
    except DataError as error:
        reason = str(error).splitlines()[0]
        raise ValidationError({"text": f"PostgreSQL cannot read it: {reason}."}) from error
