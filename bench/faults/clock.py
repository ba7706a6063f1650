"""Clocks of processes that can be set, by a preloaded library."""

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from revcred.launcher.environment import EnvironmentVariables

DATABASE_CLOCK, OTHERS_CLOCK = "database", "others"
LIBRARY_SOURCE = Path(__file__).with_suffix(".c")
SECONDS_FORMAT = struct.Struct("=q")


class NoCompilerError(Exception):
    """The library cannot be compiled here."""


@dataclass(frozen=True)
class Clock:
    """The clock of all processes that have its environment."""

    file: Path
    library: Path

    @property
    def environment(self) -> EnvironmentVariables:
        return {"LD_PRELOAD": str(self.library), "CLOCK_ERROR_FILE": str(self.file)}

    def set_wrong_by(self, seconds: int) -> None:
        # In place: the processes have mapped the file.
        with self.file.open("r+b", buffering=0) as file:
            file.write(SECONDS_FORMAT.pack(seconds))


def make_clocks(directory: Path) -> dict[str, Clock]:
    """Return a clock for PostgreSQL and one for all else, both right. Raises NoCompilerError."""
    library = directory / "clock.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NoCompilerError
    command = (
        compiler,
        "-O2",
        "-Wall",
        "-shared",
        "-fPIC",
        "-o",
        str(library),
        str(LIBRARY_SOURCE),
    )
    subprocess.run(command, check=True)  # noqa: S603 - constants
    clocks = {
        name: Clock(directory / f"clock-of-{name}", library)
        for name in (DATABASE_CLOCK, OTHERS_CLOCK)
    }
    for clock in clocks.values():
        clock.file.write_bytes(SECONDS_FORMAT.pack(0))
    return clocks
