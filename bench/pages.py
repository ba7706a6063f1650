"""How long the admin's lists take on a large customer base: `python -m bench.pages`."""

import http.client
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from urllib.parse import urlencode

from bench import report
from bench.rows import Load, measure
from bench.stack import Bench, a_bench, arguments, say
from bench.traffic import key
from revcred.launcher.web import WEB_HOST

TIMES = 5
GOAL = 0.3  # seconds
TRAFFIC = Load(name="pages", batch=100, seconds=20, rate=1_000)

LISTS = (
    *("revcred/credential", "revcred/customer", "revcred/subscription", "revcred/product"),
    *("revcred/source", "revcred/subscriber", "revcred/membership", "revcred/gateway"),
    *("revcred/auditevent", "revcred/user", "auth/group"),
    *("metering/transaction", "metering/usage", "metering/quarantined", "metering/delivery"),
    *("metering/claim", "metering/conflict", "metering/intakestats"),
)
CREDENTIALS = "/admin/revcred/credential/"


@dataclass(frozen=True)
class Page:
    name: str
    status: int
    size: int
    median: float
    worst: float  # the first, with nothing in any cache, is among them
    goal: float = GOAL


class Browser:
    """A person with one connection and no more of a browser than cookies.

    `owned`: the customer that the person owns; None is a superuser.
    """

    def __init__(self, bench: Bench, *, owned: int | None = None) -> None:
        self.line = http.client.HTTPConnection(WEB_HOST, bench.port, timeout=60)
        self.csrf = "b" * 32
        is_staff = owned is None
        self.session = bench.call("sign_in") if is_staff else bench.call("sign_in_owner", owned)
        self.token = bench.token  # for the doors of gateways, which know no session

    def open(self, path: str, **form: str) -> http.client.HTTPResponse:
        """A form is posted, without one it is asked for; redirects are followed."""
        headers = {
            "cookie": f"sessionid={self.session}; csrftoken={self.csrf}",
            "authorization": f"Bearer {self.token}",
            "accept-encoding": "gzip",
        }
        body = None
        if form:
            body = urlencode(form | {"csrfmiddlewaretoken": self.csrf})
            headers["content-type"] = "application/x-www-form-urlencoded"
        try:
            answer = self._ask(path, body, headers)
        except http.client.RemoteDisconnected:  # nothing was asked for a while
            self.line.close()
            answer = self._ask(path, body, headers)
        if where := answer.getheader("location"):
            answer.read()
            return self.open(where)
        return answer

    def _ask(
        self, path: str, body: str | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        self.line.request("GET" if body is None else "POST", path, body, headers)
        return self.line.getresponse()


def main() -> int:
    options = arguments(__doc__).parse_args()
    with a_bench(options.credentials) as bench:
        measure(bench, TRAFFIC)
        pages = list(_pages(Browser(bench), options.credentials))
    show(pages)
    return 0 if all(page.status == http.client.OK for page in pages) else 1


def _pages(browser: Browser, credentials: int) -> Iterator[Page]:
    yield timed(browser, "overview", "/admin/")
    for name in LISTS:
        yield timed(browser, name, f"/admin/{name}/")
    some = key(credentials // 2)
    found = f"{CREDENTIALS}find/"
    yield timed(browser, "find: a whole key", found, term=some)
    yield timed(browser, "find: a key nobody has", found, term="nobody-has-this-key")
    yield timed(browser, "find: last four characters", found, term=some[-4:])
    yield timed(browser, "find: a customer's name", found, term="Customer 7")
    yield timed(browser, "find: a credential's name", found, term="Credential 4711")
    yield timed(browser, "one credential", f"{CREDENTIALS}{credentials // 2}/change/")
    yield timed(browser, "one customer's credentials", f"{CREDENTIALS}?customer=7")
    yield timed(browser, "a page far back", f"{CREDENTIALS}?p=90")


def timed(browser: Browser, name: str, path: str, **form: str) -> Page:
    return timed_all(browser, name, [path] * TIMES, form=form)


def timed_all(
    browser: Browser,
    name: str,
    paths: Sequence[str],
    *,
    goal: float = GOAL,
    form: Mapping[str, str] | None = None,
) -> Page:
    """One figure for several pages of a kind."""
    browser.line.close()  # it may have been idle for too long
    seconds, statuses = [], set()
    for path in paths:
        began = time.perf_counter()
        answer = browser.open(path, **(form or {}))
        text = answer.read()
        seconds.append(time.perf_counter() - began)
        statuses.add(answer.status)
    return Page(name, max(statuses), len(text), median(seconds), max(seconds), goal)


def show(pages: list[Page]) -> None:
    say()
    report.table(
        ["page", "status", "KB", "median ms", "worst ms", "goal ms", ""],
        [
            [
                *(page.name, str(page.status), f"{page.size / 1e3:,.0f}"),
                *(f"{page.median * 1e3:,.0f}", f"{page.worst * 1e3:,.0f}"),
                *(f"{page.goal * 1e3:.0f}", "reached" if page.median <= page.goal else "MISSED"),
            ]
            for page in pages
        ],
    )
    say(
        f"\nMedian and worst, of {TIMES} where nothing else is said, through web, with a redirect"
        " where a search leads to one."
    )


if __name__ == "__main__":
    sys.exit(main())
