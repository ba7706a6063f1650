"""Parsers of the cells of a column, for which a person has no choice."""

import re
from collections.abc import Iterable, Mapping

import msgspec
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_noop

from revcred.models import Membership
from revcred.models.customers import MAX_METADATA_CHARACTERS
from revcred.models.gateways import KEY_NAME, check_accepted_days
from revcred.uploads.columns.list_column import VALUE_SEPARATOR, CellParser
from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.key_cells import strip_invisible_ends

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


# What databases write where there is no value. A name such as “Null” is none of them.
NO_VALUE_WORDS = frozenset(
    {"NULL", "null", "\\N", "(null)", "(NULL)", "<null>", "<NULL>", "[NULL]"}
)
SPREADSHEET_ERROR = re.compile(
    r"#(?:NAME|REF|VALUE|WERT|BEZUG|DIV/0|NUM|ZAHL|NULL|N/A|NV|SPILL)[?!]?"
)


def text_parser(longest: int) -> CellParser:
    """Return a parser of one value of at most `longest` characters."""

    def parse(cell: str) -> str:
        value = strip_invisible_ends(cell)
        if value in NO_VALUE_WORDS:
            return ""
        if value[:1] == "#" and SPREADSHEET_ERROR.fullmatch(value):
            raise InvalidCell(gettext_noop("This is an error of a spreadsheet."))
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


def parse_tags_cell(cell: str) -> str:
    """Return the tags of a cell; VALUE_SEPARATOR if there are to be none.

    A cell that ends with the separator is separated by it alone: its tags may have commas.
    """
    given = cell.strip()
    if not given.endswith(VALUE_SEPARATOR):
        return _parse_separated_tags(given)
    return _parse_exact_tags(given) or VALUE_SEPARATOR


_parse_tag = text_parser(100)
_parse_separated_tags = several_parser(_parse_tag, also=",;")
_parse_exact_tags = several_parser(_parse_tag)


def parse_email_cell(cell: str) -> str:
    value = strip_invisible_ends(cell).lower()
    # A mail program's notation: Ada Lovelace <ada@example.com>
    if named := NAMED_ADDRESS.fullmatch(value):
        value = named[1]
    value = value.removeprefix("mailto:")
    if value in NOBODY_WORDS:
        return ""
    if value and (len(value) > MAX_EMAIL_CHARACTERS or not EMAIL_CELL_PATTERN.fullmatch(value)):
        raise InvalidCell(gettext_noop("This is not an e-mail address."))
    return value


def parse_domain_cell(cell: str) -> str:
    value = cell.strip().lower().removeprefix("@")
    if value and (len(value) > MAX_DOMAIN_CHARACTERS or not DOMAIN_CELL_PATTERN.fullmatch(value)):
        raise InvalidCell(gettext_noop("This is not a domain such as example.com."))
    return value


def parse_role_cell(cell: str) -> str:
    value = cell.strip().lower()
    if value and value not in Membership.Role.values:
        raise InvalidCell(f"This is not one of {', '.join(Membership.Role.values)}.")
    return value


def parse_whole_number_cell(cell: str) -> str:
    value = cell.strip()
    if value and not (value.isascii() and value.isdecimal() and int(value) <= MAX_QUOTA):
        raise InvalidCell(gettext_noop("This is not a whole number of 0 or more."))
    return value


def parse_decimal_cell(cell: str) -> str:
    """Return a number as JSON has it, also where a comma stands before its decimals."""
    value = cell.strip()
    if value and not DECIMAL_CELL_PATTERN.fullmatch(value):
        raise InvalidCell(gettext_noop("This is not a number of 0 or more, such as 12.5."))
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
        raise InvalidCell(gettext_noop("It has other characters than letters, digits, - and _."))
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


def words_of(choices: Iterable[tuple[str, object]], **further: str) -> dict[str, str]:
    """Return the words for the choices of a model's field: value and label, and further ones."""
    words = {}
    for value, label in choices:
        for text in (value, label):
            words[re.sub(r"[\W_]+", " ", str(text)).strip().casefold()] = value
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
        raise InvalidCell(gettext_noop('This is not JSON such as {"region": "EU"}.')) from None
    if not isinstance(read, dict):
        raise InvalidCell(gettext_noop('This is not a JSON object such as {"region": "EU"}.'))
    # PostgreSQL's jsonb cannot hold it.
    if "\\u0000" in value:
        raise InvalidCell(gettext_noop("It contains U+0000, which cannot be stored."))
    return value
