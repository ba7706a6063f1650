"""Columns that several kinds of lists have."""

from collections.abc import Iterable

from django.utils.translation import gettext_noop

from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS, MAX_NAME_CHARACTERS
from revcred.uploads.columns.cells import parse_tags_cell, text_parser
from revcred.uploads.columns.list_column import ListColumn


def fields_of(objects: Iterable[str], fields: Iterable[str]) -> tuple[str, ...]:
    """Return the names of columns that these fields of these objects become, as in JSON."""
    return tuple(f"{each}.{field}" for each in objects for field in fields)


COMPANIES = (
    *("customer", "organization", "organisation", "org", "company", "account", "tenant", "client"),
    "developer",
)
# Headers of names of companies. Where nothing else says who the customer is, these do.
COMPANY_ALIASES = (
    *("company", "company name", "organization", "organisation", "organization name", "org name"),
    *("customer title", "account name", "tenant name", "client company", "firma", "firmenname"),
    *("unternehmen", "kundenname", "kunde name", "mandant", "empresa", "société", "azienda"),
    *("bedrijf", "bedrijfsnaam", "entreprise", "razón social", "ragione sociale", "razão social"),
    *("associated company", "primary company"),
    *fields_of(COMPANIES, ("name", "title", "display_name", "label")),
)

CUSTOMER_COLUMN = ListColumn(
    name="customer",
    title=gettext_noop("Customer"),
    help=gettext_noop("The external key of the customer."),
    example="acme",
    parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
    required=True,
    aliases=(
        *("customer key", "customer id", "customer no", "customer number", "organization id"),
        *("org", "account", "account id", "account number", "company id", "consumer", "custom id"),
        *("tenant",),
        *("developer", "developer id", "client", "kunde", "kundennummer", "kunden nr", "kunden id"),
        *("mandantennummer", "debitor", "debitorennummer", "cliente", "numéro client"),
        *fields_of(COMPANIES, ("id", "external_id", "external_key", "number", "code")),
        *("klant", "klantnummer", "código de cliente", "codice cliente", "código do cliente"),
    ),
)

CUSTOMER_NAME_COLUMN = ListColumn(
    name="customer_name",
    title=gettext_noop("Customer's name"),
    help=gettext_noop(
        "What people call the customer. For customers that the list creates; others keep theirs."
    ),
    example="Acme Ltd",
    parse=text_parser(MAX_NAME_CHARACTERS),
    aliases=COMPANY_ALIASES,
)

TAGS_COLUMN = ListColumn(
    name="tags",
    title=gettext_noop("Tags"),
    help=gettext_noop(
        "Several are separated by |. A tag may have a comma in a cell that ends with |. Only"
        " |: no tags."
    ),
    example="partner|eu",
    parse=parse_tags_cell,
    several=True,
    joins=True,
    aliases=(
        *("tag", "labels", "schlagworte", "schlagwörter", "etiketten", "étiquettes", "etiquetas"),
        "etichette",
    ),
)
