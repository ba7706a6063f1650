import os
import signal
from collections.abc import Callable
from pathlib import Path

import kombu
import psycopg
import pytest

from revcred.launcher import running_stores
from revcred.launcher.accounts import database_account
from revcred.launcher.errors import LaunchError
from revcred.launcher.paths import socket_directory
from revcred.launcher.postgresql import find_installation
from revcred.launcher.process_table import (
    is_same_process,
    postgres_pids_on,
    process_start,
)
from tests.revcred.launcher.trials import eventually, run_python

HOLDS_STORES = """
import sys, time
from pathlib import Path
from revcred.launcher import running_stores
with running_stores(Path(sys.argv[1]), durable=False) as addresses:
    print(addresses["DATABASE_URL"], flush=True)
    time.sleep(600)
"""


def ask(url: str, question: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        answer = connection.execute(question.encode())
        return answer.fetchone() if answer.description else None


def data_of(directory: Path) -> Path:
    return directory / f"postgresql-{find_installation(directory).major}"


def test_both_stores_answer(directory: Path) -> None:
    with running_stores(directory, durable=True) as addresses:
        assert ask(addresses["DATABASE_URL"], "SHOW fsync") == ("on",)
        assert ask(addresses["DATABASE_URL"], "SHOW server_encoding") == ("UTF8",)
        with kombu.Connection(addresses["REDIS_URL"]) as connection:
            queue = connection.SimpleQueue("bell")
            queue.put("ring")
            assert queue.get(timeout=5).payload == "ring"


def test_what_was_written_is_there_the_next_time(directory: Path) -> None:
    with running_stores(directory, durable=False) as addresses:
        ask(addresses["MIGRATION_DATABASE_URL"], "CREATE TABLE kept AS SELECT 7 AS number")
    with running_stores(directory, durable=False) as addresses:
        assert ask(addresses["MIGRATION_DATABASE_URL"], "SELECT number FROM kept") == (7,)


def test_nothing_is_left_of_them(directory: Path) -> None:
    with running_stores(directory, durable=False) as addresses:
        sockets = [Path(url.split("/tmp/")[1].split("/")[0]) for url in addresses.values()]
    assert not postgres_pids_on(data_of(directory))
    assert not [name for name in sockets if (Path("/tmp") / name).exists()]
    assert not (directory / "processes.json").exists()


def test_a_store_named_in_the_environment_is_not_started(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://elsewhere/revcred")
    with running_stores(directory, durable=False) as addresses:
        assert list(addresses) == ["REDIS_URL"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="only Linux tells children")
def test_they_end_when_their_supervisor_is_killed(directory: Path) -> None:
    supervisor = run_python(HOLDS_STORES, directory)
    assert supervisor.stdout
    assert supervisor.stdout.readline()
    data = data_of(directory)
    assert postgres_pids_on(data)
    supervisor.kill()
    supervisor.communicate()
    assert eventually(lambda: not postgres_pids_on(data))
    with running_stores(directory, durable=False) as addresses:
        assert ask(addresses["DATABASE_URL"], "SELECT 1") == (1,)


def test_a_postmaster_that_outlived_its_supervisor_gives_way(directory: Path) -> None:
    supervisor = run_python(HOLDS_STORES, directory)
    assert supervisor.stdout
    assert supervisor.stdout.readline()
    pid = int((data_of(directory) / "postmaster.pid").read_text().splitlines()[0])
    # Frozen, it cannot obey the first stop signal: what is left after a kill -9 at a bad moment.
    os.kill(pid, signal.SIGSTOP)
    moment = process_start(pid)
    supervisor.kill()
    supervisor.communicate()
    assert is_same_process(pid, moment)
    os.kill(pid, signal.SIGCONT)
    with running_stores(directory, durable=False) as addresses:
        assert ask(addresses["DATABASE_URL"], "SELECT 1") == (1,)
        assert not is_same_process(pid, moment)


@pytest.mark.parametrize("whose", [os.getpid, lambda: 1, lambda: 4_000_000])
def test_a_stale_pid_file_is_no_obstacle(directory: Path, whose: Callable[[], int]) -> None:
    with running_stores(directory, durable=False):
        data = data_of(directory)
        text = (data / "postmaster.pid").read_text()
    (data / "postmaster.pid").write_text("\n".join([str(whose()), *text.splitlines()[1:]]))
    with running_stores(directory, durable=False) as addresses:
        assert ask(addresses["DATABASE_URL"], "SELECT 1") == (1,)


def test_a_socket_directory_made_by_somebody_else_is_refused(directory: Path) -> None:
    ours = socket_directory(directory / "data", database_account())
    ours.rmdir()
    ours.symlink_to(directory)
    try:
        with pytest.raises(LaunchError, match="not ours"):
            socket_directory(directory / "data", database_account())
    finally:
        ours.unlink()
