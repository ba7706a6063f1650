"""What a modest gateway notices while others lean on it: `python -m bench.siege`.

The production shape: a server each for gateways, people and lists, behind a real nginx with
`deploy/nginx.conf`. One gateway posts a call ten times a second, first alone, then beside each
attack. An attack is something that anybody, or a gateway or a member of the staff, can do.
"""

import os
import re
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import quantiles
from threading import Event, Thread

from bench import report
from bench.load import Address, Drive, Plan, Sent
from bench.machine import describe
from bench.overload import ready_client
from bench.rows import Load, measure
from bench.stack import PROJECT, Bench, a_bench, arguments, say
from revcred.launcher.processes import Program
from revcred.launcher.programs import ProgramFactory
from revcred.launcher.stack import free_port
from revcred.launcher.web import WEB_HOST, is_answering

CREDENTIALS = 10_000
SECONDS = 20.0  # of each attack
RATE, CONNECTIONS = 10.0, 16  # of the modest gateway, one call a POST
GREED = 5
SERVERS = ("doors", "pages", "lists")
UNTROUBLED = 2  # times the p99 when it is alone
HONEST_SECONDS = 1.0  # within which 503 is said where PostgreSQL does not answer

Attack = Callable[["Fortress", Event], None]


@dataclass
class Fortress:
    """The production shape, and where one gets in."""

    bench: Bench
    ports: dict[str, int]
    nginx_port: int
    uploader: str  # the token of somebody who may bring lists
    processed_per_second: float

    def connect(self, port: int | None = None) -> socket.socket:
        return socket.create_connection((WEB_HOST, port or self.nginx_port), timeout=30)


@contextmanager
def fortress(bench: Bench) -> Iterator[Fortress]:
    """Start the servers and nginx, beside what the bench runs already."""
    full = measure(bench, Load(name="full", batch=100, seconds=10))
    programs = ProgramFactory(bench.environment, bench.project, logs=bench.logs)
    # As behind one proxy, which is here.
    programs = replace(
        programs,
        settings={
            **bench.environment,
            "TRUSTED_PROXIES": WEB_HOST,
            "ALLOWED_HOSTS": f"localhost,{WEB_HOST}",
        },
    )
    ports = {name: free_port() for name in SERVERS}
    for name, port in ports.items():
        program = programs.web(port, name)
        if name != "doors":
            # As the shares of the processor in `compose.yaml`: calls go first.
            program = replace(program, command=["nice", "-n", "10", *program.command])
        bench.begin(program)
    nginx_port = free_port()
    bench.begin(_nginx(bench.logs, nginx_port, ports))
    bench.wait_until(lambda: is_answering(f"http://{WEB_HOST}:{nginx_port}/healthz"))
    yield Fortress(
        bench=bench,
        ports=ports,
        nginx_port=nginx_port,
        uploader=bench.call("issue_uploader"),
        processed_per_second=full.attributed,
    )


def _nginx(directory: Path, port: int, ports: dict[str, int]) -> Program:
    """nginx with the configuration that operators get, but for addresses and files."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if binary is None:
        say("There is no nginx here. On Debian and Ubuntu: apt-get install nginx")
        sys.exit(1)
    home = directory / "nginx"
    home.mkdir()
    text = (PROJECT / "deploy" / "nginx.conf").read_text()
    for name, server_port in ports.items():
        text = text.replace(f"server {name}:8000 resolve", f"server {WEB_HOST}:{server_port}")
    text = text.replace("172.30.99.1", WEB_HOST)
    text = re.sub(r"\n +resolver .*", "", text)
    text = re.sub(r"(?<=[ ;])/tmp/", f"{home}/", text).replace("/dev/stderr", f"{home}/errors")
    text = text.replace("/dev/stdout", f"{home}/requests").replace("listen 8080", f"listen {port}")
    configuration = home / "nginx.conf"
    configuration.write_text("daemon off;\n" + text)
    return Program(
        name="nginx",
        command=[binary, "-c", str(configuration), "-e", f"{home}/errors"],
        environment={},
        log=directory / "nginx.log",
    )


# --- The attacks ----------------------------------------------------------------------------------


def nobody(_: Fortress, over: Event) -> None:
    over.wait()


def drip(port: int | None, head: str, count: int) -> Attack:
    """So many connections that send one byte of their body every two seconds."""

    def attack(here: Fortress, over: Event) -> None:
        said = head.format(uploader=here.uploader)
        request = f"{said}\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n".encode()
        if "uploads" not in head:
            request = request.replace(b"9000000", b"2000000")
        with ExitStack() as lines:
            opened: list[socket.socket] = []
            while not over.wait(2):
                # Those that were cut off come again.
                opened = [line for line in opened if _is_sent(line, b"a")]
                while len(opened) < count and not over.is_set():
                    with suppress(OSError):
                        line = lines.enter_context(here.connect(port or None))
                        line.sendall(request)
                        opened.append(line)

    return attack


def _is_sent(line: socket.socket, data: bytes) -> bool:
    try:
        line.sendall(data)
    except OSError:
        return False
    return True


def ask_again_and_again(request: Callable[[Fortress, int], bytes], count: int) -> Attack:
    """So many connections, each asking again as soon as it is answered."""

    def attack(here: Fortress, over: Event) -> None:
        def ask(number: int) -> None:
            while not over.is_set():
                with suppress(OSError), here.connect() as line:
                    line.sendall(request(here, number))
                    while line.recv(1 << 16):
                        pass

        threads = [Thread(target=ask, args=(number,), daemon=True) for number in range(count)]
        for thread in threads:
            thread.start()
        over.wait()
        for thread in threads:
            thread.join(35)

    return attack


def _sign_in(_: Fortress, number: int) -> bytes:
    # Django's CSRF check needs a cookie and a field of the same value, which anybody can make up.
    secret = "a" * 32
    body = f"csrfmiddlewaretoken={secret}&login=nobody{number}@x.example&password=wrong"
    return (
        "POST /account/login/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"X-Forwarded-For: 203.0.{number}.7\r\nCookie: csrftoken={secret}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _page(_: Fortress, number: int) -> bytes:
    return (
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"X-Forwarded-For: 203.0.{number}.7\r\nCookie: sessionid=anything{number}\r\n\r\n"
    ).encode()


def unknown_tokens(here: Fortress, over: Event) -> None:
    """64 connections with tokens of the right form that nobody was given."""
    tokens = here.bench.call("unknown_tokens", 2_000).split()

    def request(number: int) -> bytes:
        return Address("localhost", here.nginx_port, tokens[number % len(tokens)]).post(b"[]")

    while not over.is_set():
        Drive(Address(WEB_HOST, here.nginx_port, ""), request, connections=64, seconds=1).run()


def greedy_gateway(here: Fortress, over: Event) -> None:
    """Five times as much as is processed, of a gateway that does not listen."""
    plan = _plan(here, "Greedy", batch=100, connections=32)
    plan = replace(plan, rate=GREED * here.processed_per_second / 100)
    with ready_client(plan) as client:
        client.send(None)
        client.recv()
    over.wait()


@dataclass(frozen=True)
class Trial:
    """One attack. `frozen`: while PostgreSQL does not answer."""

    name: str
    attack: Attack
    frozen: bool = False


UPLOAD_HEAD = (
    "POST /v1/uploads?kind=credentials HTTP/1.1\r\nContent-Type: text/csv\r\n"
    "Authorization: Bearer {uploader}"
)
FORM_HEAD = "POST /account/login/ HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded"
TRIALS = (
    Trial("nobody", nobody),
    Trial("9 dripping lists of a member of the staff", drip(None, UPLOAD_HEAD, 9)),
    Trial("40 slow forms", drip(None, FORM_HEAD, 40)),
    Trial("20 sign-ins at a time from 20 addresses", ask_again_and_again(_sign_in, 20)),
    Trial("40 pages at a time", ask_again_and_again(_page, 40)),
    Trial("64 connections with unknown tokens", unknown_tokens),
    Trial("a gateway with five times too much", greedy_gateway),
    Trial("PostgreSQL frozen", nobody, frozen=True),
    Trial("PostgreSQL frozen, 40 pages at a time", ask_again_and_again(_page, 40), frozen=True),
)


# --- What the gateway notices ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Noticed:
    """What the modest gateway noticed. Times in seconds."""

    attack: str
    p50: float
    p99: float
    worst: float
    answers: dict[int, int]
    is_held: bool


def main() -> int:
    parser = arguments(__doc__)
    parser.set_defaults(credentials=CREDENTIALS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each attack")
    parser.add_argument("--only", default="", help="attacks whose name has this in it")
    options = parser.parse_args()
    load_average = os.getloadavg()
    noticed: list[Noticed] = []
    with a_bench(options.credentials) as bench, fortress(bench) as here:
        report.about(describe(bench, load_average), options.credentials)
        for trial in TRIALS:
            if trial is TRIALS[0] or options.only in trial.name:
                idle = noticed[0].p99 if noticed else 0.0
                noticed.append(_try(here, trial, options.seconds, idle))
                say(f"{trial.name}: p99 {noticed[-1].p99 * 1e3:,.1f} ms")
    _show(noticed)
    report.keep(siege=noticed)
    return 0 if all(each.is_held for each in noticed) else 1


def _try(here: Fortress, trial: Trial, seconds: float, idle: float) -> Noticed:
    over = Event()
    attack = Thread(target=trial.attack, args=(here, over), daemon=True)
    plan = replace(_plan(here, "Modest", batch=1, connections=CONNECTIONS), seconds=seconds)
    frozen = here.bench.frozen("database") if trial.frozen else nullcontext()
    with ready_client(plan) as client:
        with frozen:
            attack.start()
            time.sleep(2)  # until it has come up
            client.send(None)
            heard: list[Sent] = client.recv().sent
        over.set()
        attack.join(60)
    here.bench.wait_until_processed()
    hundredths = quantiles((each.seconds for each in heard), n=100, method="inclusive")
    answers = Counter(each.status for each in heard)
    if trial.frozen:
        worst = max(each.seconds for each in heard)
        is_held = set(answers) == {503} and worst <= HONEST_SECONDS
        is_held = is_held and all(each.retry_after for each in heard)
    else:
        is_held = set(answers) == {202} and (not idle or hundredths[98] <= UNTROUBLED * idle)
    return Noticed(
        attack=trial.name,
        p50=hundredths[49],
        p99=hundredths[98],
        worst=max(each.seconds for each in heard),
        answers=dict(answers),
        is_held=is_held,
    )


def _plan(here: Fortress, name: str, *, batch: int, connections: int) -> Plan:
    name = f"{name} {time.monotonic_ns()}"  # one gateway more for each attack
    return Plan(
        address=Address(WEB_HOST, here.nginx_port, here.bench.call("issue", name)),
        prefix=name.lower().replace(" ", "-"),
        batch=batch,
        connections=connections,
        seconds=SECONDS,
        credentials=here.bench.credentials,
        most_waiting=0,  # it sends at a rate
        record=None,
        rate=RATE,
    )


def _show(noticed: list[Noticed]) -> None:
    say()
    idle = noticed[0].p99
    report.table(
        [
            "beside the modest gateway",
            "p50 ms",
            "p99 ms",
            "times idle",
            "worst ms",
            "answers",
            "held",
        ],
        [
            [
                each.attack,
                *(f"{each.p50 * 1e3:,.1f}", f"{each.p99 * 1e3:,.1f}"),
                *(f"{each.p99 / idle:,.1f}", f"{each.worst * 1e3:,.1f}"),
                ", ".join(
                    f"{count:,} of {status}" for status, count in sorted(each.answers.items())
                ),
                "yes" if each.is_held else "NO",
            ]
            for each in noticed
        ],
    )
    say(
        f"\nHeld: all accepted, p99 at most {UNTROUBLED} times that of the first line; where"
        f" PostgreSQL is frozen, 503 with Retry-After within {HONEST_SECONDS:.0f} s. All processes"
        " and the attackers share the cores of this machine."
    )


if __name__ == "__main__":
    sys.exit(main())
