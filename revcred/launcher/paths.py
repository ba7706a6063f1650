"""Paths of a run on one machine: data directories and the directories of Unix sockets."""

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from revcred.launcher.accounts import SystemAccount
from revcred.launcher.errors import LaunchError

ROOT_DATA_DIRECTORY = Path("/var/lib/revcred")
# Named, because TMPDIR may be long, and closed to others.
SOCKET_PARENT = Path("/tmp")  # noqa: S108 - what is made in it is made new, or checked to be ours


@dataclass(frozen=True)
class LauncherPaths:
    """Directories of the checkout at `project`."""

    project: Path

    @property
    def run(self) -> Path:
        return self.project / ".run"

    @property
    def data(self) -> Path:
        """The stores' directory.

        Started by root, PostgreSQL runs as `nobody`, who may not be able to enter `project`.
        """
        if os.geteuid() != 0:
            return self.run
        return ROOT_DATA_DIRECTORY / path_digest(self.project)

    def prepare(self) -> None:
        self.run.mkdir(exist_ok=True)
        if self.data != self.run:
            make_traversable(ROOT_DATA_DIRECTORY)
            make_traversable(self.data)


def path_digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:8]


def make_traversable(directory: Path) -> None:
    """Create a directory that every user may pass through and nobody may list."""
    with suppress(FileExistsError):
        directory.mkdir(parents=True, mode=0o711)
        directory.chmod(0o711)


def socket_directory(data: Path, account: SystemAccount) -> Path:
    """Create the private directory of a store's socket. Raises LaunchError if it is another's."""
    directory = socket_path(data)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        account.take_over(directory)
    _check_ownership(directory, account)
    return directory


def socket_path(data: Path) -> Path:
    """Return the directory of a store's socket.

    It lies in /tmp, because a socket's path may have no more than about 107 bytes.
    """
    return SOCKET_PARENT / f"revcred-{path_digest(data)}"


def _check_ownership(directory: Path, account: SystemAccount) -> None:
    # /tmp is open to everybody: another user may have made this directory, or a link, first.
    found = directory.lstat()
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or not account.owns(directory):
        message = f"{directory} is not ours: somebody else made it. Remove it, then try again."
        raise LaunchError(message)
