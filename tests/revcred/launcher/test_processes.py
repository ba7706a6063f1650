import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from revcred.launcher import processes
from revcred.launcher.errors import LaunchError
from revcred.launcher.orphans import RunningProcess, end_orphans, write_running
from revcred.launcher.process_table import is_same_process, process_start
from revcred.launcher.processes import Program, Supervisor
from tests.revcred.launcher.trials import eventually, run_python

SLEEPS = "import time; time.sleep(600)"
HOLDS_A_CHILD = """
import sys
from pathlib import Path
from revcred.launcher.processes import Program, Supervisor
supervisor = Supervisor(Path(sys.argv[1]))
script = "import time; print('here', flush=True); time.sleep(600)"
supervisor.start(Program("parent", [sys.executable, "-c", script], {}))
while True:
    supervisor.attend(0.05)
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path / "processes.json")
    yield made
    made.stop()


def python(script: str, **others: object) -> Program:
    return Program("child", [sys.executable, "-c", script], {}, **others)  # type: ignore[arg-type]


def attend_until(supervisor: Supervisor, true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        supervisor.attend(0.02)


def test_every_line_has_the_name_of_who_printed_it(
    supervisor: Supervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    child = supervisor.start(python("print('one'); print('two')", once=True))
    attend_until(supervisor, child.ended)
    supervisor.attend(0.1)
    assert capsys.readouterr().out.splitlines() == ["child        │ one", "child        │ two"]


def test_a_child_outlives_the_thread_that_started_it(supervisor: Supervisor) -> None:
    children: list[processes.ChildProcess] = []
    thread = Thread(target=lambda: children.append(supervisor.start(python(SLEEPS))))
    thread.start()
    thread.join()

    with pytest.raises(subprocess.TimeoutExpired):
        children[0].process.wait(0.3)


def test_a_child_that_falls_is_started_again_after_growing_pauses(supervisor: Supervisor) -> None:
    child = supervisor.start(python("raise SystemExit(3)"))
    began = time.monotonic()
    for _ in range(2):
        attend_until(supervisor, lambda: child.restart_at)
        attend_until(supervisor, lambda: not child.restart_at)
    assert time.monotonic() - began >= 0.5 + 1.0
    assert child.pause >= 2.0


def test_a_child_that_ran_well_is_started_again_at_once(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STABLE_SECONDS", 0)
    child = supervisor.start(python("raise SystemExit(3)"))
    child.pause = 10.0
    attend_until(supervisor, lambda: child.restart_at)
    assert child.pause == 1.0


def test_a_child_deaf_to_its_stop_signal_is_killed(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PROGRAM_STOP_SECONDS", 0.3)
    child = supervisor.start(
        python(f"import signal; signal.signal(15, 1); print(flush=True); {SLEEPS}")
    )
    assert eventually(lambda: supervisor.selector.select(0))
    supervisor.stop()
    assert child.process.returncode == -signal.SIGKILL


def test_a_step_that_fails_shows_what_it_said(supervisor: Supervisor, tmp_path: Path) -> None:
    step = python("print('no such table'); raise SystemExit(2)")
    with pytest.raises(LaunchError, match=r"no such table\n\nchild ended with 2"):
        supervisor.run_to_end(step, log=tmp_path / "log")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="only Linux tells children")
def test_children_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    holder = run_python(HOLDS_A_CHILD, tmp_path / "processes.json")
    assert holder.stdout
    holder.stdout.readline()
    (entry,) = json.loads((tmp_path / "processes.json").read_text())
    holder.kill()
    holder.communicate(timeout=20)
    assert eventually(lambda: not is_same_process(entry["pid"], entry["started"]))


def test_a_group_that_was_left_is_ended_next_time(tmp_path: Path) -> None:
    path = tmp_path / "processes.json"
    script = "import os, time; pid = os.fork(); pid and print(pid, flush=True); time.sleep(600)"
    left = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert left.stdout
    grandchild = int(left.stdout.readline())
    left.stdout.close()
    write_running(path, [RunningProcess("left", left.pid, process_start(left.pid), signal.SIGTERM)])
    assert end_orphans(path) == ["left"]
    assert left.wait(5) == -signal.SIGTERM
    assert eventually(lambda: not process_start(grandchild))
    assert not path.exists()


def test_a_pid_that_is_somebody_elses_by_now_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "processes.json"
    other = subprocess.Popen([sys.executable, "-c", SLEEPS], start_new_session=True)
    try:
        write_running(path, [RunningProcess("old", other.pid, 1.0, signal.SIGTERM)])
        assert end_orphans(path) == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_process_is_known_by_its_start() -> None:
    assert process_start(os.getpid()) == process_start(os.getpid())
    assert process_start(os.getpid()) != process_start(os.getppid())
    assert process_start(4_000_000) is None
