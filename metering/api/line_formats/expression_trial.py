"""Regular expressions tried on texts that are bad for them, in a process that can be ended.

Python's expressions go back and forth through a text, and nothing stops them: one with neighbours
or alternatives that overlap may hold up a whole server. This file is also the program that tries
them. As such it has nothing of the project, and reads expressions as JSON from its input.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from re import _constants as kinds
from re import _parser as parser
from re import compile as compile_expression
from typing import Any

TEXT_CHARACTERS = 64_000  # as long as a line may be
MAX_SECONDS_PER_TEXT = 0.1  # of CPU: a body has fifteen such texts
MAX_CPU_SECONDS, MAX_SECONDS = 3, 30  # of the whole trial
MAX_BEGINNINGS, MAX_UNITS = 12, 16
NEVER_MATCHED = "\0\1\uffff"
SAMPLES_OF_CATEGORIES = {
    kinds.CATEGORY_DIGIT: "0",
    kinds.CATEGORY_NOT_DIGIT: "a",
    kinds.CATEGORY_SPACE: " ",
    kinds.CATEGORY_NOT_SPACE: "a",
    kinds.CATEGORY_WORD: "a",
    kinds.CATEGORY_NOT_WORD: " ",
}
REPEATS = (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT)

# A name, the expression, which compiles, and how it is used: "match" or "search".
Expression = tuple[str, str, str]


def find_slow_expression(expressions: Iterable[Expression]) -> str | None:
    """Return the name of the first expression that takes too long, or None."""
    tried = subprocess.Popen(  # noqa: S603 - this file itself
        [sys.executable, "-I", "-S", str(Path(__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        output, _ = tried.communicate(json.dumps(list(expressions)), timeout=MAX_SECONDS)
    except subprocess.TimeoutExpired:
        tried.kill()
        output, _ = tried.communicate()
    if tried.returncode == 0:
        return None
    # The last one it began with.
    return output.splitlines()[-1] if output else ""


def _try_all(expressions: Iterable[Expression]) -> int:
    """Print the name of each expression and try it. Return 1 after a slow one."""
    for name, text, how in expressions:
        print(name, flush=True)  # noqa: T201 - the parent process reads it
        find = getattr(compile_expression(text), how)
        for bad in bad_texts(text):
            began = time.process_time()
            find(bad)
            if time.process_time() - began > MAX_SECONDS_PER_TEXT:
                return 1
    return 0


def bad_texts(expression: str) -> Iterator[str]:
    """Yield texts that begin as the expression wants, go on with one thing, and never fit."""
    parsed = parser.parse(expression)
    beginnings = [""]
    units: dict[str, None] = {}
    for item in parsed:
        beginnings.append(beginnings[-1] + _sample_of([item], units))
    step = -(-len(beginnings) // MAX_BEGINNINGS)
    for beginning in beginnings[::step]:
        for unit in list(units)[:MAX_UNITS]:
            times = (TEXT_CHARACTERS - len(beginning)) // len(unit)
            yield beginning + unit * times + NEVER_MATCHED


def _sample_of(items: Iterable[Any], units: dict[str, None]) -> str:
    """Return a text that fits the items, and note in `units` what may be repeated in one."""
    return "".join(_sample_of_item(kind, value, units) for kind, value in items)


def _sample_of_item(  # noqa: PLR0911 - one for each kind
    kind: Any, value: Any, units: dict[str, None]
) -> str:
    if kind in REPEATS:
        least: int = value[0]
        inner = value[2]
        if once := _sample_of(inner, units):
            units[once] = None
        return once * min(max(least, 1), 10)
    if kind is kinds.BRANCH:
        samples = [_sample_of(each, units) for each in value[1]]
        return samples[0]
    if kind is kinds.SUBPATTERN:
        return _sample_of(value[-1], units)
    if kind is kinds.ATOMIC_GROUP:
        return _sample_of(value, units)
    if kind is kinds.LITERAL:
        units[chr(value)] = None  # one that a neighbour such as `.*` takes, too
        return chr(value)
    if kind is kinds.IN:
        return _member_of(value)
    if kind is kinds.NOT_LITERAL:
        return "b" if value == ord("a") else "a"
    return "a" if kind is kinds.ANY else ""


def _member_of(members: Iterable[Any]) -> str:
    """Return a character of a set."""
    excluded = False
    found = ""
    taken: set[str] = set()
    for kind, value in members:
        if kind is kinds.NEGATE:
            excluded = True
        elif kind is kinds.LITERAL:
            taken.add(chr(value))
            found = found or chr(value)
        elif kind is kinds.RANGE:
            taken.update(map(chr, range(value[0], min(value[1], value[0] + 200) + 1)))
            found = found or chr(value[0])
        elif kind is kinds.CATEGORY:
            taken.add(SAMPLES_OF_CATEGORIES[value])
            found = found or SAMPLES_OF_CATEGORIES[value]
    if not excluded:
        return found
    return next((each for each in "a0 -/é" if each not in taken), "\u4e00")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    sys.exit(_try_all(json.load(sys.stdin)))
