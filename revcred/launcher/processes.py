"""Supervision: start programs, show what they print, restart what ends, stop everything."""

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from revcred.launcher.accounts import SystemAccount, current_account
from revcred.launcher.errors import LaunchError, StopRequestedError
from revcred.launcher.orphans import RunningProcess, kill_group, write_running
from revcred.launcher.process_table import process_start
from revcred.launcher.terminal import print_line, program_label

FIRST_RESTART_PAUSE = 0.5  # seconds; doubles with each restart
MAX_RESTART_PAUSE = 10.0  # seconds
STABLE_SECONDS = 60.0  # a program that ran this long restarts after the first pause again
PROGRAM_STOP_SECONDS = 10.0  # until the next stop signal, in the end SIGKILL
OUTPUT_POLL_SECONDS = 0.02
READ_BYTES = 1 << 16

PR_SET_PDEATHSIG = 1
# Linux takes the end of the thread that started a program for the end of its parent: what another
# thread than the main one wants to start is started by this one, which stays.
LASTING_THREAD = ThreadPoolExecutor(1, "spawner")
# Loaded before any fork: between fork and exec nothing should be looked up or allocated.
C_LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Program:
    """A command with all that is needed to run it, and how it is asked to stop."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path = Path("/")
    account: SystemAccount = field(default_factory=current_account)
    log: Path | None = None  # None: onto the terminal
    stop_signals: tuple[signal.Signals, ...] = (signal.SIGTERM,)  # sent one after the other
    prepare: Callable[[], None] | None = None  # called before every start
    once: bool = False  # not restarted when it ends
    store: bool = False  # stopped after all programs that use it


class ChildProcess:
    """A supervised program: its process now, and when it is started again."""

    def __init__(self, program: Program, label: str) -> None:
        self.program = program
        self.label = label
        self.pause = FIRST_RESTART_PAUSE
        self.restart_at: float | None = None  # monotonic seconds
        self.start()

    def start(self) -> None:
        # Before each start, because a crash may have left something behind.
        if self.program.prepare:
            self.program.prepare()
        self.began = time.monotonic()
        self.restart_at = None
        # In a session and group of its own, so that the whole group can be killed.
        self.process = spawn_process(self.program)
        self.running = RunningProcess(
            self.program.name,
            self.process.pid,
            process_start(self.process.pid),
            self.program.stop_signals[0],
        )

    def ended(self) -> bool:
        return self.process.poll() is not None

    def schedule_restart(self) -> None:
        """Plan the next start, after a pause that grows."""
        # A process that is left of the group might still hold the port.
        kill_group(self.process.pid)
        if time.monotonic() - self.began >= STABLE_SECONDS:
            self.pause = FIRST_RESTART_PAUSE
        self.restart_at = time.monotonic() + self.pause
        print_line(f"{self.label} {self.outcome()}; again in {self.pause:g} s")
        self.pause = min(self.pause * 2, MAX_RESTART_PAUSE)

    def outcome(self) -> str:
        """Return how the process ended, as words for a sentence."""
        code = self.process.returncode
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


class Supervisor:
    """Runs programs side by side, and stops them in order: the stores last."""

    def __init__(self, record_path: Path) -> None:
        self.record_path = record_path
        self.children: list[ChildProcess] = []
        self.selector = selectors.DefaultSelector()
        self.stop_requests = 0

    def obey_signals(self) -> None:
        """Take SIGINT, SIGTERM and SIGHUP as a request to stop all programs in order."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._count_request)

    def start(self, program: Program) -> ChildProcess:
        """Start a program and watch it from now on."""
        child = ChildProcess(program, program_label(program.name, len(self.children)))
        self.children.append(child)
        self._watch(child)
        return child

    def run_to_end(self, program: Program, *, log: Path) -> None:
        """Run a program to its end. Raises LaunchError with its output, kept in `log`."""
        log.unlink(missing_ok=True)
        child = self.start(replace(program, log=log, once=True))
        while not child.ended():
            self.attend(OUTPUT_POLL_SECONDS)
        self.children.remove(child)
        if child.process.returncode:
            message = f"{log.read_text()}\n{program.name} {child.outcome()}."
            raise LaunchError(message)

    def wait_until(
        self, ready: Callable[[], bool], child: ChildProcess, *, max_seconds: float = 60
    ) -> None:
        """Wait for `ready()`. Raises LaunchError if the child ends or after `max_seconds`."""
        deadline = time.monotonic() + max_seconds
        while not ready():
            if child.ended() or time.monotonic() > deadline:
                raise LaunchError(self._no_start(child))
            self.attend(OUTPUT_POLL_SECONDS)

    def attend(self, seconds: float) -> None:
        """Spend `seconds` on one turn: show what was printed, restart what ended.

        Raises StopRequestedError after a signal.
        """
        if self.stop_requests:
            raise StopRequestedError
        self._relay(seconds)
        for child in self.children:
            self._look_after(child)

    def stop(self) -> None:
        """Stop the programs that use the stores, all at once; then the stores."""
        self.stop_requests = 0
        stores = [child for child in self.children if child.program.store]
        others = [child for child in self.children if not child.program.store]
        # Stores last: workers write their state while they stop.
        for together in (others, *([store] for store in reversed(stores))):
            self._stop_together(together)
        self.children.clear()
        # A copy, because unregistering changes the map.
        for key in list(self.selector.get_map().values()):
            self._unwatch(key.data)
        self.record_path.unlink(missing_ok=True)

    def _stop_together(self, children: list[ChildProcess]) -> None:
        turns = max((len(child.program.stop_signals) for child in children), default=0)
        for turn in range(turns):
            for child in children:
                _send_stop_signal(child, turn)
            self._await_ends(children)
        for child in children:
            kill_group(child.process.pid)
            child.process.wait()
        self._relay(0)

    # Output is still shown while programs stop: their last lines say what went wrong.
    def _await_ends(self, children: list[ChildProcess]) -> None:
        deadline = time.monotonic() + PROGRAM_STOP_SECONDS
        while not all(child.ended() for child in children):
            # A second Ctrl-C means: now.
            if self.stop_requests or time.monotonic() > deadline:
                return
            self._relay(OUTPUT_POLL_SECONDS)

    def _look_after(self, child: ChildProcess) -> None:
        if child.program.once or not child.ended():
            return
        if child.restart_at is None:
            child.schedule_restart()
        elif time.monotonic() >= child.restart_at:
            child.start()
            self._watch(child)

    def _watch(self, child: ChildProcess) -> None:
        write_running(self.record_path, [each.running for each in self.children])
        if source := child.process.stdout:
            self.selector.register(source, selectors.EVENT_READ, OutputLines(child.label, source))

    def _relay(self, seconds: float) -> None:
        # Without anything to watch, select() would not wait on some systems.
        if not self.selector.get_map():
            time.sleep(seconds)
            return
        for key, _ in self.selector.select(seconds):
            if not key.data.show_more():
                self._unwatch(key.data)

    def _unwatch(self, lines: "OutputLines") -> None:
        self.selector.unregister(lines.source)
        lines.source.close()

    def _no_start(self, child: ChildProcess) -> str:
        log = child.program.log
        log_end = log.read_text(errors="replace")[-2000:] if log and log.exists() else ""
        outcome = child.outcome() if child.ended() else "did not get ready in time"
        return f"{log_end}\n{child.program.name} {outcome}."

    def _count_request(self, *_: object) -> None:
        self.stop_requests += 1


class OutputLines:
    """Prints the output of one program in whole lines, each with the program's label."""

    def __init__(self, label: str, source: IO[bytes]) -> None:
        self.label = label
        self.source = source
        self.rest = b""

    def show_more(self) -> bool:
        """Print the lines that have come; return False at the end of the output."""
        data = os.read(self.source.fileno(), READ_BYTES)
        # The last part has no end yet: it waits for the rest of its line.
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in filter(bytes.strip, lines):
            print_line(f"{self.label} {line.decode(errors='replace')}")
        return bool(data)


def spawn_process(program: Program) -> "subprocess.Popen[bytes]":
    """Start the program as a new session.

    Ctrl-C then reaches the supervisor alone, which stops its programs in order.
    """
    if threading.current_thread() is not threading.main_thread():
        return LASTING_THREAD.submit(_spawn_from_here, program).result()
    return _spawn_from_here(program)


def _spawn_from_here(program: Program) -> "subprocess.Popen[bytes]":
    # Appended: a restarted program keeps the log that tells why it ended.
    output: int | IO[bytes] = program.log.open("ab") if program.log else subprocess.PIPE
    try:
        return subprocess.Popen(
            program.command,
            bufsize=0,
            cwd=program.directory,
            env=program.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent(program.stop_signals[0]),  # noqa: PLW1509 - see C_LIBRARY above
            **program.account.popen_arguments,
        )
    finally:
        if not isinstance(output, int):
            output.close()


def _end_with_parent(stop_signal: int) -> Callable[[], None] | None:
    """Return a function for the child that has Linux send `stop_signal` when its parent is gone.

    A change of user clears that request; subprocess calls this function after it.
    """
    parent = os.getpid()

    def ask() -> None:
        if C_LIBRARY is not None:
            C_LIBRARY.prctl(PR_SET_PDEATHSIG, stop_signal)
        # The parent has died before the request was made.
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _send_stop_signal(child: ChildProcess, turn: int) -> None:
    stop_signals = child.program.stop_signals
    if turn < len(stop_signals) and not child.ended():
        child.process.send_signal(stop_signals[turn])
