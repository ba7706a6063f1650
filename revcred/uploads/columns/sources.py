"""Columns of lists of sources."""

from django.utils.translation import gettext_noop

from revcred.models import PathRule
from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS, MAX_NAME_CHARACTERS
from revcred.uploads.columns.cells import choice_parser, text_parser, words_of
from revcred.uploads.columns.list_column import ListColumn

SOURCE_COLUMNS = (
    ListColumn(
        name="external_key",
        title=gettext_noop("External key"),
        help=gettext_noop(
            "What gateways send as source. A source may have several rows, one for each path."
        ),
        example="tiles",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        required=True,
        aliases=("source", "source key", "source id", "api", "api id", "service", "service id"),
    ),
    ListColumn(
        name="name",
        title=gettext_noop("Name"),
        help=gettext_noop(
            "What people call the source. Empty for a new one: its external key. Only a row"
            " without a path renames a source."
        ),
        example="Map tiles",
        parse=text_parser(MAX_NAME_CHARACTERS),
        aliases=("source name", "api name", "service name", "display name", "title"),
    ),
    ListColumn(
        name="match",
        title=gettext_noop("The path"),
        help=f"How paths are compared: {', '.join(PathRule.Match.values)}. Empty: begins_with.",
        example="begins_with",
        parse=choice_parser(
            words_of(
                PathRule.Match.choices,
                prefix=PathRule.Match.BEGINS_WITH,
                starts_with=PathRule.Match.BEGINS_WITH,
                exact=PathRule.Match.EQUALS,
                suffix=PathRule.Match.ENDS_WITH,
                regular_expression=PathRule.Match.REGEX,
                regexp=PathRule.Match.REGEX,
            )
        ),
        aliases=("match type", "path match", "path type", "rule", "rule type", "operator"),
    ),
    ListColumn(
        name="path",
        title=gettext_noop("Path"),
        help=gettext_noop(
            "A path, its beginning, or an expression: calls to it belong to the source, if they"
            " name none. Empty: the row is about the source only."
        ),
        example="/tiles/v1/",
        parse=text_parser(500),
        identifying=True,
        aliases=("text", "paths", "path rule", "base path", "uri", "route", "pfad"),
    ),
)
