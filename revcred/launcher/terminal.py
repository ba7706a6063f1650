"""What the person at the terminal sees."""

import os
import sys

COLOURS = (36, 33, 35, 32, 34, 31)


def say(text: str = "") -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def bold(text: str) -> str:
    return _painted(text, 1)


def tag(name: str, position: int) -> str:
    return _painted(f"{name:<12} │", COLOURS[position % len(COLOURS)])


def _painted(text: str, code: int) -> str:
    colourful = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return f"\033[{code}m{text}\033[0m" if colourful else text
