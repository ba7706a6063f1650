"""`make run`: stores, migrations, demo data, then every process under one supervisor."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from revcred.launcher import environment
from revcred.launcher.errors import LaunchError, StopRequestedError
from revcred.launcher.greeting import greeting_text
from revcred.launcher.lock import exclusive_lock
from revcred.launcher.orphans import end_orphans
from revcred.launcher.paths import LauncherPaths
from revcred.launcher.postgresql import set_data_aside
from revcred.launcher.processes import Supervisor
from revcred.launcher.programs import ProgramFactory
from revcred.launcher.stores import DataStores
from revcred.launcher.terminal import print_line
from revcred.launcher.web import WEB_HOST, call_when_healthy, check_port_free

TURN_SECONDS = 0.2
VALID_PORTS = range(1, 65_536)


@dataclass(frozen=True)
class LauncherRun:
    """One `make run`: from leftovers of the last one to the supervised processes."""

    places: LauncherPaths
    port: int
    supervisor: Supervisor
    began: float

    @property
    def url(self) -> str:
        return f"http://{WEB_HOST}:{self.port}"

    def run(self) -> None:
        given = environment.given_settings(self.places.project)
        self._make_room()
        stores = DataStores(
            self.supervisor,
            given=given,
            data=self.places.data,
            logs=self.places.run,
            durable=True,
        )
        try:
            self._run_with(stores, given)
        finally:
            self.supervisor.stop()
            stores.remove_sockets()

    def _make_room(self) -> None:
        if left := end_orphans(self.supervisor.record_path):
            print_line(f"Ended what the last run had left: {', '.join(left)}.")
        check_port_free(self.port)
        # Without its keys, nothing that is sealed in the old data can be opened.
        if not self._environment_file.exists():
            for old in set_data_aside(self.places.data):
                print_line(f"The keys for the data of an earlier run are gone; it is now in {old}.")

    def _run_with(self, stores: DataStores, given: environment.EnvironmentVariables) -> None:
        addresses = stores.start()
        # People look for data in the checkout, where there is none then.
        if self.places.data != self.places.run and "DATABASE_URL" in addresses:
            print_line(
                f"As root, PostgreSQL runs as nobody and keeps its data in {self.places.data}."
            )
        settings = environment.complete_settings(
            self._environment_file, others=given, addresses={**addresses, "PUBLIC_URL": self.url}
        )
        programs = ProgramFactory(settings, self.places.project)
        self._prepare_data(programs)
        self._start_all(programs)
        call_when_healthy(self.url, self._greet)
        while True:
            self.supervisor.attend(TURN_SECONDS)

    def _prepare_data(self, programs: ProgramFactory) -> None:
        # Migrates, too: starting Django once more would take longer than both.
        program = programs.manage("demo", "--url", self.url)
        self.supervisor.run_to_end(program, log=self.places.run / "demo.log")

    def _start_all(self, programs: ProgramFactory) -> None:
        for program in (
            programs.web(self.port),
            programs.worker(),
            programs.uploads(),
            programs.clock(),
            programs.manage("demo_gateway", "--url", self.url),
        ):
            self.supervisor.start(program)

    def _greet(self) -> None:
        seconds = time.monotonic() - self.began
        print_line(greeting_text(self.url, self.places.run / "demo.json", seconds=seconds))

    @property
    def _environment_file(self) -> Path:
        return self.places.run / "environment"


def run_launcher() -> int:
    places = LauncherPaths(Path.cwd())
    places.prepare()
    # Two launchers would end each other's processes as orphans.
    with exclusive_lock(places.run / "lock"):
        supervisor = Supervisor(places.run / "processes.json")
        supervisor.obey_signals()
        LauncherRun(places, _port_setting(), supervisor, STARTED_AT).run()
    return 0


def _port_setting() -> int:
    text = os.environ.get("PORT") or "8000"
    if not text.isdigit() or int(text) not in VALID_PORTS:
        message = f"PORT has to be a number up to 65535, not {text!r}."
        raise LaunchError(message)
    return int(text)


def main(run: Callable[[], int] = run_launcher) -> int:
    try:
        return run()
    except StopRequestedError:
        print_line("Stopped.")
        return 0
    except LaunchError as problem:
        print_line(str(problem).strip())
        return 1


# As early as possible, so that the greeting tells the time that people waited.
STARTED_AT = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
