"""`make audit`: ask the OSV database what is known about the packages that revcred pins.

It ends with 0 if nothing is known, with 1 if something is, and with 2 if no database answered:
then nothing was checked, and the last line says so.
"""

import argparse
import json
import re
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = Path(__file__).parents[1]
LISTS = ("production", "otel", "run", "dev", "uv")
DATABASE_URL = "https://api.osv.dev"
MAX_QUERIES_PER_REQUEST = 1_000  # of OSV
ANSWER_SECONDS = 30
PINNED_PACKAGE = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>[^\s;\\]+)", re.MULTILINE
)


class Package(NamedTuple):
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class DatabaseNotReached(Exception):
    """The database did not answer, or not what OSV answers."""


def pinned_packages(lists: Sequence[Path]) -> list[Package]:
    """Return each pinned package of the lists once, by name."""
    return sorted(
        {Package(*found) for path in lists for found in PINNED_PACKAGE.findall(path.read_text())}
    )


def known_vulnerabilities(
    packages: Sequence[Package], database_url: str
) -> Mapping[Package, list[str]]:
    """Return the ids of what is known about each package that is affected.

    Raises DatabaseNotReached.
    """
    found: dict[Package, list[str]] = {}
    for start in range(0, len(packages), MAX_QUERIES_PER_REQUEST):
        some = packages[start : start + MAX_QUERIES_PER_REQUEST]
        results = _query(some, database_url)
        for package, result in zip(some, results, strict=True):
            if ids := [each["id"] for each in result.get("vulns", [])]:
                found[package] = ids
    return found


def _query(packages: Sequence[Package], database_url: str) -> list[dict[str, Any]]:
    queries = [
        {"package": {"name": package.name, "ecosystem": "PyPI"}, "version": package.version}
        for package in packages
    ]
    request = urllib.request.Request(  # noqa: S310 - the address is the operator's own
        f"{database_url.rstrip('/')}/v1/querybatch",
        json.dumps({"queries": queries}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - likewise
            results: list[dict[str, Any]] = list(json.load(answer)["results"])
    except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
        message = f"{database_url} ({type(error).__name__}: {error})"
        raise DatabaseNotReached(message) from error
    # Fewer results than queries would leave packages unchecked that seem to be fine.
    if len(results) != len(packages):
        message = f"{database_url} ({len(results)} results for {len(packages)} packages)"
        raise DatabaseNotReached(message)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--database", default=DATABASE_URL, help="address of OSV, or of a mirror")
    database_url = parser.parse_args(arguments).database
    packages = pinned_packages([PROJECT / f"requirements/{name}.txt" for name in LISTS])
    try:
        found = known_vulnerabilities(packages, database_url)
    except DatabaseNotReached as problem:
        _say(f"Nothing was checked: no database of vulnerabilities was reached at {problem}.")
        _say("Run it where there is one, or name a mirror: make audit ARGS='--database https://…'")
        return 2
    for package, ids in found.items():
        _say(f"{package}: {', '.join(ids)}")
    _say(f"{len(packages)} packages were checked at {database_url}; {len(found)} are affected.")
    return 1 if found else 0


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what this command is for


if __name__ == "__main__":
    sys.exit(main())
