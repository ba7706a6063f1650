"""How fast lists of credentials are taken in: `python -m bench.uploads`.

Ours through the worker of uploads, and on the same stores django-import-export's bulk mode and
Django's `bulk_create`. While ours is applied, gateways post and an admin looks at pages.
"""

import csv
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from threading import Event, Thread

from xlsxwriter import Workbook

from bench import report
from bench.pages import Browser
from bench.rows import Load, Row, measure, warm_up
from bench.sizes import customers_of
from bench.stack import Bench, a_bench, arguments, say
from revcred.launcher.stack import STACK_START_SECONDS

CREDENTIALS = 100_000  # that are there before
ROWS = (100_000,)
BESIDE = 10_000  # rows for the others
HOUR = 3_600.0  # seconds, that one may take
GLANCE = 0.1
COLUMNS = ("customer", "name", "key", "secret", "subscription", "environment")
PAGE = "/admin/revcred/credential/"
POSTING = Load(name="beside", batch=1, seconds=15, rate=50)
LONG_WAIT = 0.5  # seconds
WAITS = """
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - l.waitstart)), 0)
FROM pg_locks l WHERE NOT l.granted
"""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to bring so many rows in. Seconds of the clock and of the processor, megabytes."""

    name: str
    rows: int
    seconds: float
    cpu: float  # of the process that does it
    database: float
    peak: float | None = None

    @property
    def of_100k(self) -> float:
        """Processor seconds of both for 100,000 rows."""
        return (self.cpu + self.database) * 100_000 / self.rows


@dataclass(frozen=True, kw_only=True)
class Others:
    """What those got who were there, too. Milliseconds; the longest wait for a lock in seconds."""

    name: str
    post_p99: float
    page: float
    longest_wait: float


def main() -> int:
    parser = arguments(__doc__)
    parser.set_defaults(credentials=CREDENTIALS)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--beside", type=int, default=BESIDE, help="rows for the other ways")
    options = parser.parse_args()
    with a_bench(options.credentials) as bench:
        warm_up(bench)
        browser = Browser(bench)
        others = [_others(bench, browser, "alone")]
        ways = [way for rows in options.rows for way in _ours(bench, rows, browser, others)]
        ways.append(_workbook(bench))
        ways += _theirs(bench, options.beside)
    _show(ways, others)
    report.keep(uploads={"ways": ways, "others": others})
    return 0


# --- Ours -----------------------------------------------------------------------------------------


def _ours(bench: Bench, rows: int, browser: Browser, others: list[Others]) -> Iterator[Way]:
    path = _a_list(bench, f"ours-{rows}", rows)
    before = bench.cpu()
    number, began = json.loads(bench.call("bench.listing.receive", str(path)))
    yield _phase(bench, "ours, preview", rows, before, began, _until(bench, number, "ready"))
    before = bench.cpu()
    began = json.loads(bench.call("bench.listing.apply", number))
    beside = Thread(target=lambda: others.append(_others(bench, browser, f"beside {rows:,}")))
    if rows > ROWS[0]:  # a short one is over before anything could be measured beside it
        beside.start()
    yield _phase(bench, "ours, apply", rows, before, began, _until(bench, number, "applied"))
    if beside.ident:
        beside.join()
    _check(bench, rows)


def _workbook(bench: Bench) -> Way:
    path = bench.logs / "workbook.xlsx"
    workbook = Workbook(path, {"constant_memory": True})
    sheet = workbook.add_worksheet()
    for number, row in enumerate(chain([COLUMNS], _rows(bench, "workbook", ROWS[0]))):
        sheet.write_row(number, 0, row)
    workbook.close()
    before = bench.cpu()
    number, began = json.loads(bench.call("bench.listing.receive", str(path)))
    is_ready = _until(bench, number, "ready")
    return _phase(bench, "ours, preview of XLSX", ROWS[0], before, began, is_ready)


def _a_list(bench: Bench, name: str, rows: int) -> Path:
    path = bench.logs / f"{name}.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(chain([COLUMNS], _rows(bench, name, rows)))
    return path


def _rows(bench: Bench, name: str, rows: int) -> Iterator[tuple[str, ...]]:
    customers = customers_of(bench.credentials)
    for each in range(rows):
        customer = 1 + each % customers
        yield (
            *(f"customer-{customer}", f"{name} {each}", f"key-of-{name}-{each:08}"),
            *(f"secret-of-{name}-{each:08}", f"subscription-{customer}", "production"),
        )


def _until(bench: Bench, number: int, state: str) -> Callable[[], bool]:
    def is_so() -> bool:
        now, error = bench.database.execute(
            "SELECT state, error FROM revcred_upload WHERE id = %s", [number]
        ).fetchone() or ("", "")
        if now == "failed":
            raise RuntimeError(error)
        return bool(now == state)

    return is_so


def _phase(  # noqa: PLR0917 - as it is said
    bench: Bench,
    name: str,
    rows: int,
    before: Mapping[str, float],
    began: float,
    is_over: Callable[[], bool],
) -> Way:
    """What it took from then on, until it is over."""
    while not is_over():
        if time.time() - began > HOUR:
            raise TimeoutError(name)
        time.sleep(GLANCE)
    seconds, spent = time.time() - began, _since(bench, before)
    say(f"{name}: {rows:,} rows in {seconds:.1f} s.")
    return Way(
        name=name,
        rows=rows,
        seconds=seconds,
        cpu=spent["uploads"],
        database=spent["database"],
        peak=_peak(bench),
    )


def _since(bench: Bench, before: Mapping[str, float]) -> dict[str, float]:
    return {name: after - before[name] for name, after in bench.cpu().items()}


def _peak(bench: Bench) -> float:
    """The most memory the worker of uploads has had, in megabytes."""
    status = Path(f"/proc/{bench.children['uploads'].process.pid}/status").read_text()
    line = next(each for each in status.splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _check(bench: Bench, rows: int) -> None:
    counted = bench.database.execute(
        "SELECT count(*) FROM revcred_credential WHERE starts_with(name, %s)", [f"ours-{rows} "]
    ).fetchone()
    made = counted[0] if counted else 0
    if made != rows:
        message = f"{made} credentials were made of {rows} rows."
        raise RuntimeError(message)


def _others(bench: Bench, browser: Browser, name: str) -> Others:
    """Gateways, an admin, and whoever waits for a lock."""
    pages: list[float] = []
    waits: list[float] = []
    over = Event()

    def look() -> None:
        while not over.wait(GLANCE):
            began = time.monotonic()
            browser.open(PAGE).read()
            pages.append(time.monotonic() - began)
            waits.append(float(bench.ask(WAITS)))

    looking = Thread(target=look)
    looking.start()
    row: Row = measure(bench, POSTING)
    over.set()
    looking.join(STACK_START_SECONDS)
    return Others(
        name=name,
        post_p99=1_000 * row.post_p99,
        page=1_000 * median(pages),
        longest_wait=max(waits),
    )


# --- Theirs ---------------------------------------------------------------------------------------


def _theirs(bench: Bench, rows: int) -> Iterator[Way]:
    for name, call, named in (
        ("bulk_create", "bulk_create", {}),
        ("import-export, preview", "import_export", {"dry_run": True}),
        ("import-export, save", "import_export", {"dry_run": False}),
    ):
        path = _a_list(bench, call.replace("_", "-"), rows)
        before = bench.cpu()
        said = bench.call(f"bench.listing.{call}", str(path), **named)
        seconds, spent = json.loads(said)
        database = _since(bench, before)["database"]
        yield Way(name=name, rows=rows, seconds=seconds, cpu=spent, database=database)
        say(f"{name}: {rows:,} rows in {seconds:.1f} s.")


def _show(ways: list[Way], others: list[Others]) -> None:
    say()
    report.table(
        ["", "rows", "seconds", "CPU s", "database's", "both, of 100,000", "peak MB"],
        [
            [
                *(each.name, f"{each.rows:,}", f"{each.seconds:.1f}", f"{each.cpu:.1f}"),
                *(f"{each.database:.1f}", f"{each.of_100k:.1f}"),
                f"{each.peak:.0f}" if each.peak else "",
            ]
            for each in ways
        ],
    )
    say(
        "\nimport-export writes the credential's own row alone, neither key nor secret nor what it"
        "\nfeeds; the others write all of it.\n"
    )
    report.table(
        ["", "POST p99 ms", "a list in the admin, ms", "longest wait for a lock, s"],
        [
            [each.name, f"{each.post_p99:.0f}", f"{each.page:.0f}", f"{each.longest_wait:.2f}"]
            for each in others
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
