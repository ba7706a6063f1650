import sys

import pytest

from revcred.launcher.terminal import as_bold, program_label


def test_a_file_gets_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_bold("ready") == "ready"
    assert program_label("web", 0) == "web          │"


def test_a_terminal_gets_colours_unless_no_color_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)

    assert as_bold("ready") == "\033[1mready\033[0m"
    assert program_label("web", 0) != program_label("web", 1)

    monkeypatch.setenv("NO_COLOR", "1")
    assert as_bold("ready") == "ready"
