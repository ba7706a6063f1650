"""What a run came to, for people."""

from collections.abc import Sequence

from bench.faults.judge import Verdict
from bench.faults.run import Outcome
from bench.stack import say

MOST_TOLD = 20  # of a kind, one by one
HEADINGS = ("fault", "times", "each took", "5xx", "none", "longest", "503 in", "202 after", "lag")


def about(outcome: Outcome) -> None:
    _kinds(outcome.verdict)
    _figures(outcome)
    for name in outcome.fallen:
        say(f"By itself: {name}")
    for stray in outcome.verdict.strays[:MOST_TOLD]:
        say(f"Not excused: {stray}")
    for wrong in outcome.verdict.misattributed[:MOST_TOLD]:
        say(f"Misattributed: {wrong}")
    for wrong in outcome.verdict.others[:MOST_TOLD]:
        say(f"Wrong: {wrong}")
    say(verdict_line(outcome.verdict))


def so_far(outcomes: Sequence[Outcome]) -> None:
    """The sums of all rounds until now."""
    verdicts = [outcome.verdict for outcome in outcomes]
    say(
        f"So far, {len(outcomes)} rounds: {sum(len(each.faults) for each in outcomes):,} faults,"
        f" {sum(each.accepted for each in verdicts):,} transactions accepted,"
        f" lost {sum(each.wrong.lost for each in verdicts)},"
        f" double {sum(each.wrong.double for each in verdicts)};"
        f" {sum(not each.broken for each in verdicts)} rounds in which every promise held.\n"
    )


def verdict_line(verdict: Verdict) -> str:
    if not verdict.broken:
        return "Every promise held."
    said = ", ".join(
        f"{name.replace('_', ' ')} {count:,}" for name, count in verdict.broken.items()
    )
    return f"BROKEN: {said}"


def _kinds(verdict: Verdict) -> None:
    rows = [
        (
            kind,
            f"{times.done}",
            f"{times.took / times.done:.1f} s",
            f"{times.errors}",
            f"{times.unanswered}",
            f"{times.longest_answer:.2f} s",
            f"{times.longest_error:.2f} s" if times.errors else "-",
            f"{times.longest_back:.2f} s",
            f"{times.worst_lag:.1f} s",
        )
        for kind, times in verdict.by_kind.items()
    ]
    _table([HEADINGS, *rows])


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        say("  ".join((first.ljust(widths[0]), *cells)))
    say()


def _figures(outcome: Outcome) -> None:
    verdict, wrong = outcome.verdict, outcome.verdict.wrong
    answers = ", ".join(
        f"{status or 'none'} {count:,}"
        for status, count in sorted(verdict.answers.items(), key=lambda each: -each[1])
    )
    say(f"{len(outcome.faults)} faults in {outcome.seconds:.0f} s. Answers: {answers}.")
    say(
        f"Accepted {verdict.accepted:,} of {verdict.sent:,} transactions sent,"
        f" repeats {verdict.repeats:,}, refused {verdict.refused:,}."
    )
    say(
        f"Lost {wrong.lost}, double {wrong.double}, differences"
        f" {wrong.usage + wrong.misattributed + wrong.invalid}."
        f" Ledger {verdict.ledger:,}, quarantine {verdict.quarantine:,},"
        f" claimed {verdict.claimed:,}, corrected {verdict.corrected:,}."
    )
    say(
        f"Questions about keys answered {verdict.questions:,}, wrong {wrong.key_answers}."
        f" Lists {verdict.lists}, wrong {wrong.lists}."
        f" Mails {verdict.mails:,}, wrong {wrong.mails}."
    )
    times = verdict.by_kind.values()
    say(
        f"Worst lag {verdict.worst_lag:.1f} s;"
        f" to an honest 503 {max((each.longest_error for each in times), default=0):.2f} s;"
        f" back to a 202 {max((each.longest_back for each in times), default=0):.2f} s."
    )
