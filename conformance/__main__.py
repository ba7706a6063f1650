"""`make conformance`: published clients, each of their calls, and what became of it."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance import leaks
from conformance.cast import KEY, SUBSCRIPTION
from conformance.environments import PROJECT, NotInstalled, environment, version
from conformance.receipts import Ledger, Told, judged, left_over
from revcred.launcher.stack import Stack, running_stack
from revcred.launcher.temporary import temporary_directory

SCRIPTS = Path(__file__).parent / "clients"
PATIENCE = 120.0


@dataclass(frozen=True)
class Client:
    """A published package, and the script that makes its calls."""

    script: str
    requirements: Sequence[str]

    @property
    def package(self) -> str:
        return self.requirements[0].partition("=")[0]

    def gateway(self, subject: str) -> str:
        """One for each thing that the subject of its events may name."""
        return f"{self.package}: {subject}"


CLIENTS = (
    # Every release is yanked, so that only an exact pin installs.
    Client("revenium", ["revenium-metering==6.8.3"]),
    Client("hypercurrent", ["hypercurrent-metering==1.0.0"]),
    Client("revenium_sdk", ["revenium-python-sdk==0.12.0", "openai"]),
    Client("hypercurrent_middleware", ["hypercurrent-django==1.0.5", "Django<5"]),
    Client("openmeter_events", ["openmeter==1.0.0b236"]),  # only betas are published
    Client("cloudevents_http", ["cloudevents", "requests"]),
    Client("opentelemetry_logs", ["opentelemetry-exporter-otlp-proto-http"]),
)


@dataclass(frozen=True)
class Row:
    client: str
    call: str
    wrong: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="*", help="only these")
    packages = parser.parse_args().packages
    clients = [each for each in CLIENTS if not packages or each.package in packages]
    with temporary_directory() as directory, running_stack(Stack, directory, PROJECT) as stack:
        tokens = _seed(stack, clients)
        stack.serve()
        ledger = Ledger(stack.environment["MIGRATION_DATABASE_URL"], stack.url)
        rows = [row for client in clients for row in _rows(client, stack, ledger, tokens)]
    _print(rows)
    return 1 if any(row.wrong for row in rows) else 0


def _seed(stack: Stack, clients: Sequence[Client]) -> dict[str, str]:
    gateways = {
        client.gateway(subject): subject
        for client in clients
        for subject in ("key", "subscription")
    }
    script = (
        f"import json; from conformance.seeding import seed; print(json.dumps(seed({gateways!r})))"
    )
    tokens: dict[str, str] = json.loads(stack.manage("shell", "--no-imports", "--command", script))
    return tokens


def _rows(client: Client, stack: Stack, ledger: Ledger, tokens: Mapping[str, str]) -> Iterator[Row]:
    print(f"{client.package} …", file=sys.stderr)  # noqa: T201
    try:
        python = environment(client.requirements)
    except NotInstalled as error:
        yield Row(client.package, "pip install", str(error))
        return
    name = f"{client.package} {version(python, client.package)}"
    mine = {each: token for each, token in tokens.items() if each.startswith(client.gateway(""))}
    told, failure = _run(python, client, stack.url, mine)
    ledger.wait()
    receipts = ledger.receipts(mine)
    for each in told:
        yield Row(name, each.call, judged(each, receipts))
    yield Row(name, "nothing else", failure or left_over(receipts))
    yield Row(name, "no key, no token kept", _kept(stack, ledger, mine))


def _kept(stack: Stack, ledger: Ledger, tokens: Mapping[str, str]) -> str:
    """Where the database or a log has the key or a token, in whatever form."""
    secrets = [KEY, *(token.removeprefix("hak_") for token in tokens.values())]
    files = [path for path in stack.logs.iterdir() if path.is_file()]
    logs = "\n".join(path.read_text(errors="replace") for path in files)
    places = {line.partition(" ")[0] for line in ledger.lines_with(secrets)}
    places |= {"a log"} if leaks.hits(logs, secrets) else set()
    return f"in {', '.join(sorted(places))}" if places else ""


def _run(
    python: Path, client: Client, address: str, tokens: Mapping[str, str]
) -> tuple[list[Told], str]:
    """What its script told, and how it failed if it did not come to its end."""
    said = {
        "address": address,
        "token": tokens[client.gateway("key")],
        "token_of_subscriptions": tokens[client.gateway("subscription")],
        "key": KEY,
        "subscription": SUBSCRIPTION,
    }
    done = subprocess.run(  # noqa: S603
        [python, SCRIPTS / f"{client.script}.py"],
        env={**os.environ, "CONFORMANCE": json.dumps(said)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    told = [Told(**json.loads(line)) for line in done.stdout.splitlines()]
    return told, done.stderr.strip().rpartition("\n")[2] if done.returncode else ""


def _print(rows: Sequence[Row]) -> None:
    widths = [max(len(row.client) for row in rows), max(len(row.call) for row in rows)]
    for row in rows:
        result = row.wrong or "✓"
        print(f"{row.client:{widths[0]}}  {row.call:{widths[1]}}  {result}")  # noqa: T201
    good = sum(not row.wrong for row in rows)
    print(f"\n{good} of {len(rows)} as they should be.")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
