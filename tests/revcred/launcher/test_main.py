"""`make run`, from its first line to Ctrl-C, in a checkout of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from revcred.launcher.paths import LauncherPaths
from revcred.launcher.stack import free_port
from tests.revcred.launcher.trials import PROJECT, eventually
from tests.stores import copy_migrated_data

Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def checkout(directory: Path) -> Iterator[Path]:
    shutil.copy(PROJECT / "manage.py", directory)
    for name in ("revcred", "metering", "storefront", "templates"):
        shutil.copytree(PROJECT / name, directory / name)
    yield directory
    shutil.rmtree(LauncherPaths(directory).data, ignore_errors=True)


@pytest.fixture
def launch(checkout: Path) -> Iterator[Launch]:
    begun = []

    def begin(**environment: str) -> "subprocess.Popen[str]":
        begun.append(
            subprocess.Popen(
                [sys.executable, "-m", "revcred.launcher"],
                cwd=checkout,
                # Compiled modules of a checkout that is deleted are of no use to anybody.
                env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | environment,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return begun[-1]

    yield begin
    for launcher in begun:
        launcher.terminate()
        launcher.wait()


def lines_until(launcher: "subprocess.Popen[str]", words: str) -> str:
    lines = ""
    for line in launcher.stdout:
        lines += line
        if words in line:
            return lines
    raise AssertionError(lines)


def processes_in(directory: Path) -> list[psutil.Process]:
    """Return the processes that work in a directory."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(directory):
                found.append(process)
    return found


@pytest.mark.parametrize("port", ["many", "0", "65536"])
def test_a_port_that_is_none_is_refused_in_words(launch: Launch, port: str) -> None:
    launcher = launch(PORT=port)

    said, _ = launcher.communicate()

    assert said == f"PORT has to be a number up to 65535, not {port!r}.\n"
    assert launcher.returncode == 1


@pytest.mark.long
def test_it_says_where_to_click_serves_and_takes_everything_along(
    launch: Launch, checkout: Path
) -> None:
    paths = LauncherPaths(checkout)
    paths.prepare()
    copy_migrated_data(paths.data)
    (paths.run / "environment").touch()
    port = free_port()
    launcher = launch(PORT=str(port), ENVIRONMENT="")

    said = lines_until(launcher, "Ctrl-C")

    url = f"http://127.0.0.1:{port}"
    assert len(processes_in(checkout)) > 5
    assert re.search(r"revcred is ready after \d+\.\d s", said)
    assert f"{url}/admin/" in said
    assert "Bearer hak_" in said
    with urllib.request.urlopen(f"{url}/readyz", timeout=20) as answer:
        assert answer.status == 200

    launcher.send_signal(signal.SIGINT)
    ended, _ = launcher.communicate(timeout=60)
    assert ended.endswith("Stopped.\n")
    assert launcher.returncode == 0
    assert eventually(lambda: not processes_in(checkout))
