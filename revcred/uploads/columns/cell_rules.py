"""Choices by which the cells of a list are read: see the modules of moments and states."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from zoneinfo import ZoneInfo

from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS
from revcred.uploads.columns.cells import several_parser, text_parser
from revcred.uploads.columns.list_column import CellParser, ListColumn
from revcred.uploads.moment_cells import DayOrder, parse_duration, parse_moment, unit_in_header
from revcred.uploads.state_cells import CredentialState, parse_state, parse_state_words

PLAN_SEPARATORS = {"none": "", "comma": ",", "semicolon": ";", "slash": "/"}


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

    def plan_parser(self) -> CellParser:
        # A plan's name may have a comma: only a person knows.
        return several_parser(text_parser(MAX_EXTERNAL_KEY_CHARACTERS), also=self.plan_separator)

    def parser_of(self, column: ListColumn, header: str = "") -> CellParser:
        """Return the parser of the column's cells under these rules.

        `header`: the name of the file's column, which may say the unit of its numbers.
        """
        if column.parse is parse_duration and (unit := unit_in_header(header)):
            return partial(parse_duration, unit=unit)
        if column.parse is parse_moment_cell:
            return self.parse_moment
        if column.parse is parse_plan_cell:
            return self.plan_parser()
        return self.parse_state if column.parse is parse_state_cell else column.parse


def parse_moment_cell(cell: str) -> str:
    """Return the moment as ISO 8601 in UTC, by the rules for lists without any choice."""
    return CellRules().parse_moment(cell)


def parse_state_cell(cell: str) -> str:
    """Return the state, by the words that are known without any choice."""
    return CellRules().parse_state(cell)


def parse_plan_cell(cell: str) -> str:
    """Return the plans of the cell, by the rules for lists without any choice."""
    return CellRules().plan_parser()(cell)
