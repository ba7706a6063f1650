"""Expressions that some texts hold up for ever are found before they are saved."""

import pytest

from metering.api.line_formats.built_in import BUILT_IN_FORMATS
from metering.api.line_formats.expression_trial import find_slow_expression

SLOW = (
    r"(?P<a>\d+)\d+\d+ done",  # neighbours that overlap
    r"^(?P<a>(?:x|x)*)y",  # alternatives that overlap
    r"^(?P<a>(?:ab|a|b)*)\.",
    r"^(?P<method>\S+) .* .* .* \[(?P<at>[^\]]+)\]$",
    r"(\w+)$",  # a search that begins anew at each character
)
SOUND = (
    r"^Bearer (\S+)$",
    r'^(?P<client>\S+) "(?P<request>[^"]*)" (?P<status>\d{3})',
    r"^(?P<a>(?:x|y)*+)z",
    r"id=([0-9a-f-]{36})",
)


@pytest.mark.parametrize("expression", SLOW)
def test_an_expression_that_some_text_holds_up_is_found(expression):
    tried = [("first", SOUND[0], "search"), ("second", expression, "search")]

    assert find_slow_expression(tried) == "second"


def test_sound_expressions_and_those_of_all_built_in_formats_are_quick():
    expressions = [("sound", each, "search") for each in SOUND]
    for each in BUILT_IN_FORMATS:
        expressions += each.definition.expressions()

    assert find_slow_expression(expressions) is None
