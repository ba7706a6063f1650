"""Columns of lists of products."""

from django.utils.translation import gettext_noop

from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS, MAX_NAME_CHARACTERS
from revcred.uploads.columns.cells import several_parser, text_parser
from revcred.uploads.columns.list_column import ListColumn
from revcred.uploads.state_cells import parse_yes_or_no

PRODUCT_COLUMNS = (
    ListColumn(
        name="external_key",
        title=gettext_noop("External key"),
        help=gettext_noop("The name other systems know this product by. Unique."),
        example="maps",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        identifying=True,
        required=True,
        aliases=("product", "product key", "product id", "plan id", "key", "id"),
    ),
    ListColumn(
        name="name",
        title=gettext_noop("Name"),
        help=gettext_noop("What people call the product."),
        example="Maps",
        parse=text_parser(MAX_NAME_CHARACTERS),
        identifying=True,
        required=True,
        aliases=("product name", "plan", "plan name", "display name", "title", "bezeichnung"),
    ),
    ListColumn(
        name="product_version",
        title=gettext_noop("Version"),
        help=gettext_noop("Shown behind the name."),
        example="2",
        parse=text_parser(50),
        aliases=("release",),
    ),
    ListColumn(
        name="sources",
        title=gettext_noop("Sources"),
        help=gettext_noop(
            "The external keys of the sources whose calls it counts, instead of those it has."
            " Several are separated by |."
        ),
        example="tiles|routes",
        parse=several_parser(text_parser(MAX_EXTERNAL_KEY_CHARACTERS), also=";"),
        several=True,
        joins=True,
        aliases=("source", "apis", "api", "api proxies", "proxies", "services", "service"),
    ),
    ListColumn(
        name="also_without_source",
        title=gettext_noop("Also without source"),
        help=gettext_noop(
            "Yes or no: also count calls that name no source and whose path belongs to none."
        ),
        example="no",
        parse=parse_yes_or_no,
        aliases=("also calls of no source", "counts calls of no source"),
    ),
)
