"""Starts programs, shows what they print, starts again what falls, stops everything."""

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from revcred.launcher.accounts import Account, myself
from revcred.launcher.census import started
from revcred.launcher.errors import LaunchError, StopRequestedError
from revcred.launcher.leftovers import Running, kill_group, record
from revcred.launcher.terminal import say, tag

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
RAN_WELL = 60.0
PATIENCE = 10.0
GLANCE = 0.02
HANDFUL = 1 << 16

PR_SET_PDEATHSIG = 1
# Loaded before any fork: between fork and exec nothing should be looked up or allocated.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Program:
    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    directory: Path = Path("/")
    account: Account = field(default_factory=myself)
    log: Path | None = None  # None: onto the terminal
    farewells: tuple[signal.Signals, ...] = (signal.SIGTERM,)
    prepare: Callable[[], None] | None = None
    once: bool = False
    store: bool = False


class Child:
    def __init__(self, program: Program, label: str) -> None:
        self.program = program
        self.label = label
        self.pause = FIRST_PAUSE
        self.due: float | None = None
        self.start()

    def start(self) -> None:
        if self.program.prepare:
            self.program.prepare()
        self.began = time.monotonic()
        self.due = None
        self.process = spawn(self.program)
        self.running = Running(
            self.program.name,
            self.process.pid,
            started(self.process.pid),
            self.program.farewells[0],
        )

    def ended(self) -> bool:
        return self.process.poll() is not None

    def fall(self) -> None:
        """Plans the next start. Whatever is left of the group might still hold a port."""
        kill_group(self.process.pid)
        if time.monotonic() - self.began >= RAN_WELL:
            self.pause = FIRST_PAUSE
        self.due = time.monotonic() + self.pause
        say(f"{self.label} {self.outcome()}; again in {self.pause:g} s")
        self.pause = min(self.pause * 2, LONGEST_PAUSE)

    def outcome(self) -> str:
        code = self.process.returncode
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


class Supervisor:
    def __init__(self, record_path: Path) -> None:
        self.record_path = record_path
        self.children: list[Child] = []
        self.selector = selectors.DefaultSelector()
        self.stop_requests = 0

    def obey_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._count_request)

    def start(self, program: Program) -> Child:
        child = Child(program, tag(program.name, len(self.children)))
        self.children.append(child)
        self._watch(child)
        return child

    def run_to_end(self, program: Program, *, log: Path) -> None:
        """For what has to be done before the next thing starts. Its words matter if it fails."""
        log.unlink(missing_ok=True)
        child = self.start(replace(program, log=log, once=True))
        while not child.ended():
            self.attend(GLANCE)
        self.children.remove(child)
        if child.process.returncode:
            message = f"{log.read_text()}\n{program.name} {child.outcome()}."
            raise LaunchError(message)

    def wait_until(self, ready: Callable[[], bool], child: Child, *, patience: float = 60) -> None:
        deadline = time.monotonic() + patience
        while not ready():
            if child.ended() or time.monotonic() > deadline:
                raise LaunchError(self._no_start(child))
            self.attend(GLANCE)

    def attend(self, seconds: float) -> None:
        """One turn: passes on what was printed, starts again what fell."""
        if self.stop_requests:
            raise StopRequestedError
        self._relay(seconds)
        for child in self.children:
            self._look_after(child)

    def stop(self) -> None:
        """Those that use the stores first, all at once; then the stores."""
        self.stop_requests = 0
        stores = [child for child in self.children if child.program.store]
        others = [child for child in self.children if not child.program.store]
        for together in (others, *([store] for store in reversed(stores))):
            self._stop_together(together)
        self.children.clear()
        for key in list(self.selector.get_map().values()):
            self._unwatch(key.data)
        self.record_path.unlink(missing_ok=True)

    def _stop_together(self, children: list[Child]) -> None:
        longest = max((len(child.program.farewells) for child in children), default=0)
        for turn in range(longest):
            for child in children:
                _say_farewell(child, turn)
            self._await_ends(children)
        for child in children:
            kill_group(child.process.pid)
            child.process.wait()
        self._relay(0)

    def _await_ends(self, children: list[Child]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not all(child.ended() for child in children):
            # A second Ctrl-C means: now.
            if self.stop_requests or time.monotonic() > deadline:
                return
            self._relay(GLANCE)

    def _look_after(self, child: Child) -> None:
        if child.program.once or not child.ended():
            return
        if child.due is None:
            child.fall()
        elif time.monotonic() >= child.due:
            child.start()
            self._watch(child)

    def _watch(self, child: Child) -> None:
        record(self.record_path, [each.running for each in self.children])
        if source := child.process.stdout:
            self.selector.register(source, selectors.EVENT_READ, Lines(child.label, source))

    def _relay(self, seconds: float) -> None:
        # Without anything to watch, select() would not wait on some systems.
        if not self.selector.get_map():
            time.sleep(seconds)
            return
        for key, _ in self.selector.select(seconds):
            if not key.data.show_more():
                self._unwatch(key.data)

    def _unwatch(self, lines: "Lines") -> None:
        self.selector.unregister(lines.source)
        lines.source.close()

    def _no_start(self, child: Child) -> str:
        log = child.program.log
        said = log.read_text(errors="replace")[-2000:] if log and log.exists() else ""
        outcome = child.outcome() if child.ended() else "did not get ready in time"
        return f"{said}\n{child.program.name} {outcome}."

    def _count_request(self, *_: object) -> None:
        self.stop_requests += 1


class Lines:
    """Whole lines, each with the name of who printed it."""

    def __init__(self, label: str, source: IO[bytes]) -> None:
        self.label = label
        self.source = source
        self.rest = b""

    def show_more(self) -> bool:
        """Whether there may be more: nothing read is the end."""
        data = os.read(self.source.fileno(), HANDFUL)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in filter(bytes.strip, lines):
            say(f"{self.label} {line.decode(errors='replace')}")
        return bool(data)


def spawn(program: Program) -> "subprocess.Popen[bytes]":
    """In a session of its own: Ctrl-C reaches the supervisor alone, which then stops in order."""
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
            preexec_fn=_ends_with_us(program.farewells[0]),  # noqa: PLW1509 - see LIBC above
            **program.account.popen_arguments,
        )
    finally:
        if not isinstance(output, int):
            output.close()


def _ends_with_us(farewell: int) -> Callable[[], None] | None:
    """Linux tells the child when we are gone, however we went.

    A change of user clears that, so it is asked for after it, which is when subprocess calls this.
    """
    parent = os.getpid()

    def ask() -> None:
        if LIBC is not None:
            LIBC.prctl(PR_SET_PDEATHSIG, farewell)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _say_farewell(child: Child, turn: int) -> None:
    farewells = child.program.farewells
    if turn < len(farewells) and not child.ended():
        child.process.send_signal(farewells[turn])
