"""Everything started and seeded, and the questions a benchmark asks of it."""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg

from bench import cpu
from bench.load import Address
from revcred.launcher.processes import Program
from revcred.launcher.stack import Stack, running_stack
from revcred.launcher.temporary import temporary_directory
from revcred.launcher.web import WEB_HOST

PROJECT = Path(__file__).resolve().parent.parent
CREDENTIALS, SECONDS = 1_000_000, 20.0
GIGABYTE = 1 << 30

# Of a client's own process, which shares nothing with us.
PROCESSES = multiprocessing.get_context("spawn")

SENT = """
CREATE UNLOGGED TABLE bench_sent (transaction_id text, known int, answered_at float8)
"""


@dataclass
class Bench(Stack):
    """The stack under measurement."""

    credentials: int = 0
    token: str = ""

    @cached_property
    def database(self) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(self.environment["MIGRATION_DATABASE_URL"], autocommit=True)

    @property
    def address(self) -> Address:
        return Address(WEB_HOST, self.port, self.token)

    def ask(self, question: str) -> Any:
        """The first column of the first row."""
        row = self.database.execute(question.encode()).fetchone()
        return row[0] if row else None

    def seed(self, *, overlaps: bool) -> None:
        self.token = self.call("seed", self.credentials, overlaps=overlaps)
        self.database.execute(SENT)

    def call(self, name: str, *arguments: object, **named: object) -> str:
        """The last line a function of bench.seeding or, by its full name, of another prints.

        It runs where the application is configured.
        """
        module, _, function = name.rpartition(".")
        said = [*map(repr, arguments), *(f"{key}={value!r}" for key, value in named.items())]
        script = (
            f"from {module or 'bench.seeding'} import {function}; {function}({', '.join(said)})"
        )
        as_owner = {"DATABASE_URL": self.environment["MIGRATION_DATABASE_URL"]}
        return self.manage("shell", "--no-imports", "--command", script, settings=as_owner)

    def begin(self, program: Program) -> None:
        self._begin(program)

    def cpu(self) -> dict[str, float]:
        """By process."""
        return cpu.seconds(self.children)

    def processed(self) -> int:
        """Transactions that are out of the inbox, by the tally that processing keeps: cheap."""
        return int(self.ask("SELECT coalesce(sum(accepted), 0) FROM metering_intakestats"))

    def waiting(self) -> int:
        return int(self.ask("SELECT coalesce(sum(transactions), 0) FROM metering_delivery"))

    def wait_until_processed(self) -> None:
        self.wait_until(lambda: self.waiting() == 0)


@contextmanager
def a_bench(credentials: int, *, overlaps: bool = True) -> Iterator[Bench]:
    """Started, seeded and serving. Without what forbids overlaps, if it is to be large soon."""
    began = time.monotonic()
    with (
        temporary_directory() as directory,
        running_stack(Bench, directory, PROJECT, settings=tuned()) as it,
    ):
        it.credentials = credentials
        it.seed(overlaps=overlaps)
        say(f"{credentials:,} credentials seeded after {time.monotonic() - began:.0f} s.")
        it.serve()
        yield it


def tuned() -> dict[str, str]:
    """As an operator would set PostgreSQL for this machine. Durability is as it comes: on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "shared_buffers": f"{min(4 * GIGABYTE, memory // 4) >> 20}MB",
        "max_wal_size": "16GB",
        # A page that is changed for the first time after a checkpoint is logged whole.
        "checkpoint_timeout": "30min",
        "track_commit_timestamp": "on",
    }


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--credentials", type=int, default=CREDENTIALS)
    return parser


def say(text: str = "") -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
