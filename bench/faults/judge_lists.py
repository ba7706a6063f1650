"""Whether lists were applied and undone exactly, and whether every mail went out."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.faults.trial import Trial
from bench.faults.world import PEOPLE_OF_LIST, ROWS_OF_LIST, STANDING_CREDENTIAL, UploadedList

# The names of a list's things begin with its own name, which has nine characters.
UPLOADS_QUERY = "SELECT file_name, count(*), min(state) FROM revcred_upload GROUP BY 1"
CREDENTIALS_QUERY = """
SELECT left(c.name, 9), count(*), count(DISTINCT c.name),
    sum((SELECT count(*) FROM revcred_externalkey k WHERE k.credential_id = c.id)),
    sum((SELECT count(*) FROM revcred_assignment a WHERE a.credential_id = c.id))
FROM revcred_credential c WHERE c.name LIKE 'list-%' GROUP BY 1
"""
MEMBERS_QUERY = """
SELECT left(s.email, 9), count(*), count(DISTINCT s.email)
FROM revcred_subscriber s JOIN revcred_membership m ON m.subscriber_id = s.id
WHERE s.email LIKE 'list-%' GROUP BY 1
"""
MAILS_BY_LIST_QUERY = """
SELECT left(recipient, 9), count(*), count(DISTINCT recipient)
FROM revcred_outgoingmail WHERE recipient LIKE 'list-%' GROUP BY 1
"""
STANDING_CREDENTIAL_QUERY = (
    f"SELECT name, environment FROM revcred_credential WHERE name = '{STANDING_CREDENTIAL}'"  # noqa: S608
)
ATTEMPTS_QUERY = "SELECT id, attempts FROM revcred_outgoingmail"


def wrong_lists(trial: Trial, lists: Sequence[UploadedList]) -> Iterator[str]:
    """Yield a sentence for everything that is not as it would be if nothing had ever failed."""
    yield from (each.problem for each in lists if each.problem)
    applied = [each.name for each in lists if not each.is_undone]
    undone = [each.name for each in lists if each.is_undone]
    rows, people = ROWS_OF_LIST, PEOPLE_OF_LIST
    states = dict.fromkeys(applied, (1, "applied")) | dict.fromkeys(undone, (1, "undone"))
    yield from _differences(trial, "uploads", UPLOADS_QUERY, states)
    credentials = dict.fromkeys(applied, (rows, rows, rows, rows))
    yield from _differences(trial, "credentials", CREDENTIALS_QUERY, credentials)
    members = dict.fromkeys(applied, (people, people))
    yield from _differences(trial, "members", MEMBERS_QUERY, members)
    # Those who were told of a list are told of its undoing.
    mails = members | dict.fromkeys(undone, (2 * people, people))
    yield from _differences(trial, "mails", MAILS_BY_LIST_QUERY, mails)
    standing = {STANDING_CREDENTIAL: (applied[-1] if applied else "",)}
    yield from _differences(trial, "values", STANDING_CREDENTIAL_QUERY, standing)


def _differences(
    trial: Trial, what: str, question: str, expected: Mapping[str, tuple[Any, ...]]
) -> Iterator[str]:
    """Compare rows of a list's name and figures with those that are expected."""
    found = {name: tuple(figures) for name, *figures in trial.ask(question)}
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            yield f"{what} of {name} are {found.get(name)} and not {expected.get(name)}"


def wrong_mails(trial: Trial, taken: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence for each that was never sent, or more often than it was tried.

    `taken`: how often the mail server took each Message-ID, which begins with the row's number.
    """
    sent = Counter[int]()
    for message_id, count in taken.items():
        sent[int(message_id.partition(".")[0])] += count
    rows = dict(trial.ask(ATTEMPTS_QUERY))
    for number in sorted(rows.keys() | sent.keys()):
        if number not in rows:
            yield f"mail {number} was sent, and is in no row"
        elif not 1 <= sent[number] <= rows[number]:
            yield f"mail {number} was sent {sent[number]} times, and tried {rows[number]} times"
