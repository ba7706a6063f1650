"""Whether lists were applied and undone exactly, and whether every mail went out."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.faults.trial import Trial
from bench.faults.world import PEOPLE, ROWS, STANDING, UploadedList

# The names of a list's things begin with its own name, which has nine characters.
UPLOADS = "SELECT file_name, count(*), min(state) FROM revcred_upload GROUP BY 1"
CREDENTIALS = """
SELECT left(c.name, 9), count(*), count(DISTINCT c.name),
    sum((SELECT count(*) FROM revcred_externalkey k WHERE k.credential_id = c.id)),
    sum((SELECT count(*) FROM revcred_assignment a WHERE a.credential_id = c.id))
FROM revcred_credential c WHERE c.name LIKE 'list-%' GROUP BY 1
"""
MEMBERS = """
SELECT left(s.email, 9), count(*), count(DISTINCT s.email)
FROM revcred_subscriber s JOIN revcred_membership m ON m.subscriber_id = s.id
WHERE s.email LIKE 'list-%' GROUP BY 1
"""
TOLD = """
SELECT left(recipient, 9), count(*), count(DISTINCT recipient)
FROM revcred_outgoingmail WHERE recipient LIKE 'list-%' GROUP BY 1
"""
STANDING_IN = f"SELECT environment FROM revcred_credential WHERE name = '{STANDING}'"  # noqa: S608
MAILS = "SELECT id, attempts FROM revcred_outgoingmail"


def wrong_lists(trial: Trial, lists: Sequence[UploadedList]) -> Iterator[str]:
    """Yield a sentence for everything that is not as it would be if nothing had ever failed."""
    yield from (each.problem for each in lists if each.problem)
    applied = [each.name for each in lists if not each.is_undone]
    undone = [each.name for each in lists if each.is_undone]
    for what, question, expected in (
        (
            "uploads",
            UPLOADS,
            dict.fromkeys(applied, (1, "applied")) | dict.fromkeys(undone, (1, "undone")),
        ),
        ("credentials", CREDENTIALS, dict.fromkeys(applied, (ROWS,) * 4)),
        ("members", MEMBERS, dict.fromkeys(applied, (PEOPLE,) * 2)),
        # Who was told of a list was told of its undoing.
        (
            "mails",
            TOLD,
            dict.fromkeys(applied, (PEOPLE, PEOPLE)) | dict.fromkeys(undone, (2 * PEOPLE, PEOPLE)),
        ),
    ):
        found: dict[str, tuple[Any, ...]] = {
            name: tuple(rest) for name, *rest in trial.ask(question)
        }
        for name in sorted(found.keys() | expected.keys()):
            if found.get(name) != expected.get(name):
                yield f"{what} of {name} are {found.get(name)} and not {expected.get(name)}"
    last = applied[-1] if applied else ""
    if (standing := trial.ask(STANDING_IN)[0][0]) != last:
        yield f"what every list changes is as after {standing!r} and not {last!r}"


def wrong_mails(trial: Trial, taken: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence for each that was never sent, or more often than it was tried.

    `taken`: how often the mail server took each Message-ID, which begins with the row's number.
    """
    sent = Counter[int]()
    for message_id, count in taken.items():
        sent[int(message_id.partition(".")[0])] += count
    rows = dict(trial.ask(MAILS))
    for number in sorted(rows.keys() | sent.keys()):
        if number not in rows:
            yield f"mail {number} was sent, and is in no row"
        elif not 1 <= sent[number] <= rows[number]:
            yield f"mail {number} was sent {sent[number]} times, and tried {rows[number]} times"
