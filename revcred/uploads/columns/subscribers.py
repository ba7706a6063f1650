"""Columns of lists of subscribers."""

from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS, MAX_NAME_CHARACTERS
from revcred.uploads.columns.cells import (
    parse_email_cell,
    parse_role_cell,
    several_parser,
    text_parser,
)
from revcred.uploads.columns.list_column import ListColumn
from revcred.uploads.columns.shared import COMPANY_ALIASES, CUSTOMER_COLUMN

SUBSCRIBER_COLUMNS = (
    ListColumn(
        name="email",
        title="E-mail",
        help="The address to sign in with. Unique.",
        example="ada@example.com",
        parse=parse_email_cell,
        identifying=True,
        required=True,
        aliases=(
            *("subscriber email", "email address", "mail", "subscriber", "user", "user email"),
            *("e mail adresse", "adresse e mail", "correo", "correo electrónico"),
            "indirizzo email",
        ),
    ),
    ListColumn(
        name="name",
        title="Name",
        help="What the person is called.",
        example="Ada Lovelace",
        parse=text_parser(MAX_NAME_CHARACTERS),
        identifying=True,
        aliases=("full name", "subscriber name", "display name"),
    ),
    ListColumn(
        name="external_key",
        title="External key",
        help="The name other systems know this person by. Unique.",
        example="u-1001",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        identifying=True,
        aliases=("id", "subscriber id", "user id", "key"),
    ),
    ListColumn(
        name="customer",
        title="Customer",
        help="The external key of the customer this person belongs to. Several are separated by |.",
        example="acme",
        parse=several_parser(text_parser(MAX_EXTERNAL_KEY_CHARACTERS)),
        several=True,
        aliases=("customers", *CUSTOMER_COLUMN.aliases, *COMPANY_ALIASES),
    ),
    ListColumn(
        name="role",
        title="Role",
        help="At these customers: owner, member or viewer. Empty for a new one: member.",
        example="owner",
        parse=parse_role_cell,
    ),
)
