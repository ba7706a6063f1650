"""Sources: the APIs behind products, and the paths that belong to them."""

import re
from collections.abc import Iterable
from typing import Self

from django.core.exceptions import ValidationError
from django.db import DataError, OperationalError, connection, models
from django.db.models import F, Q, Value
from django.db.models.lookups import IsNull, Regex
from django.db.transaction import atomic
from django.utils.translation import gettext
from psycopg.errors import QueryCanceled

from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS, MAX_NAME_CHARACTERS
from revcred.postgresql.statement_timeouts import statement_timeout
from revcred.texts import gettext_lazy

# An escaped digit, unless the backslash before it is escaped itself.
BACK_REFERENCE = re.compile(r"(?<!\\)(?:\\\\)*\\[1-9]")
LOOK_AROUND = re.compile(r"\(\?<?[=!]")
# An expression sees only the beginning of a path. Every caller may choose a longer one.
MAX_MATCHED_CHARACTERS = 1_000
LONGEST_PATHS = ("/" + "a" * 999, "/ab" * 333, "/" + "ab1-" * 249, "/" * 1_000)
MAX_EXPRESSION_MILLISECONDS = 500  # on all of these; a usual one takes less than one


class Source(models.Model):
    """An API behind a product. A transaction may name it, or belong to it by its path."""

    name = models.CharField(max_length=MAX_NAME_CHARACTERS)
    external_key = models.CharField(
        max_length=MAX_EXTERNAL_KEY_CHARACTERS,
        unique=True,
        help_text=gettext_lazy("What gateways send as source."),
    )

    class Meta:
        ordering = ("name", "pk")

    def __str__(self) -> str:
        return self.name


class PathRuleQuerySet(models.QuerySet["PathRule"]):
    def slow(self) -> Self:
        """Return the rules that were switched off because they took long."""
        return self.filter(switched_off=True).exclude(found_slow_at=None)


class PathRule(models.Model):
    """A rule on paths that belong to a source, for transactions that name no source.

    Of the rules that match, the kind that comes first in `Match` decides, and within a kind the
    longest text.
    """

    class Match(models.TextChoices):
        EQUALS = "equals", gettext_lazy("equals")
        BEGINS_WITH = "begins_with", gettext_lazy("begins with")
        ENDS_WITH = "ends_with", gettext_lazy("ends with")
        CONTAINS = "contains", gettext_lazy("contains")
        REGEX = "regex", gettext_lazy("fits the expression")

    source = models.ForeignKey(Source, models.CASCADE, related_name="path_rules")
    match = models.CharField(
        gettext_lazy("the path"), max_length=12, choices=Match, default=Match.BEGINS_WITH
    )
    text = models.CharField(max_length=500)
    switched_off = models.BooleanField(
        default=False,
        db_default=False,
        help_text=gettext_lazy(
            "Its paths belong to no source by this rule until you switch it on."
        ),
    )
    # The moment at which attribution switched it off, because it took long.
    found_slow_at = models.DateTimeField(null=True, editable=False)

    objects = PathRuleQuerySet.as_manager()

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(
                fields=("match", "text"),
                name="one_source_per_path_rule",
                violation_error_message=gettext_lazy("This rule is a source's already."),
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
        if not self.switched_off:
            self.found_slow_at = None
        if self.match == self.Match.REGEX:
            _check_expression(self.text, LONGEST_PATHS if not self.switched_off else ())
        elif "?" in self.text or "://" in self.text:
            raise ValidationError(
                {
                    "text": gettext(
                        "Enter the path only, such as /maps/v1/. Host and query are not compared."
                    )
                }
            )


def _check_expression(text: str, paths: Iterable[str]) -> None:
    """Validate a regular expression by trying it in PostgreSQL on paths. Raises ValidationError.

    An expression that takes long would hold up the calls of all gateways.
    """
    if BACK_REFERENCE.search(text):
        raise ValidationError(
            {
                "text": gettext(
                    "Back references such as \\1 are not allowed: they may take too long."
                )
            }
        )
    if LOOK_AROUND.search(text):
        raise ValidationError(
            {
                "text": gettext(
                    "Looking ahead or back with (?=, (?!, (?<= or (?<! is not allowed: it may take"
                    " too long."
                )
            }
        )
    try:
        with (
            atomic(),
            connection.cursor() as cursor,
            statement_timeout(cursor, MAX_EXPRESSION_MILLISECONDS),
        ):
            cursor.execute(
                "SELECT count(*) FROM unnest(%s::text[]) path WHERE path ~ %s",
                [["", *paths], text],
            )
    except DataError as error:
        reason = str(error).splitlines()[0]
        raise ValidationError(
            {"text": gettext("PostgreSQL cannot read it: %(reason)s.") % {"reason": reason}}
        ) from error
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise ValidationError(
            {"text": gettext("It takes too long on a long path. Write a simpler expression.")}
        ) from error
