"""`make gateways`: our recipes in real gateways, each call, what became of it, and its metering."""

import argparse
import json
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path

import psycopg

from conformance import leaks
from conformance.environments import PROJECT, NotInstalled
from conformance.gateways import digests, faults, recipes, upstream
from conformance.gateways.callers import CUSTOMER, LEAVING_KEY, Key, credential_name
from conformance.gateways.cases import (
    CASES,
    FORGED_LINES,
    WALKS,
    Call,
    Case,
    Outcome,
    make_call,
    wrong_owner,
    wrong_unasked,
    wrong_walk,
)
from conformance.gateways.recipes import NotHere, Places, Recipe
from deploy.backends.claim import ClaimChecker, InvalidClaim
from revcred.launcher.processes import ChildProcess
from revcred.launcher.stack import Stack, free_port, running_stack
from revcred.launcher.temporary import temporary_directory

READY_SECONDS = 60.0
FELT_SECONDS = 1.0  # within which a revocation has to be felt
REVOKE = """
UPDATE revcred_credential SET revoked_at = clock_timestamp(), revocation_reason = 'lost'
WHERE name = %s
"""
PARTS = ("checks", "metering")
AWAY = Call(key=Key.GOOD, headers=FORGED_LINES)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table. `wrong` is empty where it is as it should be."""

    gateway: str
    case: str
    outcome: str
    wrong: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A gateway that runs twice: one fails closed, and one open, if it asks revcred at all."""

    recipe: Recipe
    closed: Places
    open: Places | None
    child: ChildProcess  # of the one that fails closed

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def directories(self) -> list[Path]:
        return [places.directory for places in (self.closed, self.open) if places]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only these gateways")
    parser.add_argument("--short", action="store_true", help="fewer, and without revcred away")
    parser.add_argument("--part", choices=PARTS, help="only the checks of calls, or the metering")
    options = parser.parse_args()
    names = {name.lower() for name in options.names}
    wanted = [
        each
        for each in recipes.ALL
        if (each.name.lower() in names if names else not (options.short and each.only_long))
    ]
    began = time.monotonic()
    rows = list(_run(wanted, is_short=options.short, asked=options.part))
    _print(rows, time.monotonic() - began)
    return 1 if any(row.wrong for row in rows) else 0


def _run(wanted: Sequence[Recipe], *, is_short: bool, asked: str | None) -> Iterator[Row]:
    with (
        temporary_directory() as directory,
        running_stack(Stack, directory, PROJECT) as stack,
        upstream.serving(upstream.Echo) as backend_port,
    ):
        stack.environment = {
            **stack.environment,
            "PUBLIC_URL": stack.url,  # the issuer of claims
            "EXPORT_KEY": secrets.token_hex(16),
        }
        tokens = _seed(stack, [each.name for each in wanted])
        stack.serve()
        pairs = _start(wanted, stack, directory, backend_port, tokens)
        if asked != "checks":
            yield from _metering(pairs, stack, is_short=is_short)
        if asked != "metering":
            _use_up_quota(stack, tokens["metering"])
            # Beside one another: each waits for its gateway most of the time.
            with ThreadPoolExecutor(max(1, len(pairs))) as pool:
                for rows in pool.map(partial(_all_cases, stack=stack), pairs):
                    yield from rows
            if not is_short:
                yield from _without_revcred([pair for pair in pairs if pair.recipe.asks], stack)
        for pair in pairs:
            if not pair.recipe.log_has_keys:
                yield _logs(pair.name, pair.directories, tokens)
        yield _logs("revcred", [stack.logs], tokens)


def _seed(stack: Stack, names: Sequence[str]) -> dict[str, str]:
    script = (
        "import json; from conformance.gateways.seeding import seed;"
        f" print(json.dumps(seed({names!r})))"
    )
    tokens: dict[str, str] = json.loads(stack.manage("shell", "--no-imports", "--command", script))
    return tokens


def _start(
    wanted: Sequence[Recipe],
    stack: Stack,
    directory: Path,
    backend_port: int,
    tokens: dict[str, str],
) -> list[Pair]:
    """Start the gateways that can be had, all before one is waited for, and say which cannot."""
    pairs: list[Pair] = []
    started: list[tuple[Places, ChildProcess]] = []
    for recipe in wanted:
        both = [
            Places(
                directory=directory / f"{recipe.name}-{'open' if fails_open else 'closed'}",
                port=free_port(),
                asking_port=free_port(),
                revcred_port=stack.port,
                backend_port=backend_port,
                token=tokens[recipe.name],
                fails_open=fails_open,
                export_key=stack.environment["EXPORT_KEY"],
                beacon_port=free_port(),
            )
            for fails_open in ((False, True) if recipe.asks else (False,))
        ]
        try:
            programs = [recipe.program(places) for places in both]
            if recipe.has_digests:
                digests.write_map(both[0])
            children = [stack.supervisor.start(program) for program in programs]
        except (NotHere, NotInstalled) as error:
            _say(f"{recipe.name} was not tried: {error}")
            continue
        started += zip(both, children, strict=True)
        opened = both[1] if recipe.asks else None
        pairs.append(Pair(recipe=recipe, closed=both[0], open=opened, child=children[0]))
    for places, child in started:
        is_open = partial(_is_open, places)
        stack.supervisor.wait_until(is_open, child, max_seconds=READY_SECONDS)
    return pairs


def _is_open(places: Places) -> bool:
    return make_call(places.port, Call(key=Key.GOOD)).status == HTTPStatus.OK


def _metering(pairs: Sequence[Pair], stack: Stack, *, is_short: bool) -> Iterator[Row]:
    """Make calls while logs are rotated, gateways restarted, agents killed and revcred is away."""
    plan = faults.SHORT if is_short else faults.LONG
    gateways = [(pair.recipe, pair.closed, pair.child) for pair in pairs]
    results = faults.run(gateways, stack, plan)
    _say("\n".join(["", *faults.table_of(results), ""]))
    for pair in pairs:
        own = [result for result in results if result.gateway == pair.name]
        lost, doubled, wrong = (
            sum(getattr(result, name) for result in own) for name in ("lost", "doubled", "wrong")
        )
        told = f"{lost} lost, {doubled} doubled, {wrong} to the wrong customer"
        yield Row(
            gateway=pair.name,
            case=f"{sum(result.calls for result in own):,} calls metered, {len(own)} phases",
            outcome=f"{lost} / {doubled} / {wrong}",
            wrong="" if own and all(result.is_good for result in own) else told,
        )
    logs = [*stack.logs.glob("*.log"), *stack.logs.glob("agent-of-*/*.log")]
    found = faults.keys_found(stack, logs)
    yield Row(
        gateway="revcred",
        case="no key in any table or log of ours",
        outcome=f"{len(logs)} logs",
        wrong=f"{len(found)} of them are there" if found else "",
    )


def _use_up_quota(stack: Stack, token: str) -> None:
    """Report a call of the subscription that includes one, and wait until it counts."""
    headers = (("Authorization", f"Bearer {token}"), ("Content-Type", "application/json"))
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    body = {"transaction_id": "the-only-one", "occurred_at": moment, "key": Key.EXHAUSTED}
    body |= {"source": "maps"}

    def ask(path: str, data: object) -> Outcome:
        text = json.dumps(data).encode()
        return make_call(stack.port, Call(path=path, method="POST", headers=headers, body=text))

    ask("/v1/transactions", body)

    def is_used() -> bool:
        question = {"key": Key.EXHAUSTED, "source": "maps"}
        answer = ask("/v1/verify", question).seen or {}
        return bool(answer.get("quota") and answer["quota"][0]["used"])

    stack.wait_until(is_used)


def _all_cases(pair: Pair, *, stack: Stack) -> list[Row]:
    if pair.recipe.has_digests:
        return list(_cases_of_digests(pair, stack))
    if not pair.recipe.asks:
        return []
    return [*_cases(pair), _claim(pair, stack), _revocation(pair, stack)]


def _cases(pair: Pair) -> Iterator[Row]:
    for case in CASES:
        yield _row(pair, case)
    for path in WALKS:
        outcome = make_call(pair.closed.port, Call(key=Key.GOOD, path=path))
        yield Row(
            gateway=pair.name, case=path, outcome=str(outcome.status), wrong=wrong_walk(outcome)
        )


def _cases_of_digests(pair: Pair, stack: Stack) -> Iterator[Row]:
    for case in digests.CASES:
        yield _row(pair, case)
    key = LEAVING_KEY.format(pair.name)
    before = make_call(pair.closed.port, Call(key=key)).status
    program = pair.recipe.program_command(pair.closed)
    with digests.kept_up(pair.closed, [*program, "-s", "reload"]):
        seconds = digests.seconds_until_refused(pair.closed, key, lambda: _revoke(key, stack))
    status = make_call(pair.closed.port, Call(key=key)).status
    is_felt = (before, status) == (200, 401) and seconds <= digests.FELT_SECONDS
    yield Row(
        gateway=pair.name,
        case="revoked just now",
        outcome=f"{before}, {status} after {seconds * 1e3:.0f} ms",
        wrong="" if is_felt else f"not 401 within {digests.FELT_SECONDS:g} s",
    )


def _row(pair: Pair, case: Case, places: Places | None = None) -> Row:
    outcome = make_call((places or pair.closed).port, case.call)
    code = outcome.headers.get("x-revcred-code", "")
    return Row(
        gateway=pair.name,
        case=case.name,
        outcome=f"{outcome.status} {code}".strip(),
        wrong=case.judge(outcome),
    )


def _claim(pair: Pair, stack: Stack) -> Row:
    """See that the backend gets a claim, and that what it says is signed by the published keys."""
    claims = make_call(pair.closed.port, Call(key=Key.GOOD)).values("X-Revcred-Claim")
    try:
        (claim,) = claims
        said = ClaimChecker(stack.url, gateway=pair.name).check(claim)
        outcome = f"of {said['customer']}, {len(claim)} characters"
        wrong = "" if said["customer"] == CUSTOMER else "another customer"
    except (InvalidClaim, ValueError) as error:
        outcome, wrong = f"{len(claims)} claims", f"not a good claim: {error}"
    return Row(gateway=pair.name, case="a signed claim", outcome=outcome, wrong=wrong)


def _revocation(pair: Pair, stack: Stack) -> Row:
    """Revoke a credential that comes through, and see when it does not any longer."""
    key = LEAVING_KEY.format(pair.name)
    call = Call(key=key)
    before = make_call(pair.closed.port, call).status
    _revoke(key, stack)
    began = time.monotonic()
    while (status := make_call(pair.closed.port, call).status) == before:
        if time.monotonic() > began + 2 * FELT_SECONDS:
            break
    seconds = time.monotonic() - began
    is_felt = (before, status) == (200, 403) and seconds <= FELT_SECONDS
    return Row(
        gateway=pair.name,
        case="revoked just now",
        outcome=f"{before}, {status} after {seconds * 1e3:.0f} ms",
        wrong="" if is_felt else f"not 403 within {FELT_SECONDS:g} s",
    )


def _revoke(key: str, stack: Stack) -> None:
    with psycopg.connect(stack.environment["MIGRATION_DATABASE_URL"], autocommit=True) as database:
        database.execute(REVOKE, [credential_name(key)])


def _without_revcred(pairs: Sequence[Pair], stack: Stack) -> Iterator[Row]:
    stack.kill("web")
    yield from _away(pairs, "killed")
    with upstream.serving(upstream.WithoutMemory, stack.port):
        yield from _away(pairs, "answers 503")
    with upstream.serving(upstream.Silent, stack.port):
        yield from _away(pairs, "does not answer")
    stack.start("web")
    back = Case(name="revcred is back", call=Call(key=Key.GOOD), status=200, is_wrong=wrong_owner)
    for pair in pairs:
        for places in filter(None, (pair.closed, pair.open)):
            _wait_for_owner(places)
        yield _row(pair, back)
        yield _row(pair, back, pair.open)


def _away(pairs: Sequence[Pair], how: str) -> Iterator[Row]:
    for pair in pairs:
        status = 503 if how == "answers 503" else pair.recipe.unanswered_status
        yield _row(pair, Case(name=f"revcred {how}: closed", call=AWAY, status=status))
        opened = Case(name=f"revcred {how}: open", call=AWAY, status=200, is_wrong=wrong_unasked)
        yield _row(pair, opened, pair.open)


def _wait_for_owner(places: Places) -> None:
    deadline = time.monotonic() + READY_SECONDS
    call = Call(key=Key.GOOD)
    while make_call(places.port, call).values("X-Revcred-Customer") != [CUSTOMER]:
        if time.monotonic() > deadline:
            return
        time.sleep(0.1)


def _logs(name: str, directories: Sequence[Path], tokens: dict[str, str]) -> Row:
    """Look for keys and tokens in what a program has written."""
    files = [file for each in directories for file in each.iterdir() if file.is_file()]
    files = [file for file in files if file.name not in {n for r in recipes.ALL for n in r.files}]
    text = "\n".join(file.read_text(errors="replace") for file in files)
    hidden = [*Key, *(LEAVING_KEY.format(each.name) for each in recipes.ALL), *tokens.values()]
    found = leaks.hits(text, hidden)
    return Row(
        gateway=name,
        case="no key and no token in its logs",
        outcome=f"{len(text.splitlines()):,} lines",
        wrong=f"{len(found)} of them are there" if found else "",
    )


def _print(rows: Sequence[Row], seconds: float) -> None:
    gateways = list(dict.fromkeys(row.gateway for row in rows))
    case_width = max(len(row.case) for row in rows)
    gateway_width = max(len(row.gateway) for row in rows)
    for gateway in gateways:
        for row in rows:
            if row.gateway == gateway:
                _say(
                    f"{row.gateway:{gateway_width}}  {row.case:{case_width}}  {row.outcome:26}"
                    f"  {row.wrong or '✓'}"
                )
    good = sum(not row.wrong for row in rows)
    _say(f"\n{good} of {len(rows)} as they should be, in {seconds:.0f} s.")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
