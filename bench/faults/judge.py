"""Whether the promises held, by what the clients wrote down and the oracle knows.

The server is asked for nothing but the rows it keeps.
"""

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from bench.faults.clients import (
    ACCEPTED,
    NOT_VALID,
    SLOW_DOWN,
    UNANSWERED,
    VALID,
    WINDOW,
    Call,
    History,
    Question,
    Transaction,
)
from bench.faults.judge_lists import wrong_lists, wrong_mails
from bench.faults.kinds import WRONG_CLOCKS, Fault
from bench.faults.trial import Trial
from bench.faults.world import Known, UploadedList, World, verdict
from revcred.launcher.errors import LaunchError

AFTERWARDS = 2.0  # seconds after a fault in which a 5xx is still honest
SLOWEST = 60.0  # seconds from the 202 until a transaction is processed
SERVER_ERRORS = range(500, 600)
TOO_LATE = 503  # what doors answer when the database takes longer than they wait
# An answer may be as old as the cache of answers, and a frozen process may have read it before.
ANSWER_AGE = 10.0  # seconds

Name = tuple[int, str]  # a gateway and its id of the transaction
Lag = tuple[float, float]  # when it was accepted, and how many seconds later it was processed

ROWS = """
SELECT
    gateway_id, transaction_id, id, corrects, sign, occurred_at, subscription_id, NULL,
    coalesce(quarantined_at, attributed_at), (elements ->> 'bytes')::bigint, ''
FROM metering_transaction
UNION ALL
SELECT
    gateway_id, transaction_id, id, corrects, 1, occurred_at, NULL, reason, quarantined_at,
    (elements ->> 'bytes')::bigint, error
FROM metering_quarantined
"""
INBOX = """
SELECT gateway_id, call ->> 'transaction_id'
FROM metering_delivery, json_array_elements(body::json) call
"""
USAGE = """
SELECT subscription_id, sum(count)::bigint, sum(quantity)
FROM metering_usage WHERE element = 'bytes' GROUP BY 1
"""
# What stands in the ledger, though its link did not hold at that moment.
INVALID = """
SELECT count(*)
FROM metering_transaction t
LEFT JOIN revcred_assignment a ON a.id = t.assignment_id
    AND (a.credential_id, a.subscription_id) = (t.credential_id, t.subscription_id)
    AND a.active_from <= t.occurred_at
    AND (a.active_until IS NULL OR t.occurred_at < a.active_until)
WHERE t.sign = 1 AND a.id IS NULL
    AND NOT EXISTS (SELECT FROM metering_transaction c WHERE c.corrects = t.id AND c.sign = -1)
"""


class Row(NamedTuple):
    """One row of the ledger or of the quarantine."""

    gateway: int
    id: str
    row: UUID
    corrects: UUID | None
    sign: int
    at: datetime
    subscription: int | None
    reason: str | None
    attributed_at: datetime
    quantity: int
    error: str  # why it could not be processed

    @property
    def name(self) -> Name:
        return self.gateway, self.id

    @property
    def whose(self) -> int | str | None:
        return self.reason or self.subscription


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """How often each promise was broken."""

    lost: int  # accepted, and nowhere
    double: int  # standing more than once
    never_sent: int
    changed: int  # with another moment or quantity than was sent
    unpaired: int  # corrections that are no pair
    misattributed: int  # not as the oracle says
    invalid: int  # by an assignment that did not hold then
    usage: int  # differences between usage and the ledger
    waiting: int  # never processed
    slow: int  # processed after SLOWEST
    refused: int  # though within the window, or accepted though outside of it
    stray_errors: int  # 5xx while nothing excused them
    other_answers: int  # neither 202, 429, 5xx nor none at all
    key_answers: int  # about keys, not as the oracle says
    lists: int  # not applied exactly once, or not undone exactly
    mails: int  # never sent, or more often than tried


@dataclass(frozen=True, kw_only=True)
class Verdict:
    accepted: int
    sent: int
    repeats: int
    refused: int
    ledger: int
    quarantine: int
    corrected: int
    claimed: int
    worst_lag: float  # seconds
    wrong: Wrong
    answers: Mapping[int, int]
    by_kind: Mapping[str, "Times"]
    strays: Sequence[str]  # each 5xx that nothing excuses, and what was going on
    misattributed: Sequence[str]  # each that is not as the oracle says, and what it says
    others: Sequence[str]  # what is wrong with answers about keys, lists and mails
    questions: int  # answered
    lists: int
    mails: int  # that the mail server took

    @property
    def broken(self) -> dict[str, int]:
        found = {each.name: getattr(self.wrong, each.name) for each in fields(self.wrong)}
        return {name: count for name, count in found.items() if count}


@dataclass
class Times:
    """What the clients noticed of the faults of one kind. All in seconds."""

    done: int = 0
    took: float = 0.0  # all of them together, until what was struck served again
    errors: int = 0  # 5xx
    unanswered: int = 0
    longest_answer: float = 0.0  # of any call under way meanwhile
    longest_error: float = 0.0  # until an honest 503
    longest_back: float = 0.0  # from its end until the first 202
    worst_lag: float = 0.0  # of what was accepted meanwhile, until it was processed


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Records of everybody beside the trial, and the faults that were done to it."""

    history: History
    world: World
    waiting: int  # transactions and jobs that were not done when they had had long enough
    faults: Sequence[Fault] = ()
    lists: Sequence[UploadedList] = ()
    mails: Mapping[str, int] = field(default_factory=dict)  # that the mail server took, by id
    is_shared: bool = False  # the machine does more besides: answers may be too late for a deadline


def judge(trial: Trial, evidence: Evidence) -> Verdict:
    history, world, faults = evidence.history, evidence.world, evidence.faults
    rows = [Row(*row) for row in trial.ask(ROWS)]
    standing = _standing(rows)
    stored = standing.keys() | {(gateway, name) for gateway, name in trial.ask(INBOX)}
    accepted = _first_accepted(history)
    refused = {(call.gateway, name) for call in history.calls for name in call.refused}
    moved = [fault for fault in faults if fault.moves_time]
    lags = list(_lags(accepted, rows, moved))
    requests: list[Call | Question] = [*history.calls, *history.questions]
    strays = [request for request in requests if _is_stray(request, faults)]
    if evidence.is_shared:
        strays = [request for request in strays if request.status != TOO_LATE]
    misattributed = list(_misattributed(standing, history, world))
    wrong_clocks = [fault for fault in faults if fault.kind in WRONG_CLOCKS]
    answers = list(_wrong_answers(history.questions, world, wrong_clocks))
    lists, mails = (
        list(wrong_lists(trial, evidence.lists)),
        list(wrong_mails(trial, evidence.mails)),
    )
    wrong = Wrong(
        lost=sum(name not in stored for name in accepted),
        double=sum(len(each) - 1 for each in standing.values()),
        never_sent=sum(name not in history.transactions for name in stored),
        changed=_changed(standing, history),
        unpaired=_unpaired(rows),
        misattributed=len(misattributed),
        invalid=trial.ask(INVALID)[0][0],
        usage=_usage_differences(trial, standing),
        waiting=evidence.waiting,
        slow=0 if evidence.is_shared else sum(lag > SLOWEST for _, lag in lags),
        refused=_wrongly_refused(history, accepted, refused, moved),
        stray_errors=len(strays),
        other_answers=sum(_is_other(call) for call in history.calls),
        key_answers=len(answers),
        lists=len(lists),
        mails=len(mails),
    )
    kept = [row for each in standing.values() for row in each]
    return Verdict(
        accepted=len(accepted),
        sent=len(history.transactions),
        repeats=sum(len(call.accepted()) for call in history.calls) - len(accepted),
        refused=len(refused),
        ledger=sum(row.reason is None for row in kept),
        quarantine=sum(row.reason is not None for row in kept),
        corrected=sum(row.sign < 0 for row in rows),
        claimed=int(trial.ask("SELECT coalesce(sum(attributed), 0) FROM metering_claim")[0][0]),
        worst_lag=max((lag for _, lag in lags), default=0.0),
        wrong=wrong,
        answers=Counter(call.status for call in history.calls),
        strays=[_told(call, faults) for call in strays],
        misattributed=misattributed,
        others=[*answers, *lists, *mails],
        questions=sum(each.status in (VALID, NOT_VALID) for each in history.questions),
        lists=len(evidence.lists),
        mails=sum(evidence.mails.values()),
        by_kind=_by_kind(history.calls, faults, lags),
    )


def _standing(rows: Iterable[Row]) -> Mapping[Name, list[Row]]:
    """What counts today: neither a reversal nor reversed."""
    rows = list(rows)
    reversed_ = {row.corrects for row in rows if row.sign < 0}
    standing = defaultdict(list)
    for row in rows:
        if row.sign > 0 and row.row not in reversed_:
            standing[row.name].append(row)
    return standing


def _first_accepted(history: History) -> Mapping[Name, float]:
    """When each was first answered with a 202."""
    first: dict[Name, float] = {}
    for call in sorted(history.calls, key=lambda call: call.ended):
        for name in call.accepted():
            first.setdefault(name, call.ended)
    return first


def _changed(standing: Mapping[Name, list[Row]], history: History) -> int:
    return sum(
        _differs(row, history.transactions[name])
        for name, each in standing.items()
        for row in each
        if name in history.transactions
    )


def _differs(row: Row, sent: Transaction) -> bool:
    return (row.at, row.quantity) != (sent.at, sent.quantity)


def _unpaired(rows: Sequence[Row]) -> int:
    """A reversal has one original and one successor, and no successor is without its reversal."""
    reversals = Counter(row.corrects for row in rows if row.sign < 0 and row.corrects)
    successors = Counter(row.corrects for row in rows if row.sign > 0 and row.corrects)
    originals = {row.row for row in rows if row.sign > 0}
    differing = (reversals - successors) + (successors - reversals)
    orphans = sum(corrected not in originals for corrected in reversals)
    return differing.total() + orphans + sum(count - 1 for count in reversals.values())


def _misattributed(
    standing: Mapping[Name, list[Row]], history: History, world: World
) -> Iterator[str]:
    for name, each in standing.items():
        if sent := history.transactions.get(name):
            right = verdict(world.get(sent.key), sent.at)
            yield from (
                f"{name}, attributed at {row.attributed_at:%H:%M:%S.%f}, is {row.whose} {row.error}"
                f" and not {right}"
                for row in each
                if row.whose != right
            )


def _usage_differences(trial: Trial, standing: Mapping[Name, list[Row]]) -> int:
    """By the product's own check, hour by hour, and by a sum over what stands."""
    counts: Counter[int] = Counter()
    sums: Counter[int] = Counter()
    for row in (row for each in standing.values() for row in each):
        if row.subscription is not None:
            counts[row.subscription] += 1
            sums[row.subscription] += row.quantity
    kept = {number: (count, total) for number, count, total in trial.ask(USAGE)}
    numbers = kept.keys() | counts.keys()
    nothing = (0, Decimal(0))
    differing = sum(kept.get(each, nothing) != (counts[each], sums[each]) for each in numbers)
    return differing + _verify(trial)


def _verify(trial: Trial) -> int:
    try:
        said = trial.manage("verify_usage")
    except LaunchError as problem:
        said = str(problem)
    found = re.search(r"(\d+) differences", said)
    return int(found[1]) if found else 1


def _lags(
    accepted: Mapping[Name, float], rows: Iterable[Row], moved: Sequence[Fault]
) -> Iterator[Lag]:
    """From the 202 until it was first processed, by the database's clock while that was right."""
    for row in rows:
        if row.sign > 0 and row.corrects is None and row.name in accepted:
            moment = accepted[row.name]
            if any(fault.began - SLOWEST <= moment <= fault.ended + AFTERWARDS for fault in moved):
                continue
            yield moment, max(0.0, row.attributed_at.timestamp() - moment)


def _wrongly_refused(
    history: History, accepted: Iterable[Name], refused: Iterable[Name], moved: Sequence[Fault]
) -> int:
    """Count them, except what was sent while PostgreSQL's clock was wrong."""
    moments = {(call.gateway, name): call.ended for call in history.calls for name in call.ids}
    for call in history.calls:
        if any(_meanwhile(call, fault) for fault in moved):
            for name in call.ids:
                moments.pop((call.gateway, name), None)

    def is_outside(name: Name) -> bool:
        oldest, newest = WINDOW
        ahead = history.transactions[name].at.timestamp() - moments[name]
        return not -oldest.total_seconds() <= ahead <= newest.total_seconds()

    wrongly_accepted = sum(name in moments and is_outside(name) for name in accepted)
    return wrongly_accepted + sum(name in moments and not is_outside(name) for name in refused)


def _is_stray(call: Call | Question, faults: Iterable[Fault]) -> bool:
    return call.status in SERVER_ERRORS and not any(
        fault.excuses and _meanwhile(call, fault) for fault in faults
    )


def _told(call: Call | Question, faults: Iterable[Fault]) -> str:
    meanwhile = [fault.kind for fault in faults if _meanwhile(call, fault)]
    return (
        f"{call.status} for {call} after {call.ended - call.began:.2f} s,"
        f" meanwhile or just before: {'; '.join(meanwhile) or 'nothing'}"
    )


def _meanwhile(call: Call | Question, fault: Fault) -> bool:
    return call.ended >= fault.began and call.began <= fault.ended + AFTERWARDS


def _is_good(known: Known, moment: float) -> bool:
    """Return True if calls with the key would be charged then; `moment` in seconds of the epoch."""
    return isinstance(verdict(known, datetime.fromtimestamp(moment, UTC)), int)


def _wrong_answers(
    questions: Iterable[Question], world: World, wrong_clocks: Sequence[Fault]
) -> Iterator[str]:
    """Questions about a key that was being changed, or by a wrong clock, have no right answer."""
    for question in questions:
        known = world.get(question.key)
        since = question.began - ANSWER_AGE
        if known and any(
            began <= question.ended and since <= ended for began, ended in known.changes
        ):
            continue
        if any(_meanwhile(question, fault) for fault in wrong_clocks):
            continue
        right = {
            VALID if known and moment >= known.issued_at and _is_good(known, moment) else NOT_VALID
            for moment in (since, question.ended)
        }
        if question.status not in {*right, SLOW_DOWN, UNANSWERED, *SERVER_ERRORS}:
            yield f"the answer to a {question} is {question.status} and not {right}"


def _is_other(call: Call) -> bool:
    expected = {ACCEPTED, SLOW_DOWN, UNANSWERED, *SERVER_ERRORS}
    return call.status not in expected and not call.rejects_all


def _by_kind(
    calls: Sequence[Call], faults: Iterable[Fault], lags: Sequence[Lag]
) -> Mapping[str, Times]:
    by_end = sorted(calls, key=lambda call: call.ended)
    by_moment = sorted(lags)
    times: dict[str, Times] = defaultdict(Times)
    for fault in faults:
        _note_calls(times[fault.kind], fault, by_end)
        _note_lags(times[fault.kind], fault, by_moment)
    return dict(sorted(times.items()))


def _note_calls(times: Times, fault: Fault, by_end: Sequence[Call]) -> None:
    since = bisect_left(by_end, fault.began, key=lambda call: call.ended)
    after = bisect_left(by_end, fault.ended, key=lambda call: call.ended)
    meanwhile = [call for call in by_end[since:] if call.began <= fault.ended]
    errors = [call.seconds for call in meanwhile if call.status in SERVER_ERRORS]
    back = (call.ended - fault.ended for call in by_end[after:] if call.status == ACCEPTED)
    times.done += 1
    times.took += fault.ended - fault.began
    times.errors += len(errors)
    times.unanswered += sum(call.status == UNANSWERED for call in meanwhile)
    times.longest_answer = max(times.longest_answer, *(call.seconds for call in meanwhile), 0.0)
    times.longest_error = max(times.longest_error, *errors, 0.0)
    times.longest_back = max(times.longest_back, next(back, 0.0))


def _note_lags(times: Times, fault: Fault, by_moment: Sequence[Lag]) -> None:
    since = bisect_left(by_moment, (fault.began, 0.0))
    after = bisect_left(by_moment, (fault.ended, 0.0))
    times.worst_lag = max(times.worst_lag, *(lag for _, lag in by_moment[since:after]), 0.0)
