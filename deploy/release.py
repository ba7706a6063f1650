"""`make release`: check that this commit can be released, build what is handed on, and tag it.

An upgrade from the last release is tried on its own demo data: loaded by the old code, migrated by
the new, and then verified. Nothing leaves this machine: the last line says how to publish.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from revcred.launcher import running_stores
from revcred.launcher.environment import complete_settings
from revcred.launcher.temporary import temporary_directory

PROJECT = Path(__file__).parents[1]
OUTPUT_DIRECTORY = PROJECT / "dist"
RELEASE_HEADING = re.compile(r"^## (?P<version>\S+) · (?P<day>\d{4}-\d{2}-\d{2})$", re.MULTILINE)
UNRELEASED_HEADING = "## Unreleased"
# What no upgrade may change: numbers of rows, and what was counted.
UPGRADE_INVARIANTS = {
    "customers": "SELECT count(*) FROM revcred_customer",
    "subscriptions": "SELECT count(*) FROM revcred_subscription",
    "credentials": "SELECT count(*) FROM revcred_credential",
    "keys": "SELECT count(*) FROM revcred_externalkey",
    "people": "SELECT count(*) FROM revcred_user",
    "transactions": "SELECT count(*) FROM metering_transaction",
    "transactions in quarantine": "SELECT count(*) FROM metering_quarantined",
    "calls counted": "SELECT coalesce(sum(count), 0)::bigint FROM metering_usage",
    "quantity counted": "SELECT coalesce(sum(quantity), 0)::text FROM metering_usage",
}
# Each ends with an error if the data does not add up.
VERIFYING_COMMANDS = ("check", "verify_audit", "verify_usage")


class ReleaseProblem(Exception):
    """A reason why this commit cannot be released, as a sentence for whoever releases it."""


def release(*, last_tag: str | None, version: str) -> None:
    """Check, build and tag `version`. Raises ReleaseProblem; then no tag was made."""
    tag = f"v{version}"
    check_changelog((PROJECT / "CHANGELOG.md").read_text(), version)
    _check_commit(tag)
    if last_tag is None:
        _say("There is no earlier release: no upgrade to try.")
    else:
        with _checkout_of(last_tag) as old:
            _make(old, ".venv/.run-installed")
            check_upgrade(old, PROJECT, old_python=old / ".venv/bin/python")
        _say(f"The upgrade from {last_tag} keeps all rows and sums of its demo data.")
    for built in _build(version):
        _say(f"Built {built}.")
    _git("tag", "--annotate", tag, "--message", f"revcred {version}")
    _say(f"Tagged {tag}. Publish it: git push origin {tag}")


def check_changelog(text: str, version: str) -> None:
    """Raise ReleaseProblem unless the newest section is this version's, dated and complete."""
    unreleased, _, rest = text.partition(UNRELEASED_HEADING)[2].partition("\n## ")
    if unreleased.strip():
        message = f"Move what stands under “Unreleased” into a section “## {version} · <day>”."
        raise ReleaseProblem(message)
    section = f"## {rest}".partition("\n## ")[0]
    heading = RELEASE_HEADING.match(section)
    if heading is None or heading["version"] != version:
        message = f"The newest section of CHANGELOG.md is not “## {version} · <day>”."
        raise ReleaseProblem(message)
    if datetime.fromisoformat(heading["day"]).date() > datetime.now(UTC).date():
        message = f"The day of {version} in CHANGELOG.md is in the future."
        raise ReleaseProblem(message)
    if "\n### Upgrading\n" not in section:
        message = f"The section of {version} lacks “### Upgrading”: say what an upgrade has to do."
        raise ReleaseProblem(message)


def check_upgrade(old: Path, new: Path, *, old_python: Path) -> None:
    """Load the demo with the code in `old`, migrate it with that in `new`, and verify it.

    Raises ReleaseProblem if a step fails, or if anything that was counted is different afterwards.
    """
    with (
        temporary_directory() as directory,
        # None of the environment's stores: this must never touch a real installation.
        running_stores(directory, durable=False, given={}) as addresses,
    ):
        generated = complete_settings(directory / "environment", others={}, addresses=addresses)
        uploads = {"UPLOADS_DIR": str(directory / "uploads")}
        settings = {**os.environ, **generated, **uploads}
        # A release that knew of one role needs that of the owner.
        as_owner = settings | {"DATABASE_URL": addresses["MIGRATION_DATABASE_URL"]}
        _manage(old_python, old, as_owner, "demo", "--url", "http://127.0.0.1")
        before = _invariants(addresses["MIGRATION_DATABASE_URL"])
        new_python = Path(sys.executable)
        _manage(new_python, new, settings, "migrate", "--verbosity=0")
        for command in VERIFYING_COMMANDS:
            _manage(new_python, new, settings, command)
        after = _invariants(addresses["MIGRATION_DATABASE_URL"])
    changed = [
        f"{name}: {value} before, {after[name]} after"
        for name, value in before.items()
        if after[name] != value
    ]
    if changed:
        message = f"The upgrade changes what was there. {'; '.join(changed)}."
        raise ReleaseProblem(message)


def project_version() -> str:
    """Return the version in pyproject.toml, where alone it stands."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def find_last_tag() -> str | None:
    """Return the newest release before this commit, None if there is none."""
    found = _git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname")
    return next(iter(found.splitlines()), None)


def _check_commit(tag: str) -> None:
    if _git("status", "--porcelain"):
        message = "There are changes that are not committed."
        raise ReleaseProblem(message)
    if _git("tag", "--list", tag):
        message = f"{tag} exists. Raise the version in pyproject.toml."
        raise ReleaseProblem(message)


def _build(version: str) -> Iterator[Path | str]:
    """Yield what is built: the source with its checksum, and the image where it can be built."""
    OUTPUT_DIRECTORY.mkdir(exist_ok=True)
    archive = OUTPUT_DIRECTORY / f"revcred-{version}.tar.gz"
    _git("archive", f"--prefix=revcred-{version}/", f"--output={archive}", "HEAD")
    yield archive.relative_to(PROJECT)
    checksums = OUTPUT_DIRECTORY / "SHA256SUMS"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    checksums.write_text(f"{digest}  {archive.name}\n")
    yield checksums.relative_to(PROJECT)
    builder = _find_image_builder()
    if builder is None:
        _say("Neither docker nor podman runs here: the image was not built.")
        return
    image = f"revcred:{version}"
    _run(builder, "build", "--tag", image, ".", directory=PROJECT)
    yield image


def _find_image_builder() -> str | None:
    """Return a program that can build images here; None if there is none, or none is running."""
    for builder in filter(None, map(shutil.which, ("docker", "podman"))):
        with suppress(ReleaseProblem):
            _run(builder, "info", directory=PROJECT)
            return builder
    return None


@contextmanager
def _checkout_of(tag: str) -> Iterator[Path]:
    with temporary_directory() as directory:
        checkout = directory / "old"
        _git("worktree", "add", "--detach", str(checkout), tag)
        try:
            yield checkout
        finally:
            _git("worktree", "remove", "--force", str(checkout))


def _invariants(database_url: str) -> dict[str, object]:
    with psycopg.connect(database_url) as connection:
        rows = {name: connection.execute(query) for name, query in UPGRADE_INVARIANTS.items()}
        return {name: (row.fetchone() or (None,))[0] for name, row in rows.items()}


def _manage(python: Path, project: Path, settings: Mapping[str, str], *command: str) -> None:
    _run(str(python), "manage.py", *command, directory=project, settings=settings)


def _make(project: Path, target: str) -> None:
    _run("make", target, directory=project)


def _git(*command: str) -> str:
    return _run("git", *command, directory=PROJECT).strip()


def _run(*command: str, directory: Path, settings: Mapping[str, str] | None = None) -> str:
    """Run a program and return what it prints. Raises ReleaseProblem with its last lines."""
    ended = subprocess.run(  # noqa: S603 - our own commands
        command, cwd=directory, env=settings, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        last = "\n".join((ended.stdout + ended.stderr).strip().splitlines()[-10:])
        message = f"`{' '.join(command)}` failed:\n{last}"
        raise ReleaseProblem(message)
    return ended.stdout


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what this command is for


def main() -> int:
    version = project_version()
    parser = argparse.ArgumentParser(prog="make release", description=f"Release {version}.")
    parser.add_argument("--from", dest="last_tag", help="try the upgrade from this tag or commit")
    last_tag = parser.parse_args().last_tag or find_last_tag()
    try:
        release(last_tag=last_tag, version=version)
    except ReleaseProblem as problem:
        _say(f"Not released. {problem}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
