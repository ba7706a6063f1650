"""Mapping of a file's columns to revcred's columns, and fixed values that every row has."""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeVar

from revcred.uploads.columns import (
    CellParser,
    CellRules,
    ListColumn,
    ListKind,
    columns_of,
    parse_state_cell,
)
from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.key_cells import are_hashes
from revcred.uploads.moment_cells import DayOrder, without_unit
from revcred.uploads.reading import RowCells
from revcred.uploads.reading.list_reader import cell_error

# A date that can be read two ways is a date, and so is one that can be read in either way only.
LENIENT_RULES = tuple(
    CellRules(day_order=order) for order in (DayOrder.DAY_FIRST, DayOrder.MONTH_FIRST)
)
HeaderPosition = TypeVar("HeaderPosition", int, str)  # text where it was stored as a JSON key

# Reasons of a guess, as the page of columns says them.
BY_NAME = "its name"
BY_ALIAS = "another name for it"
BY_CONTENT = "its values"

# 16 or more printable ASCII characters with a digit among them: nobody writes such a name.
LOOKS_LIKE_KEY = re.compile(r"(?=\S*\d)[!-~]{16,}")
LOOKS_LIKE_MOMENT_OR_ADDRESS = re.compile(r"\d{4}-\d\d-\d\dT|\w+://")
# Each may be a state, though none of those that are known: the preview asks what it means.
LOOKS_LIKE_STATE = re.compile(r"[^\W\d_][\w \-]{0,30}")
DURATION_COLUMN = "expiresin"  # the normalised name
# Whoever did something with a credential need not be who uses it.
SOMEBODY_ELSE = re.compile(
    r"(?:created?|updated?|modified|changed|edited|approved|issued|requested|deleted|revoked|added)"
    r"[\W_]*by|reviewer|approver|creator|erstellt[\W_]*von|angelegt[\W_]*von|geändert[\W_]*von",
    re.IGNORECASE,
)
LOOKS_LIKE_ADDRESS = re.compile(r"\s*[^\s@]+@[^\s@]+\.[^\s@]+\s*")


@dataclass
class GuessedColumns:
    """A mapping of a file's columns, with the reason for each of them.

    `asked`: positions that could all be the key, so that only a person can choose. `hashes`:
    positions of columns with hashes of keys, which are no keys.
    """

    mapping: dict[int, str] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)


def guess_mapping(
    kind: ListKind, header: Sequence[str], sample: Sequence[RowCells]
) -> dict[int, str]:
    """Return revcred's column for each position of the header that is recognised."""
    return guess_columns(kind, header, sample).mapping


def guess_columns(
    kind: ListKind, header: Sequence[str], sample: Sequence[RowCells]
) -> GuessedColumns:
    """Recognise the columns of a file.

    A column's own name or title counts most, then an alias that the cells do not contradict, then
    the look of the cells.
    """
    cells = [[row[position] for row in sample] for position in range(len(header))]
    guessed = GuessedColumns()
    if kind is ListKind.CREDENTIALS:
        guessed.hashes = [at for at, name in enumerate(header) if are_hashes(name, cells[at])]
    joining = {column.name for column in columns_of(kind) if column.joins}
    named_keys = []
    # The first guess for a column wins, so better evidence comes first.
    for reason, position, column in (
        *((BY_NAME, *each) for each in _by_name(kind, header)),
        *((BY_ALIAS, *each) for each in _by_alias(kind, header, sample)),
        *((BY_CONTENT, *each) for each in _by_content(kind, header, sample)),
    ):
        if position in guessed.mapping or position in guessed.hashes:
            continue
        if column == "key" and reason != BY_CONTENT and any(map(str.strip, cells[position])):
            named_keys.append(position)
        if column in joining or column not in guessed.mapping.values():
            guessed.mapping[position] = column
            guessed.reasons[position] = reason
    named = [at for at, column in guessed.mapping.items() if column == "customer_name"]
    if named and "customer" not in guessed.mapping.values():
        # The only column that says who the customer is.
        guessed.mapping[named[0]] = "customer"
    if kind is ListKind.SUBSCRIBERS:
        _take_name_beside_first_name(guessed)
    guessed.mapping = dict(sorted(guessed.mapping.items()))
    if kind is ListKind.CREDENTIALS:
        guessed.asked = _key_candidates(guessed, cells, named_keys)
    return guessed


def _take_name_beside_first_name(guessed: GuessedColumns) -> None:
    """A column “Name” beside one of first names holds last names."""
    if "first_name" in guessed.mapping.values() and "last_name" not in guessed.mapping.values():
        for position, column in guessed.mapping.items():
            if column == "name":
                guessed.mapping[position] = "last_name"


def _key_candidates(guessed: GuessedColumns, cells: list[list[str]], named: list[int]) -> list[int]:
    """Return the positions that could all be the key; none if it is clear which one is."""
    if named:
        return named if len({*named}) > 1 else []
    if "key" in guessed.mapping.values():
        return []
    alike = [
        position
        for position, column in enumerate(cells)
        if position not in guessed.mapping
        and position not in guessed.hashes
        and (filled := [*filter(None, column)])
        and _are_keys(filled)
    ]
    return alike if len(alike) > 1 else []


def header_signature(kind: ListKind, header: Sequence[str]) -> str:
    """Return a digest that files with the same header share; a mapping is remembered under it."""
    # No header can contain a zero byte, so different headers never look alike.
    shape = "\0".join([kind, *(_normalised_name(name) for name in header)])
    return sha256(shape.encode()).hexdigest()


def missing_columns(
    kind: ListKind, mapping: Mapping[int, str], fixed_values: Iterable[str] = ()
) -> list[str]:
    """Return the names of required columns that are neither mapped nor have a fixed value."""
    available = {*mapping.values(), *fixed_values}
    return [
        column.name
        for column in columns_of(kind)
        if column.required and column.name not in available
    ]


def parse_fixed_values(kind: ListKind, cells: Mapping[str, str]) -> dict[str, str]:
    """Return the values that every row gets, by column; blank cells are left out.

    Raises InvalidCell with the column's name, also for columns that differ from row to row.
    """
    allowed = {column.name: column for column in columns_of(kind) if may_be_fixed(column)}
    values = {}
    for name, cell in cells.items():
        if name not in allowed:
            raise InvalidCell(f"“{name[:100]}” is not one of {', '.join(allowed)}.")
        try:
            values[name] = parse_fixed_value(allowed[name], cell)
        except InvalidCell as error:
            raise InvalidCell(f"{name}: {error}") from None
    return {name: value for name, value in values.items() if value}


def parse_fixed_value(column: ListColumn, cell: str) -> str:
    """Return the value that every row gets, under the rules for cells. Raises InvalidCell."""
    if error := cell_error(column.name, cell):
        raise InvalidCell(error.message)
    return column.parse(cell)


def without_fixed_columns(
    mapping: Mapping[HeaderPosition, str], fixed_values: Container[str]
) -> dict[HeaderPosition, str]:
    """Return the mapping without columns that have a fixed value, which wins over the file."""
    return {position: name for position, name in mapping.items() if name not in fixed_values}


def may_be_fixed(column: ListColumn) -> bool:
    # The same key or name in every row would never be meant.
    return not (column.secret or column.identifying)


def _normalised_name(name: str) -> str:
    """Return the name without case and without anything but letters and digits."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _forms_of_name(name: str) -> Iterator[str]:
    """Yield the normalised forms of a header, the most exact first.

    “Start (UTC)” is a start, too. In JSON, `client.id` is the id of an object and no client id, and
    of `data.apiKeys.expiresOn` the last name says what it is.
    """
    whole = re.sub(r"\s*\([^()]*\)$", "", name.strip()) or name
    parts = [_normalised_name(each) for each in whole.split(".")]
    yield ".".join(parts)
    for start in range(len(parts)):
        yield "".join(parts[start:])


def _by_name(kind: ListKind, header: Sequence[str]) -> Iterator[tuple[int, str]]:
    known = {
        _normalised_name(name): column.name
        for column in columns_of(kind)
        for name in (column.title, column.name)
    }
    for position, name in enumerate(header):
        if _normalised_name(name) in known:
            yield position, known[_normalised_name(name)]


def _by_alias(
    kind: ListKind, header: Sequence[str], sample: Sequence[RowCells]
) -> Iterator[tuple[int, str]]:
    known = {
        next(_forms_of_name(alias)): column
        for column in columns_of(kind)
        for alias in column.aliases
    }
    # Own names as the last of several, such as `apiKeys.key`. A `name` may be that of anything.
    known |= {_normalised_name(each.name): each for each in columns_of(kind) if each.name != "name"}
    for position, name in enumerate(header):
        forms = _forms_of_name(name)
        column = next((known[form] for form in forms if form in known), None)
        if column is None and DURATION_COLUMN in known:
            # “Lifetime (days)” and `ttl_ms` are a duration in a unit of their own.
            unitless = [*_forms_of_name(without_unit(name))]
            unitless += [form.removesuffix("in") for form in unitless]
            is_duration = any(known.get(form) == known[DURATION_COLUMN] for form in unitless)
            column = known[DURATION_COLUMN] if is_duration else None
        if column and _cells_fit(column, [row[position] for row in sample]):
            yield position, column.name


def _cells_fit(column: ListColumn, cells: Sequence[str]) -> bool:
    """Return True if at least half of the cells are valid in this column."""
    return 2 * sum(_is_valid_cell(column, cell) for cell in cells) >= len(cells)


def _is_valid_cell(column: ListColumn, cell: str) -> bool:
    if column.parse is parse_state_cell and LOOKS_LIKE_STATE.fullmatch(cell.strip()):
        return True
    return any(_can_parse(rules.parser_of(column), cell) for rules in LENIENT_RULES)


def _can_parse(parse: CellParser, cell: str) -> bool:
    try:
        parse(cell)
    except InvalidCell:
        return False
    return True


def _by_content(
    kind: ListKind, header: Sequence[str], sample: Sequence[RowCells]
) -> Iterator[tuple[int, str]]:
    """Yield columns recognised by their cells, where only one column of the file looks like it."""
    columns = [
        [row[position] for row in sample if row[position]] for position in range(len(header))
    ]
    for name, looks_like in GUESSES_BY_CONTENT.get(kind, {}).items():
        alike = [
            position
            for position, cells in enumerate(columns)
            if cells and looks_like(cells) and not SOMEBODY_ELSE.search(header[position])
        ]
        if len(alike) == 1:
            yield alike[0], name


def _are_addresses(cells: Sequence[str]) -> bool:
    return all(LOOKS_LIKE_ADDRESS.fullmatch(cell) for cell in cells)


def _are_keys(cells: Sequence[str]) -> bool:
    # Keys differ from row to row; a value that comes twice is something else.
    differ = len({*cells}) == len(cells)
    return differ and all(
        LOOKS_LIKE_KEY.fullmatch(cell) and not LOOKS_LIKE_MOMENT_OR_ADDRESS.match(cell)
        for cell in cells
    )


GUESSES_BY_CONTENT: Mapping[ListKind, Mapping[str, Callable[[Sequence[str]], bool]]] = {
    ListKind.CREDENTIALS: {"holders": _are_addresses, "key": _are_keys},
    ListKind.SUBSCRIBERS: {"email": _are_addresses},
}
