"""Where things are kept."""

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from revcred.launcher.accounts import Account
from revcred.launcher.errors import LaunchError

ROOTS_DATA = Path("/var/lib/revcred")
# Named, because TMPDIR may be long, and closed to others.
TMP = Path("/tmp")  # noqa: S108 - what is made in it is made new, or checked to be ours


@dataclass(frozen=True)
class Places:
    project: Path

    @property
    def run(self) -> Path:
        return self.project / ".run"

    @property
    def data(self) -> Path:
        """As root the database is `nobody`'s, who may not be able to enter the project's folder."""
        if os.geteuid() != 0:
            return self.run
        return ROOTS_DATA / digest_of(self.project)

    def prepare(self) -> None:
        self.run.mkdir(exist_ok=True)
        if self.data != self.run:
            make_passable(ROOTS_DATA)
            make_passable(self.data)


def digest_of(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:8]


def make_passable(directory: Path) -> None:
    """Anybody may pass through it to what is theirs; nobody may look around."""
    with suppress(FileExistsError):
        directory.mkdir(parents=True, mode=0o711)
        directory.chmod(0o711)


def socket_directory(data: Path, account: Account) -> Path:
    directory = socket_path(data)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        account.is_given(directory)
    _refuse_foreign(directory, account)
    return directory


def socket_path(data: Path) -> Path:
    """In /tmp, because the path of a Unix socket may have no more than about 107 bytes."""
    return TMP / f"revcred-{digest_of(data)}"


def _refuse_foreign(directory: Path, account: Account) -> None:
    found = directory.lstat()
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or not account.owns(directory):
        message = f"{directory} is not ours: somebody else made it. Remove it, then try again."
        raise LaunchError(message)
