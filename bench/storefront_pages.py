"""How long the storefront's pages take for a large customer: `make bench-pages`.

One customer with 1,000 credentials, 60 subscriptions and usage of 50,000,000 transactions in 90
days, which PostgreSQL writes itself, hour by hour.
"""

import gzip
import http.client
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import quantiles

from bench import report
from bench.pages import Browser
from bench.stack import Bench, a_bench, arguments, say

CREDENTIALS, SUBSCRIPTIONS, TRANSACTIONS, DAYS = 1_000, 60, 50_000_000, 90
CUSTOMER = 1  # of what bench.seeding makes
LEDGER_ROWS, QUARANTINE_ROWS = 200_000, 5_000  # of the last days
WARMING, TIMES = 3, 20  # requests
GOAL_SECONDS, GOAL_BYTES = 0.2, 60_000

# All credentials go to this customer, and to one of its subscriptions each.
ONE_CUSTOMER = """
SET session_replication_role = replica;
INSERT INTO revcred_subscription
    (active_from, external_key, name, created_at, customer_id, product_id, quota)
SELECT '2024-01-01T00:00Z', 'large-' || n, 'Large ' || n, now(), {customer}, 1 + n % 10, 5000000
FROM generate_series(1, {subscriptions}) n;
CREATE TABLE bench_sub AS
SELECT id, row_number() OVER (ORDER BY id) - 1 AS n
FROM revcred_subscription WHERE external_key LIKE 'large-%';
UPDATE revcred_credential SET customer_id = {customer};
UPDATE revcred_assignment a SET customer_id = {customer}, subscription_id = s.id
FROM bench_sub s WHERE s.n = a.credential_id % {subscriptions};
SET session_replication_role = origin;
"""
# The same number of calls in each of a credential's hours, and a second element.
USAGE = """
INSERT INTO metering_usage (
    hour, subscription_id, credential_id, customer_id, product_id, element, count, quantity
)
SELECT
    date_trunc('hour', now(), 'UTC') - h * interval '1 hour', s.id, c.id, {customer}, 1, e.element,
    {calls}, {calls} * e.each
FROM generate_series(0, {days} * 24 - 1) h
CROSS JOIN revcred_credential c
JOIN bench_sub s ON s.n = c.id % {subscriptions}
CROSS JOIN (VALUES ('calls', 1), ('tokens', 731)) e (element, each)
"""
LEDGER = """
INSERT INTO metering_transaction (
    id, gateway_id, transaction_id, occurred_at, received_at, subscription_named, source_named,
    method, path, status, latency_ms, elements, attributed_at, matched_by, external_key_id,
    credential_id, subscription_id, customer_id, product_id, sign
)
SELECT
    time_ordered_id(), (SELECT min(id) FROM revcred_gateway), 'large-' || calls.n, at, at, '', '',
    'GET', '/v1/routes/' || calls.n % 1000, 200, 12.5, '{{"calls": 1, "tokens": 731}}', at, 'key',
    c.id, c.id, s.id, {customer}, 1, 1
FROM (SELECT n, now() - n * interval '1 second' AS at FROM generate_series(1, {rows}) n) calls
JOIN revcred_credential c ON c.id = 1 + calls.n % {credentials}
JOIN bench_sub s ON s.n = c.id % {subscriptions}
"""
# The ledger holds the last days only: sums by gateway of the days before are made of those by day.
GATEWAY_DAYS = """
DELETE FROM metering_dailygatewayusage;
INSERT INTO metering_dailygatewayusage (
    day, subscription_id, credential_id, customer_id, gateway_id, element, quantity
)
SELECT
    day, subscription_id, credential_id, customer_id, (SELECT min(id) FROM revcred_gateway),
    element, quantity
FROM metering_dailyusage
"""
QUARANTINE = """
INSERT INTO metering_quarantined (
    id, gateway_id, transaction_id, occurred_at, received_at, subscription_named, source_named,
    method, path, elements, fingerprint, hint, reason, quarantined_at, error, released_by,
    release_note
)
SELECT
    time_ordered_id(), (SELECT min(id) FROM revcred_gateway), 'open-' || n,
    now() - n * interval '1 minute', now(), '', '', 'GET', '/v1', '{{"calls": 1}}', k.fingerprint,
    k.hint, 'no_subscription', now(), '', '', ''
FROM generate_series(1, {rows}) n
JOIN revcred_externalkey k ON k.id = 1 + n * 7 % {credentials}
"""


@dataclass(frozen=True)
class Timed:
    """A page's times in seconds, and its size in bytes as it was sent and unpacked."""

    name: str
    status: int
    p50: float
    p95: float
    sent: int
    unpacked: int

    @property
    def holds(self) -> bool:
        is_quick = self.p95 <= GOAL_SECONDS and self.sent <= GOAL_BYTES
        return is_quick and self.status == http.client.OK


def main() -> int:
    parser = arguments(__doc__)
    parser.set_defaults(credentials=CREDENTIALS)
    parser.add_argument("--transactions", type=int, default=TRANSACTIONS)
    options = parser.parse_args()
    with a_bench(options.credentials) as bench:
        fill(bench, options.transactions)
        pages = [timed(*page) for page in _pages(bench)]
    report.table(
        ["page", "status", "p50 ms", "p95 ms", "kB sent", "kB", ""],
        [
            [
                *(page.name, str(page.status), f"{page.p50 * 1e3:,.0f}", f"{page.p95 * 1e3:,.0f}"),
                *(f"{page.sent / 1e3:,.1f}", f"{page.unpacked / 1e3:,.0f}"),
                "reached" if page.holds else "MISSED",
            ]
            for page in pages
        ],
    )
    say(
        f"\nOf {TIMES} requests after {WARMING}. Goals: {GOAL_SECONDS * 1e3:.0f} ms,"
        f" {GOAL_BYTES / 1e3:.0f} kB."
    )
    return 0 if all(page.holds for page in pages) else 1


def fill(bench: Bench, transactions: int) -> None:
    """Give the one customer everything, and sum up the days that are over."""
    began = time.monotonic()
    sizes = {
        "customer": CUSTOMER,
        "subscriptions": SUBSCRIPTIONS,
        "credentials": bench.credentials,
        "days": DAYS,
        "calls": max(1, transactions // (bench.credentials * DAYS * 24)),
    }
    database = bench.database
    database.execute("SET statement_timeout = 0")
    database.execute(ONE_CUSTOMER.format(**sizes).encode())
    database.execute(USAGE.format(**sizes).encode())
    database.execute(LEDGER.format(**sizes, rows=LEDGER_ROWS).encode())
    database.execute(QUARANTINE.format(**sizes, rows=QUARANTINE_ROWS).encode())
    bench.call("bench.in_process.sum_up_days")
    database.execute(GATEWAY_DAYS.encode())
    database.execute("VACUUM ANALYZE")
    calls = bench.ask("SELECT sum(count) FROM metering_usage WHERE element = 'calls'")
    say(f"{calls:,} transactions of one customer after {time.monotonic() - began:.0f} s.")


def _pages(bench: Bench) -> Iterator[tuple[Browser, str, str]]:
    browser = Browser(bench, owned=CUSTOMER)
    subscription = bench.ask("SELECT min(id) FROM bench_sub")
    credential = bench.credentials // 2
    call = bench.ask("SELECT id FROM metering_transaction LIMIT 1")
    one, other = f"/subscriptions/{subscription}/", f"/credentials/{credential}/"
    for name, path in (
        ("home", "/"),
        ("subscriptions", "/subscriptions/"),
        ("subscription, month", one),
        ("subscription, day", f"{one}?span=day"),
        ("subscription, year", f"{one}?span=year"),
        ("credentials", "/credentials/"),
        ("credentials, page 20", "/credentials/?page=20"),
        ("credential", other),
        ("credential, year", f"{other}?span=year"),
        ("usage, month", "/usage/"),
        ("usage, year by credential", "/usage/?span=year&by=credential"),
        ("usage, by element", "/usage/?by=element"),
        ("usage, month by gateway", "/usage/?by=gateway"),
        ("usage, year by gateway", "/usage/?span=year&by=gateway"),
        ("usage, day by gateway", "/usage/?span=day&by=gateway"),
        ("calls", "/calls/"),
        ("calls, not counted", "/calls/?show=uncounted"),
        ("calls of a credential", f"/calls/?credential={credential}"),
        ("receipt", f"/transactions/{call}/"),
        ("team", "/team/"),
        ("holders", "/team/holders/"),
    ):
        yield browser, name, path


def timed(browser: Browser, name: str, path: str) -> Timed:
    """Ask for a page again and again, with nothing else going on."""
    seconds = []
    for n in range(WARMING + TIMES):
        began = time.perf_counter()
        answer = browser.open(path)
        body = answer.read()
        if n >= WARMING:
            seconds.append(time.perf_counter() - began)
    is_packed = answer.getheader("content-encoding") == "gzip"
    unpacked = len(gzip.decompress(body)) if is_packed else len(body)
    cuts = quantiles(seconds, n=20)
    return Timed(name, answer.status, cuts[9], cuts[18], len(body), unpacked)


if __name__ == "__main__":
    sys.exit(main())
