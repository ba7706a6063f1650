"""Columns of lists of subscribers."""

from django.utils.translation import gettext_noop

from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS, MAX_NAME_CHARACTERS
from revcred.uploads.columns.cells import (
    parse_email_cell,
    parse_role_cell,
    several_parser,
    text_parser,
)
from revcred.uploads.columns.list_column import ListColumn
from revcred.uploads.columns.shared import COMPANY_ALIASES, CUSTOMER_COLUMN

# Both parts of a name and the space between them are a name.
MAX_CHARACTERS_OF_A_PART = (MAX_NAME_CHARACTERS - 1) // 2

SUBSCRIBER_COLUMNS = (
    ListColumn(
        name="email",
        title=gettext_noop("E-mail"),
        help=gettext_noop("The address to sign in with. Unique."),
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
        title=gettext_noop("Name"),
        help=gettext_noop("What the person is called."),
        example="Ada Lovelace",
        parse=text_parser(MAX_NAME_CHARACTERS),
        identifying=True,
        aliases=(
            *("full name", "subscriber name", "display name", "person", "contact name"),
            *("nom complet", "nombre completo", "nome completo", "volledige naam"),
        ),
    ),
    ListColumn(
        name="first_name",
        title=gettext_noop("First name"),
        help=gettext_noop(
            "With the last name, what the person is called, where no name stands beside them."
        ),
        example="",
        parse=text_parser(MAX_CHARACTERS_OF_A_PART),
        identifying=True,
        aliases=(
            *("given name", "forename", "vorname", "prénom", "primer nombre", "nombre de pila"),
            *("voornaam", "primeiro nome", "user first name"),
        ),
    ),
    ListColumn(
        name="last_name",
        title=gettext_noop("Last name"),
        help=gettext_noop("Goes behind the first name."),
        example="",
        parse=text_parser(MAX_CHARACTERS_OF_A_PART),
        identifying=True,
        aliases=(
            *("family name", "surname", "nachname", "familienname", "nom de famille", "apellido"),
            *("apellidos", "cognome", "sobrenome", "achternaam", "user last name"),
        ),
    ),
    ListColumn(
        name="external_key",
        title=gettext_noop("External key"),
        help=gettext_noop("The name other systems know this person by. Unique."),
        example="u-1001",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        identifying=True,
        aliases=("id", "subscriber id", "user id", "key"),
    ),
    ListColumn(
        name="customer",
        title=gettext_noop("Customer"),
        help=gettext_noop(
            "The external key of the customer this person belongs to. Several are separated by |."
        ),
        example="acme",
        parse=several_parser(text_parser(MAX_EXTERNAL_KEY_CHARACTERS)),
        several=True,
        aliases=("customers", *CUSTOMER_COLUMN.aliases, *COMPANY_ALIASES),
    ),
    ListColumn(
        name="role",
        title=gettext_noop("Role"),
        help=gettext_noop(
            "At these customers: owner, member or viewer. Empty for a new one: member."
        ),
        example="owner",
        parse=parse_role_cell,
        aliases=("rolle", "rôle", "ruolo", "rol", "papel"),
    ),
)
