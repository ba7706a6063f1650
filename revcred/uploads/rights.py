"""The rights an upload takes: one table, read by the preview, by apply, by the worker and by undo.

Who applies a list does to every row what the pages of the administration let nobody do without
the right to that thing. The rights are those of the person who applies or undoes it, as they are
when the worker writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from revcred.models import Upload, User
from revcred.roles import WORDS as WORDS_OF_RIGHTS
from revcred.uploads.columns import Kind


class Effect(StrEnum):
    """One thing that rows of a list do."""

    CREATE = "create"
    UPDATE = "update"
    MOVE = "move"
    TAKE_OVER = "take_over"
    USE_AGAIN = "use_again"
    JOIN = "join"
    JOIN_AS_OWNER = "join_as_owner"
    CHANGE_ROLE = "change_role"
    ADD_CUSTOMER = "add_customer"
    ADD_SUBSCRIBER = "add_subscriber"
    ADD_SUBSCRIPTION = "add_subscription"


APPLY = "apply_upload"  # whatever the list does

REQUIRED_RIGHTS: Mapping[Kind, Mapping[Effect, tuple[str, ...]]] = {
    Kind.CREDENTIALS: {
        Effect.CREATE: ("add_credential",),
        Effect.UPDATE: ("change_credential",),
        Effect.MOVE: ("change_credential",),
        # A new credential here, and the end of a key there.
        Effect.TAKE_OVER: ("add_credential", "change_credential"),
        # A new credential with the key of a revoked one, which ends there.
        Effect.USE_AGAIN: ("add_credential", "change_credential"),
        Effect.JOIN: ("add_membership",),
        Effect.ADD_CUSTOMER: ("add_customer",),
        Effect.ADD_SUBSCRIBER: ("add_subscriber",),
        Effect.ADD_SUBSCRIPTION: ("add_subscription",),
    },
    Kind.CUSTOMERS: {
        Effect.CREATE: ("add_customer",),
        Effect.UPDATE: ("change_customer",),
    },
    Kind.SUBSCRIBERS: {
        Effect.CREATE: ("add_subscriber",),
        Effect.UPDATE: ("change_subscriber",),
        Effect.JOIN: ("add_membership",),
        # A role above member takes the right to change memberships, not only to add them.
        Effect.JOIN_AS_OWNER: ("add_membership", "change_membership"),
        Effect.CHANGE_ROLE: ("change_membership",),
        Effect.ADD_CUSTOMER: ("add_customer",),
    },
    Kind.SUBSCRIPTIONS: {
        Effect.CREATE: ("add_subscription",),
        Effect.UPDATE: ("change_subscription",),
        Effect.ADD_CUSTOMER: ("add_customer",),
    },
}

# What rows name and is not there yet, as a preview counts it.
ADDED: Mapping[str, Effect] = {
    "customers": Effect.ADD_CUSTOMER,
    "subscribers": Effect.ADD_SUBSCRIBER,
    "subscriptions": Effect.ADD_SUBSCRIPTION,
}
# Of an upload that was applied before previews counted effects: by what it changed, and how.
CHANGED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("revcred.credential", "create"): ("add_credential",),
    ("revcred.credential", "update"): ("change_credential",),
    ("revcred.credential", "move"): ("add_credential", "change_credential"),
    ("revcred.customer", "create"): ("add_customer",),
    ("revcred.customer", "update"): ("change_customer",),
    ("revcred.membership", "create"): ("add_membership", "change_membership"),
    ("revcred.membership", "update"): ("change_membership",),
    ("revcred.subscriber", "create"): ("add_subscriber",),
    ("revcred.subscriber", "update"): ("change_subscriber",),
    ("revcred.subscription", "create"): ("add_subscription",),
    ("revcred.subscription", "update"): ("change_subscription",),
}

WORDS: Mapping[Effect, str] = {
    Effect.CREATE: "create {kind}",
    Effect.UPDATE: "change {kind}",
    Effect.MOVE: "move {kind}",
    Effect.TAKE_OVER: "move keys from one customer to another",
    Effect.USE_AGAIN: "use keys of revoked credentials again",
    Effect.JOIN: "make people members of a customer",
    Effect.JOIN_AS_OWNER: "make people owners of a customer",
    Effect.CHANGE_ROLE: "change the roles of members",
    Effect.ADD_CUSTOMER: "create customers",
    Effect.ADD_SUBSCRIBER: "create subscribers",
    Effect.ADD_SUBSCRIPTION: "create subscriptions",
}


@dataclass(frozen=True)
class Missing:
    """What a list does and somebody may not: `doing` in words, the rights for it, on how many."""

    effect: str
    doing: str
    rights: tuple[str, ...]
    count: int

    @property
    def rights_in_words(self) -> str:
        return " and ".join(f"“{in_words(each)}”" for each in self.rights)

    def __str__(self) -> str:
        count = f" ({self.count:,} times)" if self.count else ""
        noun = "right" if len(self.rights) == 1 else "rights"
        return f"{self.doing}{count}: this takes the {noun} {self.rights_in_words}"


class NotAllowed(Exception):
    """Who applies or undoes a list lacks rights that it takes. Its text names them in words."""

    def __init__(self, missing: list[Missing]) -> None:
        super().__init__(f"You may not {'; you may not '.join(map(str, missing))}.")
        self.missing = missing


def in_words(right: str) -> str:
    """Return the right's name as the page of a user's rights has it."""
    return WORDS_OF_RIGHTS[f"revcred.{right}"]


def may(user: User | None, right: str) -> bool:
    """Return whether that person has the right. Nobody has none, nor has who has left the staff."""
    return user is not None and user.is_staff and user.has_perm(f"revcred.{right}")


def missing_to_apply(
    upload: Upload, user: User | None, *, adds: Mapping[str, int] | None = None
) -> list[Missing]:
    """Return what the list does and this person may not, most frequent first.

    `adds` are counts as of now, in place of those of the preview.
    """
    kind = Kind(upload.kind)
    counts = dict(upload.preview.get("effects", {})) | counts_of_added(adds or {})
    found = [
        Missing(effect, WORDS[effect].format(kind=kind), lacking, counts[effect])
        for effect, rights in REQUIRED_RIGHTS[kind].items()
        if counts.get(effect) and (lacking := _lacking(user, rights))
    ]
    found.sort(key=lambda each: -each.count)
    return _without_right_to_apply(user) + found


def missing_to_undo(upload: Upload, user: User | None) -> list[Missing]:
    """Return what was done and this person may not take back: it takes the rights to do it."""
    if "effects" in upload.preview:
        return missing_to_apply(upload, user)
    done = upload.changes.order_by().values_list("target_type", "action").distinct()
    found = []
    for target, action in done:
        if lacking := _lacking(user, CHANGED[target, action]):
            thing = target.rpartition(".")[2]
            found.append(Missing(action, f"undo changes of a {thing}", lacking, 0))
    return _without_right_to_apply(user) + found


def counts_of_added(adds: Mapping[str, int]) -> dict[str, int]:
    return {ADDED[name].value: count for name, count in adds.items()}


def _without_right_to_apply(user: User | None) -> list[Missing]:
    return [] if may(user, APPLY) else [Missing("apply", "apply or undo uploads", (APPLY,), 0)]


def _lacking(user: User | None, rights: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each for each in rights if not may(user, each))


# --- What the worker asks -------------------------------------------------------------------------


def demand_to_apply(upload: Upload, *, adds: Mapping[str, int] | None = None) -> None:
    """Raises NotAllowed unless who applied it has the rights now, whatever it was at the click."""
    if missing := missing_to_apply(upload, _as_now(upload.applied_by_id), adds=adds):
        raise NotAllowed(missing)


def demand_to_undo(upload: Upload) -> None:
    """As `demand_to_apply`. What breaks off by itself is undone by nobody, and says why."""
    if upload.error:
        return
    if missing := missing_to_undo(upload, _as_now(upload.undone_by_id)):
        raise NotAllowed(missing)


def _as_now(number: int | None) -> User | None:
    return User.objects.filter(pk=number).first() if number else None
