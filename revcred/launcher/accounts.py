"""Which user a server runs as. PostgreSQL refuses to be root, so for root it is `nobody`."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Account:
    uid: int
    gid: int

    @property
    def popen_arguments(self) -> dict[str, Any]:
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def owns(self, path: Path) -> bool:
        return path.lstat().st_uid == self.uid

    def is_given(self, path: Path) -> None:
        if not self.owns(path):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def reaches(self, directory: Path) -> bool:
        return self._manages('cd -- "$1"', directory)

    def executes(self, binary: Path) -> bool:
        return self._manages('"$1" --version', binary)

    def _manages(self, command: str, path: Path) -> bool:
        arguments = ["/bin/sh", "-c", command, "sh", str(path)]
        done = subprocess.run(
            arguments, cwd="/", capture_output=True, check=False, **self.popen_arguments
        )
        return done.returncode == 0


def myself() -> Account:
    return Account(os.geteuid(), os.getegid())


@cache
def database_account() -> Account:
    if os.geteuid() != 0:
        return myself()
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)
