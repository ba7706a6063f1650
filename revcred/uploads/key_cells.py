"""Cells that hold keys and secrets: what is certainly no part of a key is stripped.

Everything else that no caller would send rejects the row, by the name of what is wrong and without
the key.
"""

import re
import unicodedata

from django.utils.translation import gettext_noop

from revcred.external_keys import MAX_KEY_CHARACTERS
from revcred.uploads.invalid_cell import InvalidCell

# Most keys: nothing here has to be looked at twice. Placeholders are words, without a digit.
PLAIN_KEY = re.compile(
    r"(?=\D*\d)(?!projects/|(?i:(?:x-)?api[-_]?key=))[A-Za-z0-9_][A-Za-z0-9_.~+/=-]{23,}"
)

# Format characters, which nobody sees: zero-width spaces and joiners, marks of direction and of
# byte order, and soft hyphens.
INVISIBLE_CHARACTERS = "\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
INVISIBLE_ENDS = re.compile(rf"^[\s{INVISIBLE_CHARACTERS}]+|[\s{INVISIBLE_CHARACTERS}]+$")
# Inside a key, a space may be meant; any other white space and invisible characters are not.
UNFIT_INSIDE = re.compile(rf"[^\S ]|[{INVISIBLE_CHARACTERS}]")
# What stands before a key in a header that somebody copied.
HEADER_BEFORE_KEY = re.compile(
    r"(?:(?:authorization\s*:\s*)?(?:bearer|token|api-?key)\s+|(?:x-)?api[-_]?key\s*[:=]\s*)(?=\S)",
    re.IGNORECASE,
)
CLOSING_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "„": "“”", "‘": "’", "«": "»"}  # noqa: RUF001
QUOTES = frozenset("".join([*CLOSING_QUOTES, *CLOSING_QUOTES.values()]))
TEXT_MARK = re.compile(r"'(?=\d)")  # by it, spreadsheets keep a number as text

NOT_THE_KEY = (
    (
        re.compile(
            r"\$(?:[A-Z][A-Z0-9_]*|[a-z][a-z_]*|\{.*\}|\(.*\)|env:\w+|\w+://.+)|\{\{.*\}\}"
            r"|\{?vault:.*\}?|%\w+%|@@\w+@@|<[^<>]*>|\[[^\[\]]*\]|\([^()]*\)|\{[\w ]*\}"
            r"|\{cipher\}.+"
            r"|(?:process\.)?env[.:]\w+|secret(?:ref)?:.+|@Microsoft\.KeyVault\(.*\)"
            r"|!(?:Ref|Sub|file|vault) .+|ENC\[.+\]"
            # Where stores of secrets keep the key: 1Password, vals, AWS and Google.
            r"|(?:op|vault|env|ssm|awssm|awsssm|gcpsm|azurekeyvault|keyvault|ref\+\w+)://.+"
            r"|arn:aws[\w-]*:(?:secretsmanager|ssm):.+|projects/[^/]+/secrets/.+"
            r"|(?i:(?:your|insert|replace|enter|paste)(?:[ _-][a-z]+)*[ _-]"
            r"(?:key|token|secret|here|me|value|id))"
        ),
        gettext_noop("This is a placeholder for a key. Write the key itself."),
    ),
    (
        re.compile(
            r"null|none|nil|undefined|n/?a|nan|0|\\N|-+|\?+|todo|tbd|changeme|change[_-]me|redacted"
            r"|your[_-]?(?:api[_-]?)?key|keine?|leer",
            re.IGNORECASE,
        ),
        gettext_noop("This word stands for no key. Leave the cell empty instead."),
    ),
    (
        re.compile(r"#(?:NAME|REF|VALUE|WERT|BEZUG|DIV/0|NUM|ZAHL|NULL|N/A|NV|SPILL)[?!]?"),
        gettext_noop("This is an error of a spreadsheet, not a key."),
    ),
    (
        re.compile(r"=\$?[A-Z]{1,3}\$?\d+|=[A-Z.]+\(.*\)"),
        gettext_noop("This is a formula of a spreadsheet, not a key."),
    ),
    (
        re.compile(
            r".*(?:\*{3}|…|•{2}|●{2}|x{8}).*|\.{3}.*|.*\.{3}|(?=.*x)[x\W_]{4,}", re.IGNORECASE
        ),
        gettext_noop("Only a part of the key is here, the rest is hidden. Export the whole keys."),
    ),
    (
        re.compile(r"-?\d(?:[.,]\d+)?E[+-]\d{1,3}"),
        gettext_noop(
            "A spreadsheet has shortened this number. Format the column as text and enter it again."
        ),
    ),
    (
        re.compile(
            r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}(?: \d\d?:\d\d.*)?"
        ),
        gettext_noop(
            "This is a date, not a key. Format the column as text and enter the key again."
        ),
    ),
    (
        re.compile(r"true|false|yes|no|wahr|falsch|ja|nein|on|off|enabled|disabled", re.IGNORECASE),
        gettext_noop("This is a yes or no, not a key."),
    ),
    (
        re.compile(r"basic\s+\S+", re.IGNORECASE),
        gettext_noop("This is a user name with a password, not a key."),
    ),
    (
        re.compile(
            r"\$(?:2[abxy]|argon2\w*|pbkdf2[\w-]*|scrypt|[156])\$.+|\{SSHA?\d*\}.+"
            r"|(?:sha-?(?:1|256|512)|bcrypt|pbkdf2_\w+)[:$].+",
            re.IGNORECASE,
        ),
        gettext_noop(
            "This is a hash of a key. Callers send the key itself, which cannot be computed from"
            " it."
        ),
    ),
)
HASH_HEADER = re.compile(
    r"hash|digest|sha-?_?(?:1|256|384|512)\b|md5|bcrypt|fingerprint", re.IGNORECASE
)
HASH_VALUE = re.compile(
    r"[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{128}|\$(?:2[abxy]|argon2\w*|pbkdf2[\w-]*|[156])\$.+",
    re.IGNORECASE,
)


def parse_key_cell(cell: str) -> str:
    """Return the key without what surrounds it. Raises InvalidCell where no caller would send it.

    White space, invisible characters, paired quotes and words such as “Bearer” around a key are
    certainly no part of it.
    """
    if PLAIN_KEY.fullmatch(cell) and "xxxxxxxx" not in cell and "XXXXXXXX" not in cell:
        return _checked_length(cell)
    key = strip_invisible_ends(cell)
    key = HEADER_BEFORE_KEY.sub("", key, count=1) if HEADER_BEFORE_KEY.match(key) else key
    if len(key) > 1 and key[-1] in CLOSING_QUOTES.get(key[0], ""):
        key = strip_invisible_ends(key[1:-1])
        key = HEADER_BEFORE_KEY.sub("", key, count=1) if HEADER_BEFORE_KEY.match(key) else key
    key = TEXT_MARK.sub("", key, count=1) if TEXT_MARK.match(key) else key
    if not key:
        return ""
    for pattern, message in NOT_THE_KEY:
        if pattern.fullmatch(key):
            raise InvalidCell(message)
    if key[0] in QUOTES or key[-1] in QUOTES:
        side = "begins" if key[0] in QUOTES else "ends"
        raise InvalidCell(f"The key {side} with a quote that has no other end.")
    _reject_unfit(key)
    return _checked_length(key)


def parse_secret_cell(cell: str) -> str:
    """Return the secret, without white space and invisible characters around it.

    Raises InvalidCell for placeholders: unlike keys, secrets may look like anything else.
    """
    secret = strip_invisible_ends(cell)
    for pattern, message in NOT_THE_KEY[:1]:
        if pattern.fullmatch(secret):
            raise InvalidCell(message.replace("key", "secret"))
    return _checked_length(secret)


def strip_invisible_ends(text: str) -> str:
    """Return the text without white space and invisible characters at both ends."""
    return INVISIBLE_ENDS.sub("", text)


def are_hashes(header: str, cells: list[str]) -> bool:
    """Return True if the column holds hashes of keys: by its name and its cells.

    Keys may be hexadecimal too, so that the cells alone say nothing.
    """
    filled = [cell.strip() for cell in cells if cell.strip()]
    by_name = bool(HASH_HEADER.search(header))
    return (
        bool(filled)
        and by_name
        and all(
            HASH_VALUE.fullmatch(cell) or re.fullmatch(r"[0-9a-fA-F]{32}", cell) for cell in filled
        )
    )


def _reject_unfit(key: str) -> None:
    found = UNFIT_INSIDE.search(key)
    if found:
        name = unicodedata.name(found[0], "a control character").lower()
        raise InvalidCell(
            f"Inside the key is a character that nobody sees: U+{ord(found[0]):04X}, {name}."
        )


def _checked_length(key: str) -> str:
    if len(key) > MAX_KEY_CHARACTERS:
        raise InvalidCell(
            f"It has {len(key):,} characters; at most {MAX_KEY_CHARACTERS:,} are allowed."
        )
    return key
