"""Virtual environments with published packages, from whatever index pip is configured for."""

import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
KEPT = PROJECT / ".run" / "conformance"


class NotInstalled(Exception):
    """The index has no such package, or does not answer."""


def environment(requirements: Sequence[str]) -> Path:
    """The Python of an environment with these packages, made once. Raises NotInstalled."""
    directory = KEPT / requirements[0].replace("=", "-")
    python = directory / "bin" / "python"
    made = directory / "made-of.txt"
    if not made.exists() or made.read_text().split("\n") != list(requirements):
        venv.create(directory, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *requirements], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise NotInstalled(done.stderr.strip().rpartition("\n")[2])
        made.write_text("\n".join(requirements))
    return python


def version(python: Path, package: str) -> str:
    question = f"from importlib.metadata import version; print(version({package!r}))"
    said = subprocess.check_output([str(python), "-c", question], text=True)  # noqa: S603
    return str(said).strip()
