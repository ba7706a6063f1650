"""Columns of lists of customers."""

from django.utils.translation import gettext_noop

from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS, MAX_NAME_CHARACTERS
from revcred.uploads.columns.cells import (
    parse_domain_cell,
    parse_json_object_cell,
    several_parser,
    text_parser,
)
from revcred.uploads.columns.list_column import ListColumn
from revcred.uploads.columns.shared import COMPANY_ALIASES, CUSTOMER_COLUMN, TAGS_COLUMN

CUSTOMER_COLUMNS = (
    ListColumn(
        name="external_key",
        title=gettext_noop("External key"),
        help=gettext_noop("The name other systems know this customer by. Unique."),
        example="acme",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        identifying=True,
        required=True,
        aliases=("key", "id", "customer", *CUSTOMER_COLUMN.aliases),
    ),
    ListColumn(
        name="name",
        title=gettext_noop("Name"),
        help=gettext_noop("What people call the customer."),
        example="Acme Ltd.",
        parse=text_parser(MAX_NAME_CHARACTERS),
        identifying=True,
        required=True,
        aliases=("customer name", *COMPANY_ALIASES),
    ),
    ListColumn(
        name="email_domains",
        title=gettext_noop("E-mail domains"),
        help=gettext_noop(
            "The domains of the addresses of its people. Several are separated by |."
        ),
        example="example.com|example.org",
        parse=several_parser(parse_domain_cell, also=",; "),
        several=True,
        aliases=("email domain", "domains", "domain"),
    ),
    TAGS_COLUMN,
    ListColumn(
        name="metadata",
        title=gettext_noop("Metadata"),
        help=gettext_noop("Anything else, as a JSON object."),
        example='{"region": "EU"}',
        parse=parse_json_object_cell,
    ),
)
