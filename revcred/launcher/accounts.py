"""System users that programs run as. PostgreSQL refuses to run as root: then it is `nobody`."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SystemAccount:
    """A user and group id of the operating system."""

    uid: int
    gid: int

    @property
    def popen_arguments(self) -> dict[str, Any]:
        # Only root may set them, even to the same values.
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def owns(self, path: Path) -> bool:
        return path.lstat().st_uid == self.uid

    def take_over(self, path: Path) -> None:
        if not self.owns(path):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def can_enter(self, directory: Path) -> bool:
        return self._succeeds('cd -- "$1"', directory)

    def can_execute(self, binary: Path) -> bool:
        return self._succeeds('"$1" --version', binary)

    # Asked of the system as that user: permissions of all parent directories count.
    def _succeeds(self, command: str, path: Path) -> bool:
        arguments = ["/bin/sh", "-c", command, "sh", str(path)]
        done = subprocess.run(
            arguments, cwd="/", capture_output=True, check=False, **self.popen_arguments
        )
        return done.returncode == 0


def current_account() -> SystemAccount:
    return SystemAccount(os.geteuid(), os.getegid())


@cache
def database_account() -> SystemAccount:
    if os.geteuid() != 0:
        return current_account()
    nobody = pwd.getpwnam("nobody")
    return SystemAccount(nobody.pw_uid, nobody.pw_gid)
