"""The textbook way (`bench/textbook/`) on the same stores, with the same credentials and clients.

It has web and worker processes of its own, started as ours are. Ours stand by, with nothing to do.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bench.rows import Load, Row, plan_of, row_of, watch
from bench.stack import Bench, say
from revcred.launcher.processes import Program
from revcred.launcher.programs import ProgramFactory
from revcred.launcher.stack import free_port
from revcred.launcher.web import is_answering

BATCHES = (1, 100)
SECONDS = 15.0
MAX_BACKLOG = {1: 100, 100: 300}  # seconds' worth, where it processes some fifty a second
INSTEAD = {
    "revcred": "bench.textbook",
    "revcred.wsgi:application": "bench.textbook.wsgi:application",
}
# By the names of our own processes, so that they stand in the same columns. It has no clock.
WEB, WORKER = "textbook-web", "textbook-worker"


@dataclass(frozen=True)
class Textbook:
    """The yardstick under measurement."""

    bench: Bench

    def cpu(self) -> dict[str, float]:
        spent = self.bench.cpu()
        stores = {name: spent[name] for name in ("database", "broker")}
        return {"web": spent[WEB], "worker": spent[WORKER], "clock": 0.0} | stores

    def processed(self) -> int:
        return int(self.bench.ask("SELECT count(*) FROM textbook_call WHERE processed"))

    def wait_until_processed(self) -> None:
        waiting = "SELECT count(*) FROM textbook_call WHERE NOT processed"
        self.bench.wait_until(lambda: self.bench.ask(waiting) == 0)


def textbook(bench: Bench, seconds: float) -> list[Row]:
    port = _serve(bench)
    return list(_rows(bench, port, min(seconds, SECONDS)))


def _rows(bench: Bench, port: int, seconds: float) -> Iterator[Row]:
    for batch in BATCHES:
        load = Load(name="textbook", batch=batch, seconds=seconds)
        plan = replace(
            plan_of(bench, load),
            address=replace(bench.address, port=port),
            most_waiting=MAX_BACKLOG[batch],
        )
        row = row_of(load, plan, watch(plan, Textbook(bench)), (None, None))
        say(f"The textbook way, {batch:,} a POST: {row.attributed:,.0f} a second.")
        yield row


def _serve(bench: Bench) -> int:
    settings = {
        **bench.environment,
        "DJANGO_SETTINGS_MODULE": "bench.textbook.settings",
        "DATABASE_URL": bench.environment["MIGRATION_DATABASE_URL"],  # makes its own tables
    }
    programs = ProgramFactory(settings, bench.project, logs=bench.logs)
    tables = [sys.executable, "-m", "bench.textbook.tables"]
    made = replace(programs.manage("tables"), command=tables)
    bench.supervisor.run_to_end(made, log=bench.logs / "textbook-tables")
    port = free_port()
    for name, program in ((WEB, programs.web(port)), (WORKER, programs.worker())):
        bench.begin(_instead(program, name, bench))
    healthy = f"http://{bench.address.host}:{port}/healthz"
    bench.supervisor.wait_until(lambda: is_answering(healthy), bench.children[WEB])
    return port


def _instead(program: Program, name: str, bench: Bench) -> Program:
    command = [INSTEAD.get(part, part) for part in program.command]
    return replace(program, name=name, command=command, log=bench.logs / name)
