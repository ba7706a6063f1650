"""Upgrades while traffic runs: `make upgrades`.

One installation begins with the code of the last release. It is migrated to this code, with the old
code running beside each migration (with `--short`: beside all of them at once), then to a release
after this one, and back without migrating back. Old and new code run side by side at each step, and
gateways never stop posting at both.
"""

import argparse
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from bench.phases import (
    CREDENTIALS,
    HABITS,
    SERVER_ERROR,
    VERDICTS,
    Traffic,
    prove_phases,
)
from bench.stack import PROJECT, Bench, say
from deploy.release import ReleaseProblem, find_last_tag
from revcred.launcher.environment import EnvironmentVariables
from revcred.launcher.errors import LaunchError
from revcred.launcher.orphans import kill_group
from revcred.launcher.processes import Program
from revcred.launcher.stack import free_port, running_stack
from revcred.launcher.temporary import temporary_directory
from revcred.launcher.web import WEB_HOST, is_answering

RECEIPTS = 200  # asked for in the end
PHASE_SECONDS, SHORT_PHASE_SECONDS = 4.0, 2.0
MAX_FAILING_SECONDS = 15.0  # until the old code has put a call aside
MAX_RETRY_SECONDS = 60.0
STOP_SECONDS = 20.0
CODE = ("manage.py", "pyproject.toml", "bench", "metering", "revcred", "storefront", "templates")
PENDING_MIGRATION = re.compile(r"^\[ \] +((?:metering|revcred)\.\w+)", re.MULTILINE)

# In the directory of a release, because each knows best how its programs are started.
PRINT_COMMANDS = """
import json, sys
from pathlib import Path
from revcred.launcher.programs import ProgramFactory
programs = ProgramFactory({}, Path())
made = programs.web(int(sys.argv[1])), programs.worker(), programs.clock()
print(json.dumps({program.name: list(program.command) for program in made}))
"""
RECORD_EVENT = """
from django.db.transaction import atomic
from revcred.models import AuditEvent, AuditVerb, Gateway
with atomic():
    AuditEvent.objects.record(AuditVerb.CHANGED, target=Gateway.objects.first(), by=None)
"""
LATER_NAME = "9999_later"
LATER_MIGRATION = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("metering", "{newest}")]
    operations = []
"""

# The few that failed most often, as if the pauses between their attempts had passed.
ATTEMPT_NOW = """
UPDATE metering_delivery SET next_try_at = received_at WHERE id IN (
    SELECT id FROM metering_delivery WHERE transactions = 1 AND attempts > 1
    ORDER BY attempts DESC, id LIMIT 5 FOR UPDATE SKIP LOCKED
)
"""
PUT_ASIDE = """
SELECT count(*) FROM metering_quarantined WHERE reason = 'poison' AND released_at IS NULL
"""


@dataclass(frozen=True)
class Release:
    """One state of the code, in a directory of its own."""

    name: str
    project: Path


@dataclass
class Installation(Bench):
    """One installation, whose code is exchanged while it runs."""

    ports: dict[str, int] = field(default_factory=dict)  # of each release that runs

    def manage(self, *arguments: str, settings: EnvironmentVariables | None = None) -> str:
        return super().manage(
            *arguments, settings={**self._settings(self.project), **(settings or {})}
        )

    def start_release(self, release: Release) -> None:
        """Start its programs beside those that run, and wait until its web answers."""
        port = self.ports[release.name] = free_port()
        printed = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-c", PRINT_COMMANDS, str(port)],
            cwd=release.project,
            check=True,
            capture_output=True,
            text=True,
        )
        for name, command in json.loads(printed.stdout).items():
            program = Program(
                name=f"{name} of {release.name}",
                command=command,
                environment={**self._settings(release.project), "PYTHONUNBUFFERED": "1"},
                directory=release.project,
                log=self.logs / f"{name}-{release.name}",
            )
            self.begin(program)
        self.wait_until(lambda: is_answering(f"http://{WEB_HOST}:{port}/healthz"))

    def stop_release(self, release: Release) -> None:
        """Ask its programs to end, as a deployment does, and wait."""
        names = [name for name in self.children if name.endswith(f" of {release.name}")]
        ending = [self.children.pop(name) for name in names]
        for child in ending:
            self.supervisor.children.remove(child)
            child.process.send_signal(signal.SIGTERM)
        for child in ending:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(STOP_SECONDS)
            kill_group(child.process.pid)
        del self.ports[release.name]

    def pending_migrations(self) -> list[str]:
        """Return our migrations that are not applied, in the order in which they are."""
        shown = subprocess.run(
            [sys.executable, "manage.py", "showmigrations", "--plan"],
            cwd=self.project,
            # The application's role is there only after the first `migrate`.
            env={**self.environment, "DATABASE_URL": self.environment["MIGRATION_DATABASE_URL"]},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        return PENDING_MIGRATION.findall(shown)

    def shell(self, release: Release, script: str) -> "subprocess.Popen[bytes]":
        """Begin to run a script with that release's code."""
        return subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "manage.py", "shell", "--no-imports", "--command", script],
            cwd=release.project,
            env=self._settings(release.project),
            stdout=subprocess.DEVNULL,
        )

    def readiness(self, release: Release) -> tuple[int, str]:
        """Return the status of `/readyz`, and what it says."""
        url = f"http://{WEB_HOST}:{self.ports[release.name]}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def count_put_aside(self) -> int:
        return int(self.ask(PUT_ASIDE))

    def _settings(self, project: Path) -> EnvironmentVariables:
        """Return the settings of that code: a release that knew one role has that of the owner."""
        if (project / "revcred/postgresql/owner.py").exists():
            return self.environment
        return {**self.environment, "DATABASE_URL": self.environment["MIGRATION_DATABASE_URL"]}


class Upgrade:
    """The steps of an upgrade, and what was seen."""

    def __init__(self, installation: Installation, traffic: Traffic, seconds: float) -> None:
        self.installation, self.traffic, self.seconds = installation, traffic, seconds
        self.put_aside = 0  # the most that waited as poison
        self.failures: list[str] = []

    def begin(self, release: Release) -> None:
        self.installation.start_release(release)
        self._open_doors(release)
        self.traffic.begin_phase(f"{release.name}, alone")
        self.traffic.start()
        self._record_events(release)
        time.sleep(self.seconds)

    def let_old_code_fail(self) -> None:
        """Take away a table until the old code has put calls aside, as if it had been renamed."""
        self.traffic.begin_phase("a table is missing")
        self.installation.database.execute("ALTER TABLE metering_usage RENAME TO usage_away")
        deadline = time.monotonic() + MAX_FAILING_SECONDS
        while not self.installation.count_put_aside() and time.monotonic() < deadline:
            self.installation.database.execute(ATTEMPT_NOW)
            time.sleep(0.2)
        self.installation.database.execute("ALTER TABLE usage_away RENAME TO metering_usage")
        self.put_aside = self.installation.count_put_aside()
        say(f"  The old code put {self.put_aside} calls aside.")

    def migrate_one_by_one(self, new: Release) -> None:
        """Apply each migration of ours by itself, with some seconds of the old code after it."""
        self.installation.project = new.project
        for migration in self.installation.pending_migrations():
            self.traffic.begin_phase(migration)
            self.installation.manage("migrate", *migration.split("."))
            time.sleep(self.seconds / 2)

    def replace(self, old: Release, new: Release) -> None:
        """Migrate with the new code, run both side by side, and stop the old."""
        self.traffic.begin_phase(f"{new.name}, migrate")
        self.installation.project = new.project
        began = time.monotonic()
        self.installation.manage("migrate", "--no-input")
        say(f"  migrate took {time.monotonic() - began:.1f} s.")
        self.installation.start_release(new)
        self.installation.wait_until(lambda: self.installation.readiness(new)[0] == HTTPStatus.OK)
        self.traffic.begin_phase(f"{new.name}, beside {old.name}")
        self._open_doors(old, new)
        self._record_events(old, new)
        time.sleep(self.seconds)
        self._leave(old, new)

    def change_code(self, running: Release, other: Release) -> None:
        """Replace the code that runs by another's, and leave the database as it is."""
        self.traffic.begin_phase(f"{running.name}, changed for {other.name}")
        self.installation.project = other.project
        self.installation.start_release(other)
        self._leave(running, other)

    def roll_back(self, new: Release, old: Release) -> None:
        """Replace the new code by the old, which has to wait, and then the other way round."""
        self.change_code(new, old)
        status, said = self.installation.readiness(old)
        say(f"  /readyz of the older code: {status} {said}")
        if status != HTTPStatus.SERVICE_UNAVAILABLE or "older than the database" not in said:
            self.failures.append("the older code did not say that it waits")
        processed = self.installation.processed()
        time.sleep(self.seconds)
        waiting = self.installation.waiting()
        say(f"  {waiting:,} calls wait for newer code.")
        if self.installation.processed() != processed:
            self.failures.append("the older code did not wait")
        if not waiting:
            self.failures.append("nothing was stored while the older code waited")
        self.change_code(old, new)

    def _record_events(self, *recording: Release) -> None:
        """Have each add to the audit's chain, at the same moment."""
        ended = [self.installation.shell(release, RECORD_EVENT) for release in recording]
        if any(process.wait() for process in ended):
            self.failures.append("an event could not be recorded")

    def _leave(self, old: Release, new: Release) -> None:
        self._open_doors(new)
        # What the old one has begun to answer.
        time.sleep(0.5)
        self.installation.stop_release(old)
        self.traffic.begin_phase(f"{new.name}, alone")
        time.sleep(self.seconds)

    def _open_doors(self, *releases: Release) -> None:
        self.traffic.ports = tuple(self.installation.ports[each.name] for each in releases)

    def judge(self) -> bool:
        """Print what was seen, and return True if nothing is wrong."""
        installation, traffic = self.installation, self.traffic
        traffic.stop()
        installation.wait_until_processed()
        with suppress(TimeoutError):
            installation.wait_until(
                lambda: not installation.count_put_aside(), max_seconds=MAX_RETRY_SECONDS
            )
        proof = prove_phases(installation, traffic)
        if not proof.holds:
            self.failures.append("what was answered is not what is stored")
        left = installation.count_put_aside()
        say(f"{self.put_aside} calls had been put aside by old code, {left} still are.")
        if left:
            self.failures.append(f"{left} calls are still put aside")
        if any(phase.rejected for phase in traffic.phases):
            self.failures.append("a POST was rejected")
        if any(phase.pages[SERVER_ERROR] for phase in traffic.phases):
            self.failures.append("a page failed")
        try:
            say(installation.manage("verify_audit"))
        except LaunchError as problem:
            self.failures.append(f"the audit is not whole: {problem}")
        wrong = self._wrong_receipts()
        say(f"{wrong} of {RECEIPTS} receipts are wrong.")
        if wrong:
            self.failures.append(f"{wrong} receipts are wrong")
        for failure in self.failures:
            say(f"Wrong: {failure}.")
        return not self.failures

    def _wrong_receipts(self) -> int:
        """Ask for receipts from all phases, and return how many do not say what became of it."""
        port = self.traffic.ports[0]
        accepted = self.traffic.accepted
        wrong = 0
        for id_, known, _, _ in accepted[:: max(1, len(accepted) // RECEIPTS)]:
            token = self.traffic.tokens[id_.partition("-")[0]]
            request = urllib.request.Request(
                f"http://{WEB_HOST}:{port}/v1/transactions/{id_}",
                headers={"Authorization": f"Bearer {token}"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                state = json.load(answer)["state"]
            wrong += state != ("attributed" if known else "quarantined")
        return wrong


def releases(first: str, directory: Path) -> list[Release]:
    """Return the last release, this code, and a later one: this code with one migration more."""
    later = directory / "later"
    for name in CODE:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        later.mkdir(exist_ok=True)
        copy(PROJECT / name, later / name)
    migrations = later / "metering/migrations"
    newest = migrations / "max_migration.txt"
    (migrations / f"{LATER_NAME}.py").write_text(
        LATER_MIGRATION.format(newest=newest.read_text().strip())
    )
    newest.write_text(f"{LATER_NAME}\n")
    return [
        Release(first, _unpack(first, directory / "first")),
        Release("this", PROJECT),
        Release("later", later),
    ]


def _unpack(commit: str, into: Path) -> Path:
    archive = subprocess.run(  # noqa: S603 - our own command
        ["git", "archive", commit, *CODE],  # noqa: S607
        cwd=PROJECT,
        check=True,
        capture_output=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(into, filter="data")
    return into


def main() -> int:
    parser = argparse.ArgumentParser(prog="make upgrades", description=__doc__)
    parser.add_argument("--from", dest="first", help="a tag or commit; the last release if missing")
    parser.add_argument("--short", action="store_true", help="without the steps in between")
    parser.add_argument("--seconds", type=float, help="of each phase")
    options = parser.parse_args()
    try:
        first = options.first or find_last_tag()
    except (ReleaseProblem, FileNotFoundError):
        first = None
    if first is None:
        say("Not tried: the code of the last release comes from git, and there is no tag here.")
        return 1
    # Ends in order also when asked to, so that no program is left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with (
        temporary_directory() as directory,
        running_stack(
            Installation, directory, (steps := releases(first, directory))[0].project
        ) as installation,
    ):
        seconds = options.seconds or (SHORT_PHASE_SECONDS if options.short else PHASE_SECONDS)
        holds = _run(installation, steps, seconds, each=not options.short)
        return 0 if holds else 1


def _run(
    installation: Installation, steps: Sequence[Release], seconds: float, *, each: bool
) -> bool:
    began = time.monotonic()
    installation.call("seed", CREDENTIALS)
    tokens = {habit.gateway: installation.call("issue", habit.gateway) for habit in HABITS}
    traffic = Traffic(tokens, installation.call("sign_in"))
    upgrade = Upgrade(installation, traffic, seconds)
    first, this, later = steps
    upgrade.begin(first)
    upgrade.let_old_code_fail()
    if each:
        upgrade.migrate_one_by_one(this)
    upgrade.replace(first, this)
    if each:
        # It may be a release that does not wait: then what it does has to be right.
        upgrade.change_code(this, first)
        upgrade.change_code(first, this)
    upgrade.replace(this, later)
    upgrade.roll_back(later, this)
    holds = upgrade.judge()
    seconds = time.monotonic() - began
    say(f"Two upgrades and a way back in {seconds:.0f} s. {VERDICTS[holds]}")
    return holds


if __name__ == "__main__":
    sys.exit(main())
