"""The definition of a format: data that says where a gateway's lines have each fact of a call."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from metering.api.line_formats.expression_trial import Expression, find_slow_expression
from metering.inbox.quantities import MAX_ELEMENT_NAME_CHARACTERS, MAX_ELEMENTS_PER_CALL

MAX_DEFINITION_BYTES = 20_000  # as JSON
MAX_PATTERN_CHARACTERS = 2_000
# A repeated group whose end repeats, too, such as `(a+)+`: some texts would take it for ever.
NESTED_REPEAT = re.compile(r"[+*}]\??\)+[+*{]")
NESTED_REPEAT_MESSAGE = (
    "A repeated group must not hold a repetition: some texts would take it for ever. Write ++ or *+"
    " for the inner one, which gives nothing back."
)
SLOW_MESSAGE = (
    "It takes too long on some long text. Begin with ^, write ++ or *+ where nothing has to be"
    " given back, and let no two neighbours or alternatives take the same characters."
)
EXPRESSION_TOKEN = re.compile(
    r"""
    \\. | \[ \^? \]? (?: \\. | [^\]\\] )*+ \]  # a sign that is escaped, a set of signs
    | (?P<opens> \( (?P<is_atomic> \?> )? ) | (?P<closes> \) )
    | (?P<endless> [*+] | \{ \d* , \} ) (?P<keeps> \+ )? \??
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
STATUS_RANGE = re.compile(r"(?P<first>[1-5]\d\d)(?:-(?P<last>[1-5]\d\d))?|(?P<class>[1-5])xx")
DURATION_UNITS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}  # in milliseconds
AUTOMATIC_UNIT = ""
NEWEST_YEAR = datetime(9999, 12, 31, tzinfo=UTC)


class InvalidDefinition(ValueError):
    """A definition that cannot be used: the field, and what is wrong with it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field, self.message = field, message


class Pointer(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A place in a record: names of members and positions in lists, with slashes between them.

    In a name, `~1` stands for a slash and `~0` for a tilde. `unit` is that of a latency or moment;
    a moment's may also be a format as in Python's `strptime`. `capture` is a regular expression:
    its first group is the value, and a text in which it is not found has none.
    """

    at: str
    unit: str = AUTOMATIC_UNIT
    capture: str = ""

    @property
    def steps(self) -> tuple[str, ...]:
        return tuple(
            step.replace("~1", "/").replace("~0", "~") for step in self.at.strip("/").split("/")
        )


Pointers = tuple[str | Pointer, ...]


class CountWhen(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which records are calls that count. Others are ignored. What is empty asks for nothing."""

    statuses: Annotated[tuple[str, ...], Meta(description="Such as 2xx, 404 or 200-399.")] = ()
    methods: tuple[str, ...] = ()
    texts: Annotated[
        dict[str, tuple[str, ...]],
        Meta(description="By pointer: the texts that may stand there, with * for any part."),
    ] = {}


class Owners(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where names stand that say whose a call is, if there is neither key nor subscription."""

    customer: Pointers = ()
    product: Pointers = ()
    subscriber: Pointers = ()
    credential: Pointers = ()


class FormatDefinition(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """How lines are read. Of several pointers the first that leads to a value counts."""

    lines: Literal["json", "regex", "separated"] = "json"
    pattern: Annotated[str, Meta(description="Of regex: its named groups are members.")] = ""
    separator: Annotated[str, Meta(description="Of separated: one character.")] = ","
    columns: Annotated[tuple[str, ...], Meta(description="Of separated: their names.")] = ()
    # Where the record lies in what was posted: the first that is there. A list holds several, and a
    # text is read as a line of its own.
    records: tuple[str, ...] = ()
    time_zone: Annotated[str, Meta(description="Of moments that say none.")] = "UTC"
    transaction_id: Annotated[Pointers, Meta(description="Ids that the gateway makes.")] = ()
    transaction_id_from_caller: Annotated[
        Pointers,
        Meta(description="Ids that callers may choose: moment, method, path, status tell more."),
    ] = ()
    occurred_at: Pointers = ()
    key: Annotated[Pointers, Meta(description="What the caller sent.")] = ()
    credential: Annotated[
        Pointers, Meta(description="What the gateway put there: a public id or an alias.")
    ] = ()
    subscription: Pointers = ()
    source: Pointers = ()
    owners: Owners = Owners()
    method: Pointers = ()
    path: Pointers = ()
    status: Pointers = ()
    request_bytes: Pointers = ()
    response_bytes: Pointers = ()
    latency_ms: Annotated[Pointers, Meta(description="Their unit is s, ms, us or ns.")] = ()
    elements: Annotated[dict[str, Pointers], Meta(description="What is counted beside calls.")] = {}
    metadata: Annotated[dict[str, Pointers], Meta(description="All that is kept besides.")] = {}
    count_when: CountWhen = CountWhen()

    def expressions(self) -> Iterator[Expression]:
        """Yield each regular expression with the name of its field, and how it is used."""
        if self.pattern:
            yield "pattern", self.pattern, "match"
        for field, pointer in self.pointers():
            if pointer.capture:
                yield field, pointer.capture, "search"

    def pointers(self) -> Iterator[tuple[str, Pointer]]:
        """Yield each pointer with the name of its field."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, Owners):
                for owner in Owners.__struct_fields__:
                    yield from ((f"owners.{owner}", each) for each in typed(getattr(value, owner)))
            elif isinstance(value, dict):
                for member, places in value.items():
                    yield from ((f"{name}.{member}", each) for each in typed(places))
            elif name in POINTER_FIELDS:
                yield from ((name, each) for each in typed(value))


POINTER_FIELDS = frozenset(
    {
        *("transaction_id", "transaction_id_from_caller", "occurred_at", "key", "credential"),
        *("subscription", "source", "method", "path", "status", "request_bytes"),
        *("response_bytes", "latency_ms"),
    }
)


def typed(pointers: Pointers) -> Iterator[Pointer]:
    """Yield each pointer as an object, also one that is written as its place alone."""
    for pointer in pointers:
        yield Pointer(pointer) if isinstance(pointer, str) else pointer


_decode = msgspec.json.Decoder(FormatDefinition).decode


def parse_definition(text: str | bytes) -> FormatDefinition:
    """Return the definition that this JSON is, checked. Raises InvalidDefinition."""
    if len(text) > MAX_DEFINITION_BYTES:
        raise InvalidDefinition("", f"It has more than {MAX_DEFINITION_BYTES:,} bytes.")
    try:
        definition = _decode(text)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at ")
        raise InvalidDefinition(place.strip("`$."), f"{message}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidDefinition("", f"It is not JSON: {error}.") from error
    check_definition(definition)
    return definition


def check_speed(definition: FormatDefinition) -> None:
    """Try the expressions on texts that are bad for them. Raises InvalidDefinition.

    Takes a fraction of a second, or a few where one is slow: for definitions that people write.
    """
    field = find_slow_expression(definition.expressions())
    if field is not None:
        raise InvalidDefinition(field, SLOW_MESSAGE)


def definition_as_data(definition: FormatDefinition) -> dict[str, Any]:
    """Return the definition as a column of JSON has it."""
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(definition))
    return data


def definition_as_text(definition: FormatDefinition) -> str:
    """Return the definition as people edit it."""
    return msgspec.json.format(msgspec.json.encode(definition), indent=2).decode()


def check_definition(definition: FormatDefinition) -> None:
    """See that the definition can be compiled, and reads what a call needs.

    Raises:
        InvalidDefinition: a field is wrong or missing.
    """
    _check_kind(definition)
    if not definition.occurred_at:
        raise InvalidDefinition("occurred_at", "Say where the moment of a call is.")
    for field, pointer in definition.pointers():
        _check_pointer(field, pointer)
    _check_elements(definition.elements)
    for status in definition.count_when.statuses:
        found = STATUS_RANGE.fullmatch(status)
        if not found or (found["last"] and found["last"] < found["first"]):
            raise InvalidDefinition(
                "count_when.statuses", f"“{status}” is none. Write 2xx, 404 or 200-399."
            )
    try:
        ZoneInfo(definition.time_zone)
    except (ValueError, OSError, KeyError) as error:
        raise InvalidDefinition(
            "time_zone", "There is no such time zone. Write a name such as Europe/Berlin."
        ) from error


def _check_kind(definition: FormatDefinition) -> None:
    if definition.lines == "regex":
        groups = _checked_expression("pattern", definition.pattern).groupindex
        if not groups:
            raise InvalidDefinition("pattern", "It needs named groups, such as (?P<status>\\d+).")
        _check_names(definition, groups)
    elif definition.lines == "separated":
        if len(definition.separator) != 1 or definition.separator in '"\r\n\0':
            raise InvalidDefinition("separator", "It is one character, such as a comma.")
        if not definition.columns:
            raise InvalidDefinition("columns", "Name the columns in their order.")
        _check_names(definition, definition.columns)


def _check_names(definition: FormatDefinition, names: Any) -> None:
    """See that all pointers lead to members that a line can have. Raises InvalidDefinition."""
    for field, pointer in definition.pointers():
        if pointer.steps[0] not in names:
            raise InvalidDefinition(field, f"A line has no member “{pointer.steps[0]}”.")


def _check_pointer(field: str, pointer: Pointer) -> None:
    if not pointer.at.strip("/"):
        raise InvalidDefinition(field, "A pointer names the members that lead to a value.")
    if pointer.capture and not _checked_expression(field, pointer.capture).groups:
        raise InvalidDefinition(field, "A capture needs a group in parentheses.")
    if field == "latency_ms" and pointer.unit not in {*DURATION_UNITS, AUTOMATIC_UNIT}:
        raise InvalidDefinition(field, "The unit is s, ms, us or ns.")
    if field == "occurred_at" and not (
        pointer.unit in {*DURATION_UNITS, AUTOMATIC_UNIT} or _is_moment_format(pointer.unit)
    ):
        raise InvalidDefinition(field, "The unit is s, ms, us, ns or like %d/%m/%Y %H:%M:%S.")
    if field not in {"latency_ms", "occurred_at"} and pointer.unit:
        raise InvalidDefinition(field, "Only a moment and a latency have a unit.")


def _is_moment_format(unit: str) -> bool:
    try:
        datetime.strptime(NEWEST_YEAR.strftime(unit), unit)  # noqa: DTZ007 - only tried
    except ValueError:
        return False
    return "%" in unit


def _check_elements(elements: Mapping[str, Pointers]) -> None:
    if len(elements) >= MAX_ELEMENTS_PER_CALL:
        raise InvalidDefinition("elements", f"At most {MAX_ELEMENTS_PER_CALL - 1}, beside calls.")
    if not all(1 <= len(name) <= MAX_ELEMENT_NAME_CHARACTERS for name in elements):
        message = f"A name has 1 to {MAX_ELEMENT_NAME_CHARACTERS} characters."
        raise InvalidDefinition("elements", message)


def _checked_expression(field: str, pattern: str) -> "re.Pattern[str]":
    """Return the compiled regular expression. Raises InvalidDefinition."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        message = f"It has more than {MAX_PATTERN_CHARACTERS:,} characters."
        raise InvalidDefinition(field, message)
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        message = f"It is no regular expression: {error}."
        raise InvalidDefinition(field, message) from error
    if NESTED_REPEAT.search(pattern) or _repeats_a_repetition(pattern):
        raise InvalidDefinition(field, NESTED_REPEAT_MESSAGE)
    return compiled


def _repeats_a_repetition(pattern: str) -> bool:
    """Return True if a group that is repeated without an end holds such a repetition.

    One that gives nothing back, as `a++` or in `(?>…)`, is none: it is tried in one way only.
    """
    groups = [[False, False]]  # those that are open: holds a repetition, gives nothing back
    has_closed_one = False  # just now, with a repetition in it
    for token in EXPRESSION_TOKEN.finditer(pattern):
        if token["endless"] and not token["keeps"]:
            if has_closed_one:
                return True
            groups[-1][0] = True
        has_closed_one = False
        if token["opens"]:
            groups.append([False, bool(token["is_atomic"])])
        elif token["closes"] and len(groups) > 1:  # a comment may hold one that closes nothing
            holds_one, is_atomic = groups.pop()
            has_closed_one = holds_one and not is_atomic
            groups[-1][0] |= has_closed_one
    return False
