"""Kinds of lists, their columns, and the parsers of the columns' cells."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec
from django.core.exceptions import ValidationError

from revcred.external_keys import MAX_KEY_CHARACTERS
from revcred.models import Gateway, Membership, PathRule
from revcred.models.customers import MAX_METADATA_CHARACTERS
from revcred.models.gateways import KEY_NAME, check_accepted_days
from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS, MAX_NAME_CHARACTERS
from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.key_cells import parse_key_cell, parse_secret_cell, strip_invisible_ends
from revcred.uploads.moment_cells import DayOrder, parse_duration, parse_moment
from revcred.uploads.state_cells import (
    CredentialState,
    parse_state,
    parse_state_words,
    parse_switched_off,
    parse_yes_or_no,
)

# A comma or semicolon would clash with the delimiters of CSV.
VALUE_SEPARATOR = "|"  # between several values in one cell
PLAN_SEPARATORS = {"none": "", "comma": ",", "semicolon": ";", "slash": "/"}


class ListKind(StrEnum):
    CREDENTIALS = "credentials"
    CUSTOMERS = "customers"
    SUBSCRIBERS = "subscribers"
    SUBSCRIPTIONS = "subscriptions"
    PRODUCTS = "products"
    SOURCES = "sources"
    GATEWAYS = "gateways"
    USAGE = "usage"


@dataclass(frozen=True, kw_only=True)
class CellRules:
    """Choices by which cells are read: see the modules of moments and states."""

    day_order: DayOrder = DayOrder.ASK
    time_zone: str = "UTC"
    state_words: Mapping[str, CredentialState] = field(default_factory=dict)
    plan_separator: str = ""  # besides `|`

    @classmethod
    def of(cls, choices: Mapping[str, str]) -> "CellRules":
        """Return the rules of these choices, which have been validated."""
        return cls(
            day_order=DayOrder(choices.get("day_order") or DayOrder.ASK),
            time_zone=choices.get("time_zone") or "UTC",
            state_words=parse_state_words(choices.get("states", "")),
            plan_separator=PLAN_SEPARATORS[choices.get("plan_separator") or "none"],
        )

    def parse_moment(self, cell: str) -> str:
        return parse_moment(cell, day_order=self.day_order, time_zone=ZoneInfo(self.time_zone))

    def parse_state(self, cell: str) -> str:
        return parse_state(cell, words=self.state_words)

    def plan_parser(self) -> "CellParser":
        # A plan's name may have a comma: only a person knows.
        return several_parser(text_parser(MAX_EXTERNAL_KEY_CHARACTERS), also=self.plan_separator)

    def parser_of(self, column: "ListColumn") -> "CellParser":
        """Return the parser of the column's cells under these rules."""
        if column.parse is parse_moment_cell:
            return self.parse_moment
        if column.parse is parse_plan_cell:
            return self.plan_parser()
        return self.parse_state if column.parse is parse_state_cell else column.parse


# Returns the value as COPY takes it; "" for a blank cell. Raises InvalidCell.
CellParser = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class ListColumn:
    """A column of a list.

    Cells with several values keep them between separators, each value once.
    """

    name: str
    title: str
    help: str
    example: str
    parse: CellParser
    required: bool = False
    several: bool = False
    secret: bool = False
    identifying: bool = False  # differs from row to row, so it can have no fixed value
    shown_as: Callable[[str], str] = str  # a cell as people may see it, unless it is secret
    joins: bool = False  # several columns of a file may be it: their cells are put together
    aliases: tuple[str, ...] = ()


def columns_of(kind: ListKind) -> tuple[ListColumn, ...]:
    return COLUMNS_BY_KIND[kind]


def columns_by_name(kind: ListKind) -> Mapping[str, ListColumn]:
    return {column.name: column for column in columns_of(kind)}


# --- Parsers of cells -----------------------------------------------------------------------------

NAMED_ADDRESS = re.compile(r"[^<>]*<([^<>]+)>")
NOBODY_WORDS = frozenset({"-", "none", "null", "n/a", "kein", "keine"})
# Good enough to find a mistyped address, and it lets no character pass that mails could not carry.
EMAIL_CELL_PATTERN = re.compile(r"[^\s@<>(),;:\"\[\]\\]+@[a-z0-9-]+(\.[a-z0-9-]+)+")
DOMAIN_CELL_PATTERN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
DECIMAL_CELL_PATTERN = re.compile(r"(0|[1-9][0-9]{0,17})([.,][0-9]{1,9})?")
# Longer values would fail in the database, for the whole chunk.
MAX_EMAIL_CHARACTERS = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets
MAX_DOMAIN_CHARACTERS = 253  # RFC 1035, section 2.3.4, as text
MAX_QUOTA = 2**63 - 1  # of a bigint


def text_parser(longest: int) -> CellParser:
    """Return a parser of one value of at most `longest` characters."""

    def parse(cell: str) -> str:
        value = strip_invisible_ends(cell)
        if len(value) > longest:
            raise InvalidCell(f"It has {len(value):,} characters; at most {longest:,} are allowed.")
        return value

    return parse


def several_parser(parse_one: CellParser, also: str = "") -> CellParser:
    """Return a parser of any number of values, each of which is kept once.

    `also`: characters that separate values besides `|` and line breaks, because no value has them.
    """
    separators = re.compile(rf"[{re.escape(VALUE_SEPARATOR + also)}\n]")

    def parse(cell: str) -> str:
        if not separators.search(cell):
            return parse_one(cell)
        # dict keeps the order, and each value once.
        values = dict.fromkeys(parse_one(each) for each in separators.split(cell))
        return VALUE_SEPARATOR.join(filter(None, values))

    return parse


def parse_email_cell(cell: str) -> str:
    value = strip_invisible_ends(cell).lower()
    # A mail program's notation: Ada Lovelace <ada@example.com>
    if named := NAMED_ADDRESS.fullmatch(value):
        value = named[1]
    value = value.removeprefix("mailto:")
    if value in NOBODY_WORDS:
        return ""
    if value and (len(value) > MAX_EMAIL_CHARACTERS or not EMAIL_CELL_PATTERN.fullmatch(value)):
        raise InvalidCell("This is not an e-mail address.")
    return value


def parse_domain_cell(cell: str) -> str:
    value = cell.strip().lower().removeprefix("@")
    if value and (len(value) > MAX_DOMAIN_CHARACTERS or not DOMAIN_CELL_PATTERN.fullmatch(value)):
        raise InvalidCell("This is not a domain such as example.com.")
    return value


def parse_moment_cell(cell: str) -> str:
    """Return the moment as ISO 8601 in UTC, by the rules for lists without any choice."""
    return CellRules().parse_moment(cell)


def parse_state_cell(cell: str) -> str:
    """Return the state, by the words that are known without any choice."""
    return CellRules().parse_state(cell)


def parse_plan_cell(cell: str) -> str:
    """Return the plans of the cell, by the rules for lists without any choice."""
    return CellRules().plan_parser()(cell)


def parse_role_cell(cell: str) -> str:
    value = cell.strip().lower()
    if value and value not in Membership.Role.values:
        raise InvalidCell(f"This is not one of {', '.join(Membership.Role.values)}.")
    return value


def parse_whole_number_cell(cell: str) -> str:
    value = cell.strip()
    if value and not (value.isascii() and value.isdecimal() and int(value) <= MAX_QUOTA):
        raise InvalidCell("This is not a whole number of 0 or more.")
    return value


def parse_decimal_cell(cell: str) -> str:
    """Return a number as JSON has it, also where a comma stands before its decimals."""
    value = cell.strip()
    if value and not DECIMAL_CELL_PATTERN.fullmatch(value):
        raise InvalidCell("This is not a number of 0 or more, such as 12.5.")
    return value.replace(",", ".")


def without_query(cell: str) -> str:
    """Return a path without its query, which may hold a key."""
    return cell.partition("?")[0]


def parse_accepted_days_cell(cell: str) -> str:
    value = parse_whole_number_cell(cell)
    if value:
        try:
            check_accepted_days(int(value))
        except ValidationError as error:
            raise InvalidCell(error.messages[0]) from None
    return value


def parse_key_name_cell(cell: str) -> str:
    value = text_parser(100)(cell)
    if value and not re.match(KEY_NAME, value):
        raise InvalidCell("It has other characters than letters, digits, - and _.")
    return value


def choice_parser(words: Mapping[str, str]) -> CellParser:
    """Return a parser of one of several values, each by the words that stand for it."""
    values = [*dict.fromkeys(words.values())]

    def parse(cell: str) -> str:
        word = re.sub(r"[\W_]+", " ", cell).strip().casefold()
        if word and word not in words:
            raise InvalidCell(f"This is not one of {', '.join(values)}.")
        return words[word] if word else ""

    return parse


def words_of(choices: Iterable[tuple[str, str]], **further: str) -> dict[str, str]:
    """Return the words for the choices of a model's field: value and label, and further ones."""
    words = {}
    for value, label in choices:
        for text in (value, label):
            words[re.sub(r"[\W_]+", " ", text).strip().casefold()] = value
    return words | {word.replace("_", " "): value for word, value in further.items()}


def parse_json_object_cell(cell: str) -> str:
    value = cell.strip()
    if not value:
        return ""
    if len(value) > MAX_METADATA_CHARACTERS:
        raise InvalidCell(f"It has more than {MAX_METADATA_CHARACTERS:,} characters.")
    try:
        read = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidCell('This is not JSON such as {"region": "EU"}.') from None
    if not isinstance(read, dict):
        raise InvalidCell('This is not a JSON object such as {"region": "EU"}.')
    # PostgreSQL's jsonb cannot hold it.
    if "\\u0000" in value:
        raise InvalidCell("It contains U+0000, which cannot be stored.")
    return value


# --- Columns --------------------------------------------------------------------------------------

# `aliases` are names that other systems use; _normalised_name of `mapping` compares them.

# Headers of names of companies. Where nothing else says who the customer is, these do.
COMPANY_ALIASES = (
    *("company", "company name", "organization", "organisation", "organization name", "org name"),
    *("customer title", "account name", "tenant name", "client company", "firma", "firmenname"),
    *("unternehmen", "kundenname", "kunde name", "mandant", "empresa", "société"),
)
# Shared by lists of credentials and of subscriptions.
CUSTOMER_COLUMN = ListColumn(
    name="customer",
    title="Customer",
    help="The external key of the customer.",
    example="acme",
    parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
    required=True,
    aliases=(
        *("customer key", "customer id", "customer no", "customer number", "organization id"),
        *("org", "account", "account id", "account number", "company id", "consumer", "custom id"),
        *("tenant",),
        *("developer", "developer id", "client", "kunde", "kundennummer", "kunden nr", "kunden id"),
        *("mandantennummer", "debitor", "debitorennummer", "cliente"),
    ),
)
CUSTOMER_NAME_COLUMN = ListColumn(
    name="customer_name",
    title="Customer's name",
    help="What people call the customer. For customers that the list creates; others keep theirs.",
    example="Acme Ltd",
    parse=text_parser(MAX_NAME_CHARACTERS),
    aliases=COMPANY_ALIASES,
)
TAGS_COLUMN = ListColumn(
    name="tags",
    title="Tags",
    help="Several are separated by |.",
    example="partner|eu",
    parse=several_parser(text_parser(100), also=",;"),
    several=True,
    joins=True,
    aliases=("tag", "labels", "schlagworte", "schlagwörter", "etiketten"),
)

CREDENTIAL_COLUMNS = (
    CUSTOMER_COLUMN,
    CUSTOMER_NAME_COLUMN,
    ListColumn(
        name="name",
        title="Name",
        help="What people call it. Unique within a customer.",
        example="Orders service",
        parse=text_parser(MAX_NAME_CHARACTERS),
        identifying=True,
        required=True,
        aliases=(
            *(
                "credential name",
                "credential",
                "application",
                "application name",
                "app",
                "app name",
            ),
            *("label", "key name", "display name", "subscriber credential name", "client name"),
            *("consumer username", "username", "bezeichnung", "anwendung", "nom", "nombre"),
        ),
    ),
    ListColumn(
        name="key",
        title="Key",
        help="What callers send: an API key or a client id. Empty for a new credential: "
        "one is generated if you choose so.",
        example="ak_live_5f2b8c1e9d",
        parse=parse_key_cell,
        secret=True,
        aliases=(
            *("api key", "external key", "external id", "credential id", "credential value"),
            *("client id", "consumer key", "user key", "key value", "api key value", "app id"),
            *("primary key", "key 1", "access key", "access key id", "access token", "api token"),
            *("token", "auth token", "subscription key", "api schlüssel", "schlüssel"),
            *("zugangsschlüssel", "clé", "clé api", "clave", "clave api"),
            *("x api key", "ocp apim subscription key"),
        ),
    ),
    ListColumn(
        name="aliases",
        title="Aliases",
        help="Other keys and names under which its calls may arrive, such as a second key. Several "
        "are separated by |.",
        example="",
        parse=several_parser(parse_key_cell, also=",;"),
        several=True,
        secret=True,
        joins=True,
        aliases=(
            *("alias", "secondary key", "key 2", "second key", "other keys", "additional keys"),
            *("old key", "previous key", "former key", "consumer id"),
        ),
    ),
    ListColumn(
        name="secret",
        title="Secret",
        help="What goes with the key, such as a client secret. Shown to its holders only.",
        example="s3cr3t-of-orders",
        parse=parse_secret_cell,
        secret=True,
        aliases=(
            "external secret",
            "geheimnis",
            "secret key",
            "client secret",
            "consumer secret",
            "api secret",
            "app key",
        ),
    ),
    ListColumn(
        name="subscription",
        title="Subscription",
        help="The external key of the subscription it is charged to. Several are separated by |.",
        example="acme-maps",
        parse=several_parser(text_parser(MAX_EXTERNAL_KEY_CHARACTERS), also=";"),
        several=True,
        aliases=(
            *("subscriptions", "subscription id", "subscription key name", "product key"),
            *("abonnement", "abo", "vertrag"),
        ),
    ),
    ListColumn(
        name="plan",
        title="Plan",
        help="The external key or name of a product, which many customers may have. Each customer "
        "gets one subscription of it. Several are separated by |.",
        example="",
        parse=parse_plan_cell,
        several=True,
        aliases=(
            *("plans", "plan name", "plan id", "usage plan", "usage plan ids", "product"),
            *("products", "product name", "product id", "api product", "api products"),
            *("application plan", "rate plan", "tier", "pricing tier", "tarif", "produkt", "paket"),
        ),
    ),
    ListColumn(
        name="holders",
        title="Holders",
        help="The e-mail addresses of the people who use it. Several are separated by |.",
        example="ada@example.com|grace@example.com",
        parse=several_parser(parse_email_cell, also=",;"),
        several=True,
        aliases=(
            *("holder", "subscriber email", "subscriber", "email", "e mail address", "owner"),
            *("owner email", "users", "user email", "contact", "developer email", "mail"),
            *("ansprechpartner", "inhaber", "besitzer", "e mail adresse"),
        ),
    ),
    ListColumn(
        name="environment",
        title="Environment",
        help="Such as production or staging.",
        example="production",
        parse=text_parser(50),
        aliases=("env", "stage", "key type", "umgebung"),
    ),
    TAGS_COLUMN,
    ListColumn(
        name="expires_at",
        title="Expires at",
        help="From when on it is not to be used. A day or a moment; UTC unless it says otherwise.",
        example="2027-12-31",
        parse=parse_moment_cell,
        aliases=(
            *("expires", "expiry", "expiration", "expiration date", "expiry date", "valid until"),
            *("expires on", "expire at", "end date", "not after", "gültig bis", "ablaufdatum"),
            *("läuft ab", "ablauf"),
        ),
    ),
    ListColumn(
        name="expires_in",
        title="Expires in",
        help="Seconds, or such as 30d or 12h, from the start of the key on; without a start, from "
        "the check of the list on.",
        example="",
        parse=parse_duration,
        aliases=("ttl", "time to live", "lifetime", "validity period", "gültigkeitsdauer"),
    ),
    ListColumn(
        name="state",
        title="State",
        help="Active, suspended, revoked or expired, also in other words.",
        example="",
        parse=parse_state_cell,
        joins=True,
        aliases=(
            *("status", "enabled", "active", "is enabled", "is active", "approval", "approved"),
            *("approval status", "key status", "key state", "app status", "application status"),
            *("application state", "credential status", "lifecycle", "zustand", "aktiv", "statut"),
            "estado",
        ),
    ),
    ListColumn(
        name="switched_off",
        title="Switched off",
        help="Yes or no: a credential that is switched off is suspended.",
        example="",
        parse=parse_switched_off,
        aliases=(
            *("disabled", "inactive", "is inactive", "is disabled", "suspended", "is suspended"),
            *("blocked", "is blocked", "revoked", "is revoked", "deaktiviert", "gesperrt"),
        ),
    ),
    ListColumn(
        name="key_active_from",
        title="Counts from",
        help="From when on the key counts. Empty for a new key: as far back as transactions "
        "are accepted.",
        example="2026-01-01",
        parse=parse_moment_cell,
        aliases=(
            *("active from", "valid from", "issued at", "created at", "created", "created date"),
            *("created on", "creation date", "not before", "start date", "erstellt am", "erstellt"),
            *("gültig ab", "angelegt am"),
        ),
    ),
    ListColumn(
        name="assigned_from",
        title="Charged from",
        help="From when on it is charged to the subscription: the moment of a move. Empty: for a "
        "new credential as its key, otherwise when the upload is applied.",
        example="2026-01-01",
        parse=parse_moment_cell,
        aliases=("subscribed from", "moved at", "move date"),
    ),
    ListColumn(
        name="gateway",
        title="Gateway",
        help="The name of the only gateway the key counts at. Empty: any.",
        example="",
        parse=text_parser(100),
    ),
)

CUSTOMER_COLUMNS = (
    ListColumn(
        name="external_key",
        title="External key",
        help="The name other systems know this customer by. Unique.",
        example="acme",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        identifying=True,
        required=True,
        aliases=("customer key", "key", "id", "customer id", "customer", "organization id"),
    ),
    ListColumn(
        name="name",
        title="Name",
        help="What people call the customer.",
        example="Acme Ltd.",
        parse=text_parser(MAX_NAME_CHARACTERS),
        identifying=True,
        required=True,
        aliases=("customer name", "organization", "organisation", "company", "account"),
    ),
    ListColumn(
        name="email_domains",
        title="E-mail domains",
        help="The domains of the addresses of its people. Several are separated by |.",
        example="example.com|example.org",
        parse=several_parser(parse_domain_cell, also=",; "),
        several=True,
        aliases=("email domain", "domains", "domain"),
    ),
    TAGS_COLUMN,
    ListColumn(
        name="metadata",
        title="Metadata",
        help="Anything else, as a JSON object.",
        example='{"region": "EU"}',
        parse=parse_json_object_cell,
    ),
)

SUBSCRIBER_COLUMNS = (
    ListColumn(
        name="email",
        title="E-mail",
        help="The address to sign in with. Unique.",
        example="ada@example.com",
        parse=parse_email_cell,
        identifying=True,
        required=True,
        aliases=("subscriber email", "email address", "mail", "subscriber", "user"),
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

SUBSCRIPTION_COLUMNS = (
    ListColumn(
        name="external_key",
        title="External key",
        help="What gateways send as subscription. Unique.",
        example="acme-maps",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        identifying=True,
        required=True,
        aliases=("subscription", "subscription id", "product key", "key", "id"),
    ),
    CUSTOMER_COLUMN,
    CUSTOMER_NAME_COLUMN,
    ListColumn(
        name="product",
        title="Product",
        help="The external key of the product.",
        example="maps",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        required=True,
        aliases=("product id", "plan"),
    ),
    ListColumn(
        name="name",
        title="Name",
        help="What people call it.",
        example="Maps for Acme",
        parse=text_parser(MAX_NAME_CHARACTERS),
        identifying=True,
        aliases=("subscription name",),
    ),
    ListColumn(
        name="active_from",
        title="Active from",
        help="A day or a moment; UTC unless it says otherwise. Empty for a new one: as far back "
        "as transactions are accepted.",
        example="2026-01-01",
        parse=parse_moment_cell,
        aliases=("from", "start", "start date", "starts at", "valid from"),
    ),
    ListColumn(
        name="active_until",
        title="Active until",
        help="Not included. Empty: open-ended.",
        example="2027-01-01",
        parse=parse_moment_cell,
        aliases=("until", "end", "end date", "ends at", "valid until"),
    ),
    ListColumn(
        name="quota",
        title="Quota",
        help="Calls a month that are included. Shown, not enforced.",
        example="100000",
        parse=parse_whole_number_cell,
    ),
)

PRODUCT_COLUMNS = (
    ListColumn(
        name="external_key",
        title="External key",
        help="The name other systems know this product by. Unique.",
        example="maps",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        identifying=True,
        required=True,
        aliases=("product", "product key", "product id", "plan id", "key", "id"),
    ),
    ListColumn(
        name="name",
        title="Name",
        help="What people call the product.",
        example="Maps",
        parse=text_parser(MAX_NAME_CHARACTERS),
        identifying=True,
        required=True,
        aliases=("product name", "plan", "plan name", "display name", "title", "bezeichnung"),
    ),
    ListColumn(
        name="product_version",
        title="Version",
        help="Shown behind the name.",
        example="2",
        parse=text_parser(50),
        aliases=("release",),
    ),
    ListColumn(
        name="sources",
        title="Sources",
        help="The external keys of the sources whose calls it counts, instead of those it has. "
        "Several are separated by |.",
        example="tiles|routes",
        parse=several_parser(text_parser(MAX_EXTERNAL_KEY_CHARACTERS), also=";"),
        several=True,
        joins=True,
        aliases=("source", "apis", "api", "api proxies", "proxies", "services", "service"),
    ),
    ListColumn(
        name="also_without_source",
        title="Also without source",
        help="Yes or no: also count calls that name no source and whose path belongs to none.",
        example="no",
        parse=parse_yes_or_no,
        aliases=("also calls of no source", "counts calls of no source"),
    ),
)

SOURCE_COLUMNS = (
    ListColumn(
        name="external_key",
        title="External key",
        help="What gateways send as source. A source may have several rows, one for each path.",
        example="tiles",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        required=True,
        aliases=("source", "source key", "source id", "api", "api id", "service", "service id"),
    ),
    ListColumn(
        name="name",
        title="Name",
        help="What people call the source. Empty for a new one: its external key. Only a row "
        "without a path renames a source.",
        example="Map tiles",
        parse=text_parser(MAX_NAME_CHARACTERS),
        aliases=("source name", "api name", "service name", "display name", "title"),
    ),
    ListColumn(
        name="match",
        title="The path",
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
        title="Path",
        help="A path, its beginning, or an expression: calls to it belong to the source, if they "
        "name none. Empty: the row is about the source only.",
        example="/tiles/v1/",
        parse=text_parser(500),
        identifying=True,
        aliases=("text", "paths", "path rule", "base path", "uri", "route", "pfad"),
    ),
)

GATEWAY_COLUMNS = (
    ListColumn(
        name="name",
        title="Name",
        help="Unique. It identifies the gateway.",
        example="edge-eu",
        parse=text_parser(100),
        identifying=True,
        required=True,
        aliases=("gateway", "gateway name", "gateway id", "id", "cluster", "instance"),
    ),
    ListColumn(
        name="kind",
        title="Kind",
        help=f"One of {', '.join(Gateway.Kind.values)}. Empty for a new one: other.",
        example="kong",
        parse=choice_parser(words_of(Gateway.Kind.choices, azure_apim=Gateway.Kind.AZURE)),
        aliases=("type", "gateway type", "gateway kind", "product", "vendor", "typ", "art"),
    ),
    ListColumn(
        name="suspended_at",
        title="Suspended at",
        help="From then on its tokens are refused.",
        example="",
        parse=parse_moment_cell,
    ),
    ListColumn(
        name="accepted_days",
        title="Accepted age in days",
        help="How old a call may be when it arrives. Empty: as the installation has it.",
        example="30",
        parse=parse_accepted_days_cell,
        aliases=("accepted age", "max age days"),
    ),
    ListColumn(
        name="ids_from_callers",
        title="Ids may come from callers",
        help="Yes or no: a caller may choose the id that this gateway reports. Empty for a new "
        "one: as usual for its kind.",
        example="no",
        parse=parse_yes_or_no,
    ),
    ListColumn(
        name="event_subject",
        title="Event subject",
        help="What the subject of its CloudEvents names: key or subscription.",
        example="key",
        parse=choice_parser(words_of(Gateway.EventSubject.choices)),
    ),
    ListColumn(
        name="event_elements",
        title="Event elements",
        help="Which members of its CloudEvents' data are counted. Several are separated by |.",
        example="tokens|usage.output_tokens",
        parse=several_parser(text_parser(100), also=",;"),
        several=True,
    ),
    ListColumn(
        name="counted_records",
        title="Counted records",
        help="OpenTelemetry only: names of further records that are calls. Several are separated "
        "by |.",
        example="http.access",
        parse=several_parser(text_parser(100), also=",;"),
        several=True,
    ),
    ListColumn(
        name="kept_attributes",
        title="Kept attributes",
        help="Names of further attributes that are kept and shown to the customer. Never name one "
        "that holds a prompt or a key. Several are separated by |.",
        example="http.route",
        parse=several_parser(text_parser(100), also=",;"),
        several=True,
    ),
    ListColumn(
        name="check_mode",
        title="Check of calls",
        help="off, observe or enforce.",
        example="observe",
        parse=choice_parser({mode: mode for mode in Gateway.CheckMode.values}),
        aliases=("checks",),
    ),
    ListColumn(
        name="key_place",
        title="Where the caller's key is",
        help=f"One of {', '.join(Gateway.KeyPlace.values)}.",
        example="header",
        parse=choice_parser(words_of(Gateway.KeyPlace.choices)),
    ),
    ListColumn(
        name="key_name",
        title="Name of that header or parameter",
        help="Letters, digits, - and _.",
        example="X-Api-Key",
        parse=parse_key_name_cell,
    ),
    ListColumn(
        name="check_refuses_over_quota",
        title="Refuse calls over the quota",
        help="Yes or no.",
        example="no",
        parse=parse_yes_or_no,
    ),
    ListColumn(
        name="check_fails_open",
        title="Let calls through when revcred cannot be asked",
        help="Yes or no. A note for whoever configures the gateway.",
        example="yes",
        parse=parse_yes_or_no,
    ),
)

USAGE_COLUMNS = (
    ListColumn(
        name="transaction_id",
        title="Transaction",
        help="The id of the call, unique at its gateway. A call that was counted before is not "
        "counted again.",
        example="7c41d0b2-0001",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        identifying=True,
        required=True,
        aliases=(
            *("id", "request id", "x request id", "call id", "event id", "log id", "message id"),
            *("correlation id", "trace id"),
        ),
    ),
    ListColumn(
        name="occurred_at",
        title="Occurred at",
        help="When the call was made. UTC unless it says otherwise.",
        example="2026-11-01T08:15:30Z",
        parse=parse_moment_cell,
        identifying=True,
        required=True,
        aliases=(
            *("time", "timestamp", "date", "datetime", "request time", "started at", "created at"),
            *("event time", "at", "zeit", "zeitpunkt", "datum"),
        ),
    ),
    ListColumn(
        name="gateway",
        title="Gateway",
        help="The name of the gateway that metered the call.",
        example="edge-eu",
        parse=text_parser(100),
        required=True,
        aliases=("gateway name", "cluster", "instance"),
    ),
    ListColumn(
        name="key",
        title="Key",
        help="What the caller sent: an API key, a client id, an alias. Needed if no subscription "
        "is named.",
        example="ak_live_5f2b8c1e9d",
        parse=text_parser(MAX_KEY_CHARACTERS),
        secret=True,
        aliases=(
            *("api key", "external key", "client id", "consumer key", "app id", "user key"),
            *("subscription key", "credential", "credential id", "consumer", "caller"),
        ),
    ),
    ListColumn(
        name="subscription",
        title="Subscription",
        help="The external key of the subscription that the call is charged to.",
        example="acme-maps",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        aliases=("subscription id", "product key"),
    ),
    ListColumn(
        name="source",
        title="Source",
        help="The external key of the source that was called.",
        example="tiles",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        aliases=("api", "service", "api id", "api name", "service name"),
    ),
    ListColumn(
        name="method",
        title="Method",
        help="Such as GET.",
        example="GET",
        parse=text_parser(20),
        aliases=("http method", "verb", "request method"),
    ),
    ListColumn(
        name="path",
        title="Path",
        help="The path of the call. Host and query are left out.",
        example="/tiles/v1/12/2200/1343",
        parse=text_parser(2_000),
        shown_as=without_query,
        aliases=("uri", "url", "request uri", "request path", "resource path", "endpoint"),
    ),
    ListColumn(
        name="status",
        title="Status",
        help="The status of the answer, such as 200.",
        example="200",
        parse=parse_whole_number_cell,
        aliases=("status code", "response code", "response status", "http status"),
    ),
    ListColumn(
        name="request_bytes",
        title="Request bytes",
        help="The size of the request.",
        example="512",
        parse=parse_whole_number_cell,
        aliases=("request size", "request length", "bytes in", "bytes received"),
    ),
    ListColumn(
        name="response_bytes",
        title="Response bytes",
        help="The size of the answer.",
        example="20480",
        parse=parse_whole_number_cell,
        aliases=("response size", "response length", "bytes out", "bytes sent"),
    ),
    ListColumn(
        name="latency_ms",
        title="Latency in ms",
        help="How long the call took, in milliseconds.",
        example="12.5",
        parse=parse_decimal_cell,
        aliases=("latency", "duration ms", "response time", "response latency", "duration"),
    ),
    ListColumn(
        name="calls",
        title="Calls",
        help="How many calls the row stands for. Empty: one, unless there are elements.",
        example="1",
        parse=parse_whole_number_cell,
        aliases=("count", "hits", "requests", "quantity", "anzahl"),
    ),
    ListColumn(
        name="elements",
        title="Elements",
        help="What else is counted, as a JSON object of names and quantities.",
        example='{"tokens": 532}',
        parse=parse_json_object_cell,
        aliases=("metrics", "quantities"),
    ),
)

COLUMNS_BY_KIND: Mapping[ListKind, tuple[ListColumn, ...]] = {
    ListKind.CREDENTIALS: CREDENTIAL_COLUMNS,
    ListKind.CUSTOMERS: CUSTOMER_COLUMNS,
    ListKind.SUBSCRIBERS: SUBSCRIBER_COLUMNS,
    ListKind.SUBSCRIPTIONS: SUBSCRIPTION_COLUMNS,
    ListKind.PRODUCTS: PRODUCT_COLUMNS,
    ListKind.SOURCES: SOURCE_COLUMNS,
    ListKind.GATEWAYS: GATEWAY_COLUMNS,
    ListKind.USAGE: USAGE_COLUMNS,
}
