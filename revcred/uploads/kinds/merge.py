"""What a kind of list is to checking, applying and undoing: statements, and words."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# The rows of one chunk, judged again under lock; gone at the end of its transaction.
CHUNK = "upload_chunk"
# What was sealed for them.
SEALED = "upload_sealed"
# Of the changes of an upload, those that are undone together.
UNDONE = "upload_undone"

MEANWHILE = ":meanwhile"


@dataclass(frozen=True, kw_only=True)
class Merge:
    """`judged` is a SELECT over the rows in {source}: what each says, and what it would do.

    It has `number`, the facts, and `action`, `is_new`, `target_id` of what is there already,
    `before` and `after` of it, `refusals` ("column:code"), `other_row`, `was` (all it was judged
    by), and what `write` asks for. `keeps` are columns kept with the row besides, `made` such with numbers that new rows are given, each
    with its sequence. Statements in `lock` and `prepare` read {source}, those in `write` the chunk,
    those in `undo` the changes that are undone. `since` says from when what has been attributed
    already may be wrong then.
    """

    target: str
    title: str
    judged: str
    keeps: tuple[str, ...] = ()
    made: Mapping[str, str] = field(default_factory=dict)
    lock: str
    prepare: tuple[str, ...] = ()
    write: tuple[str, ...]
    since: str = "SELECT NULL::timestamptz"
    waits: str
    seals: bool = False
    adds: Mapping[str, str] = field(default_factory=dict)
    messages: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Undo:
    """How changes of one kind of thing are undone: `statements` over those of a chunk.

    `depends` are queries for the `id` of changes that something else depends on, each under what
    it is; they read {changes}, and pass over what is {of_the_upload} as well: conditions on the
    thing that depends, by its type and number. `uses` asks whether usage hangs on it.
    """

    target: str
    depends: Mapping[str, str] = field(default_factory=dict)
    uses: str = ""
    statements: tuple[str, ...]
