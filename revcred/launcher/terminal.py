"""Output to the terminal."""

import os
import sys

LABEL_COLOURS = (36, 33, 35, 32, 34, 31)


def print_line(text: str = "") -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def as_bold(text: str) -> str:
    return _with_colour(text, 1)


def program_label(name: str, position: int) -> str:
    return _with_colour(f"{name:<12} │", LABEL_COLOURS[position % len(LABEL_COLOURS)])


def _with_colour(text: str, code: int) -> str:
    # See https://no-color.org
    colourful = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return f"\033[{code}m{text}\033[0m" if colourful else text
