"""Fifty rolling restarts behind nginx, under load: what do the clients notice of them?"""

import argparse
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from bench.faults import report
from bench.faults.background_load import moving, sending
from bench.faults.clients import Address, Call
from bench.faults.judge import Evidence, judge
from bench.faults.proxy import HOST, free_port
from bench.faults.run import wait_for_quiet
from bench.faults.trial import SETTINGS, Trial, end_in_order
from bench.faults.world import SECOND_WEB, WEB
from bench.stack import PROJECT, say
from revcred.launcher.processes import Program
from revcred.launcher.programs import ProgramFactory
from revcred.launcher.stack import running_stack
from revcred.launcher.temporary import temporary_directory
from revcred.launcher.web import is_answering

RESTARTS = 50
PAUSE = 0.3  # seconds between a web's being healthy and the next one's end
QUIET = 60.0
WEBS = ("web-1", "web-2")

# The production proxy's own settings, with two webs here instead of those Docker knows.
SETTINGS_OF_NGINX = PROJECT / "deploy/nginx.conf"
RESOLVED = """        resolver 127.0.0.11 valid=5s ipv6=off;
        server web:8000 resolve max_fails=0;
"""


@dataclass
class Rolling(Trial):
    """Two web processes behind nginx, and the rest."""

    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in WEBS})

    def serve(self) -> None:
        programs = ProgramFactory(self.environment, self.project, logs=self.logs)
        for name, port in self.ports.items():
            self._begin(replace(programs.web(port), name=name, log=self.logs / name))
        for program in (programs.worker(), programs.clock(), self._nginx()):
            self._begin(program)
        for name in (*WEBS, "nginx"):
            self.wait_until_ready(name)

    def is_ready(self, name: str) -> bool:
        if name == "nginx":
            return is_answering(f"{self.url}/healthz")
        if name in self.ports:
            return is_answering(f"http://{HOST}:{self.ports[name]}/healthz")
        return super().is_ready(name)

    def restart(self, name: str) -> None:
        """As a deployment does: the next one only when this one is back and healthy."""
        self.ask_to_end([name])
        self.begin(name)

    def _nginx(self) -> Program:
        settings = self.logs / "nginx.conf"
        settings.write_text(self._settings_of_nginx())
        return Program(
            name="nginx",
            command=[_nginx(), "-c", str(settings), "-g", "daemon off; user root;"],
            environment={},
            log=self.logs / "nginx",
        )

    def _settings_of_nginx(self) -> str:
        text = SETTINGS_OF_NGINX.read_text()
        webs = "".join(
            f"        server {HOST}:{port} max_fails=0;\n" for port in self.ports.values()
        )
        for said, instead in (
            (RESOLVED, webs),
            ("listen 8080 default_server", f"listen {HOST}:{self.port}"),
            ("/tmp/", f"{self.logs}/nginx-"),  # noqa: S108 - what is replaced
            ("/dev/stdout", str(self.logs / "nginx-access")),
            ("/dev/stderr", str(self.logs / "nginx-errors")),
        ):
            assert said in text, said
            text = text.replace(said, instead)
        return text


def main() -> int:
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--restarts", type=int, default=RESTARTS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    if not _nginx():
        say("There is no nginx here: rolling restarts were not tried.")
        return 0
    say(f"Seed {options.seed}.")
    settings = SETTINGS
    with (
        temporary_directory() as directory,
        running_stack(Rolling, directory, PROJECT, settings=settings) as rolling,
    ):
        return _roll(rolling, options.restarts, options.seed)


def _roll(rolling: Rolling, restarts: int, seed: int) -> int:
    with moving(rolling.direct, seed) as (gateways, stop_moving):
        rolling.serve()
        addresses = dict.fromkeys((WEB, SECOND_WEB), Address(HOST, rolling.port))
        with sending(addresses, gateways, seed) as (_, stop_sending):
            began = time.monotonic()
            for number in range(restarts):
                time.sleep(PAUSE)
                rolling.restart(WEBS[number % len(WEBS)])
            seconds = time.monotonic() - began
            world, history = stop_moving(), stop_sending()
    waiting = wait_for_quiet(rolling, QUIET)
    verdict = judge(rolling, Evidence(history=history, world=world, waiting=waiting))
    errors = [call for call in history.calls if not call.is_final]
    say(f"{restarts} restarts in {seconds:.0f} s, {len(history.calls):,} calls.")
    say(f"Longest answer {max(call.seconds for call in history.calls):.2f} s.")
    say(f"Errors at the client: {len(errors)} {_statuses(errors)}")
    for name in rolling.fallen:
        say(f"By itself: {name}")
    for stray in verdict.strays:
        say(f"Not excused: {stray}")
    say(report.verdict_line(verdict))
    return 1 if errors or verdict.broken else 0


def _statuses(errors: Iterable[Call]) -> str:
    return ", ".join(
        f"{count} of {status or 'none'}"
        for status, count in Counter(call.status for call in errors).items()
    )


def _nginx() -> str:
    return shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") or ""


if __name__ == "__main__":
    sys.exit(main())
