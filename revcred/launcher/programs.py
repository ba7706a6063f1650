"""The programs that revcred consists of, as they run on one machine."""

import sys
from dataclasses import dataclass
from pathlib import Path

from revcred.launcher.environment import EnvironmentVariables
from revcred.launcher.processes import Program
from revcred.launcher.web import WEB_HOST

GRANIAN_ARGUMENTS = (
    *("-m", "granian", "--host", WEB_HOST, "--workers", "1", "--no-ws", "--http", "1"),
    *("--log-level", "warning", "--no-access-log", "--workers-kill-timeout", "8"),
)
WEB_ARGUMENTS = (*GRANIAN_ARGUMENTS, "revcred.rsgi:application", "--interface", "rsgi")
WORKER_ARGUMENTS = (
    # Its warning to root is about pickle, which the settings do not accept.
    *("-W", "ignore:::celery.platforms"),
    *("-m", "celery", "-A", "revcred", "--quiet", "worker", "--loglevel", "warning"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)
ATTRIBUTION_ARGUMENTS = ("--concurrency", "1")
# One list after the other, in the process itself.
UPLOADS_ARGUMENTS = ("--queues", "uploads", "--hostname", "uploads@%h", "--pool", "solo")


@dataclass(frozen=True)
class ProgramFactory:
    """Makes each program with these settings as its environment, in the project's directory."""

    settings: EnvironmentVariables
    project: Path
    logs: Path | None = None  # None: onto the terminal

    def web(self, port: int, name: str = "web") -> Program:
        return self._python(name, *WEB_ARGUMENTS, "--port", str(port))

    def worker(self) -> Program:
        return self._python("worker", *WORKER_ARGUMENTS, *ATTRIBUTION_ARGUMENTS)

    def uploads(self) -> Program:
        return self._python("uploads", *WORKER_ARGUMENTS, *UPLOADS_ARGUMENTS)

    def clock(self) -> Program:
        return self.manage("clock")

    def manage(self, command: str, *arguments: str) -> Program:
        return self._python(command, "manage.py", command, *arguments)

    def _python(self, name: str, *arguments: str) -> Program:
        return Program(
            name=name,
            command=[sys.executable, *arguments],
            # Unbuffered, so that what it prints is shown when it is printed.
            environment={**self.settings, "PYTHONUNBUFFERED": "1"},
            directory=self.project,
            log=self.logs / name if self.logs else None,
        )
