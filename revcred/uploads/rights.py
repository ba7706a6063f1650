"""Rights that an upload takes: one table for the preview, for applying, undoing and the worker.

Applying a list takes the same rights as doing on the administration's pages what its rows do.
They are the rights of the person who applies or undoes it, at the time when the worker writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from django.utils.translation import gettext, ngettext

from revcred.languages import within_sentence
from revcred.models import Upload, User
from revcred.roles import RIGHT_LABELS
from revcred.texts import gettext_lazy, grouped, quoted
from revcred.uploads.columns import KIND_LABELS, ListKind


class RowEffect(StrEnum):
    """Something that a row does and that takes a right. A row may have several effects."""

    CREATE = "create"
    UPDATE = "update"
    MOVE = "move"
    TAKE_OVER = "take_over"
    SET_STATE = "set_state"
    USE_AGAIN = "use_again"
    JOIN = "join"
    JOIN_AS_OWNER = "join_as_owner"
    CHANGE_ROLE = "change_role"
    ADD_CUSTOMER = "add_customer"
    ADD_SUBSCRIBER = "add_subscriber"
    ADD_SUBSCRIPTION = "add_subscription"
    ADD_PRODUCT = "add_product"
    ADD_SOURCE = "add_source"
    ADD_PATH_RULE = "add_path_rule"
    COUNT_CALLS = "count_calls"


RIGHT_TO_APPLY = "apply_upload"  # needed for every list, besides the rights below

REQUIRED_RIGHTS: Mapping[ListKind, Mapping[RowEffect, tuple[str, ...]]] = {
    ListKind.CREDENTIALS: {
        RowEffect.CREATE: ("add_credential",),
        RowEffect.UPDATE: ("change_credential",),
        RowEffect.MOVE: ("change_credential",),
        RowEffect.SET_STATE: ("add_credential", "change_credential"),
        # A new credential here, and the end of a key there.
        RowEffect.TAKE_OVER: ("add_credential", "change_credential"),
        # A new credential with the key of a revoked one, which ends there.
        RowEffect.USE_AGAIN: ("add_credential", "change_credential"),
        RowEffect.JOIN: ("add_membership",),
        RowEffect.ADD_CUSTOMER: ("add_customer",),
        RowEffect.ADD_SUBSCRIBER: ("add_subscriber",),
        RowEffect.ADD_SUBSCRIPTION: ("add_subscription",),
        RowEffect.ADD_PRODUCT: ("add_product",),
    },
    ListKind.CUSTOMERS: {
        RowEffect.CREATE: ("add_customer",),
        RowEffect.UPDATE: ("change_customer",),
    },
    ListKind.SUBSCRIBERS: {
        RowEffect.CREATE: ("add_subscriber",),
        RowEffect.UPDATE: ("change_subscriber",),
        RowEffect.JOIN: ("add_membership",),
        # A role above member takes the right to change memberships, not only to add them.
        RowEffect.JOIN_AS_OWNER: ("add_membership", "change_membership"),
        RowEffect.CHANGE_ROLE: ("change_membership",),
        RowEffect.ADD_CUSTOMER: ("add_customer",),
    },
    ListKind.SUBSCRIPTIONS: {
        RowEffect.CREATE: ("add_subscription",),
        RowEffect.UPDATE: ("change_subscription",),
        RowEffect.ADD_CUSTOMER: ("add_customer",),
    },
    ListKind.PRODUCTS: {
        RowEffect.CREATE: ("add_product",),
        RowEffect.UPDATE: ("change_product",),
    },
    ListKind.SOURCES: {
        RowEffect.ADD_SOURCE: ("add_source",),
        # Its name, or another path rule.
        RowEffect.UPDATE: ("change_source",),
        RowEffect.ADD_PATH_RULE: ("add_pathrule",),
    },
    ListKind.GATEWAYS: {
        RowEffect.CREATE: ("add_gateway",),
        RowEffect.UPDATE: ("change_gateway",),
    },
    ListKind.USAGE: {RowEffect.COUNT_CALLS: ("upload_usage",)},
}

# Effects of creating things that rows only name, by the keys of `preview["also_creates"]`.
EFFECTS_OF_ADDED: Mapping[str, RowEffect] = {
    "customers": RowEffect.ADD_CUSTOMER,
    "subscribers": RowEffect.ADD_SUBSCRIBER,
    "subscriptions": RowEffect.ADD_SUBSCRIPTION,
    "products": RowEffect.ADD_PRODUCT,
    "sources": RowEffect.ADD_SOURCE,
}
# For undoing uploads that were applied before previews counted effects: rights by type and action
# of their changes.
RIGHTS_OF_CHANGES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("metering.transaction", "create"): ("upload_usage",),
    ("revcred.credential", "create"): ("add_credential",),
    ("revcred.credential", "update"): ("change_credential",),
    ("revcred.credential", "move"): ("add_credential", "change_credential"),
    ("revcred.customer", "create"): ("add_customer",),
    ("revcred.customer", "update"): ("change_customer",),
    ("revcred.membership", "create"): ("add_membership", "change_membership"),
    ("revcred.membership", "update"): ("change_membership",),
    ("revcred.gateway", "create"): ("add_gateway",),
    ("revcred.gateway", "update"): ("change_gateway",),
    ("revcred.pathrule", "create"): ("add_pathrule",),
    ("revcred.product", "create"): ("add_product",),
    ("revcred.product", "update"): ("change_product",),
    ("revcred.source", "create"): ("add_source",),
    ("revcred.source", "update"): ("change_source",),
    ("revcred.subscriber", "create"): ("add_subscriber",),
    ("revcred.subscriber", "update"): ("change_subscriber",),
    ("revcred.subscription", "create"): ("add_subscription",),
    ("revcred.subscription", "update"): ("change_subscription",),
}

# Words that follow "You may not".
EFFECT_WORDS: Mapping[RowEffect, str] = {
    RowEffect.CREATE: gettext_lazy("create {kind}"),
    RowEffect.UPDATE: gettext_lazy("change {kind}"),
    RowEffect.MOVE: gettext_lazy("move {kind}"),
    RowEffect.TAKE_OVER: gettext_lazy("move keys from one customer to another"),
    RowEffect.SET_STATE: gettext_lazy("suspend, revoke and expire credentials"),
    RowEffect.USE_AGAIN: gettext_lazy("use keys of revoked credentials again"),
    RowEffect.JOIN: gettext_lazy("make people members of a customer"),
    RowEffect.JOIN_AS_OWNER: gettext_lazy("make people owners of a customer"),
    RowEffect.CHANGE_ROLE: gettext_lazy("change the roles of members"),
    RowEffect.ADD_CUSTOMER: gettext_lazy("create customers"),
    RowEffect.ADD_SUBSCRIBER: gettext_lazy("create subscribers"),
    RowEffect.ADD_SUBSCRIPTION: gettext_lazy("create subscriptions"),
    RowEffect.ADD_PRODUCT: gettext_lazy("create products"),
    RowEffect.ADD_SOURCE: gettext_lazy("create sources"),
    RowEffect.ADD_PATH_RULE: gettext_lazy("add path rules"),
    RowEffect.COUNT_CALLS: gettext_lazy("count calls of a list"),
}


@dataclass(frozen=True)
class MissingRights:
    """An effect of a list that a person lacks rights for."""

    effect: str
    doing: str  # in words, such as "create customers"
    rights: tuple[str, ...]  # those that the person lacks
    count: int  # rows that do it; 0 if unknown

    @property
    def rights_in_words(self) -> str:
        return gettext(" and ").join(quoted(right_in_words(right)) for right in self.rights)

    def __str__(self) -> str:
        count = gettext(" (%(count)s times)") % {"count": grouped(self.count)} if self.count else ""
        sentence = ngettext(
            "%(doing)s%(count)s: this takes the right %(rights)s",
            "%(doing)s%(count)s: this takes the rights %(rights)s",
            len(self.rights),
        )
        return sentence % {"doing": self.doing, "count": count, "rights": self.rights_in_words}


class NotAllowed(Exception):
    """The person who applies or undoes an upload lacks rights. The text names them in words."""

    def __init__(self, missing: list[MissingRights]) -> None:
        effects = gettext("; you may not ").join(map(str, missing))
        super().__init__(gettext("You may not %(effects)s.") % {"effects": effects})
        self.missing = missing


def right_in_words(right: str) -> str:
    """Return the right's name as shown on the page of a user's rights."""
    return str(RIGHT_LABELS[f"revcred.{right}"])


def has_right(user: User | None, right: str) -> bool:
    """Return True if the person has the right and is still staff; False without a person."""
    # People keep their groups when they leave the staff.
    return user is not None and user.is_staff and user.has_perm(f"revcred.{right}")


def missing_rights_to_apply(
    upload: Upload, user: User | None, *, also_created: Mapping[str, int] | None = None
) -> list[MissingRights]:
    """Return the effects of the list that this person lacks rights for, the most frequent first.

    `also_created` replaces counts of the preview by those of now.
    """
    kind = ListKind(upload.kind)
    counts = dict(upload.preview.get("effects", {})) | counts_of_added(also_created or {})
    words = within_sentence(KIND_LABELS[kind])
    found = [
        MissingRights(effect, EFFECT_WORDS[effect].format(kind=words), lacking, counts[effect])
        for effect, rights in REQUIRED_RIGHTS[kind].items()
        if counts.get(effect) and (lacking := _rights_not_held(user, rights))
    ]
    found.sort(key=lambda missing: -missing.count)
    return _without_right_to_apply(user) + found


def missing_rights_to_undo(upload: Upload, user: User | None) -> list[MissingRights]:
    """Return the changes that this person may not undo, because making them takes the rights."""
    if "effects" in upload.preview:
        return missing_rights_to_apply(upload, user)
    done = upload.changes.order_by().values_list("target_type", "action").distinct()
    found = []
    for target, action in done:
        if lacking := _rights_not_held(user, RIGHTS_OF_CHANGES[target, action]):
            thing = target.rpartition(".")[2]
            found.append(
                MissingRights(
                    action, gettext("undo changes of a %(thing)s") % {"thing": thing}, lacking, 0
                )
            )
    return _without_right_to_apply(user) + found


def counts_of_added(also_created: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of created things by effect."""
    return {EFFECTS_OF_ADDED[name].value: count for name, count in also_created.items()}


def _without_right_to_apply(user: User | None) -> list[MissingRights]:
    return (
        []
        if has_right(user, RIGHT_TO_APPLY)
        else [MissingRights("apply", gettext("apply or undo uploads"), (RIGHT_TO_APPLY,), 0)]
    )


def _rights_not_held(user: User | None, rights: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(right for right in rights if not has_right(user, right))


# --- Checks by the worker -------------------------------------------------------------------------


def require_rights_to_apply(
    upload: Upload, *, also_created: Mapping[str, int] | None = None
) -> None:
    """Raises NotAllowed unless the person who applied the upload has the rights now."""
    user = _current_user(upload.applied_by_id)
    if missing := missing_rights_to_apply(upload, user, also_created=also_created):
        raise NotAllowed(missing)


def require_rights_to_undo(upload: Upload) -> None:
    """Raises NotAllowed unless the person who undoes the upload has the rights now.

    An all-or-nothing upload that failed undoes itself, whatever rights anybody has lost.
    """
    if upload.error:
        return
    if missing := missing_rights_to_undo(upload, _current_user(upload.undone_by_id)):
        raise NotAllowed(missing)


def _current_user(number: int | None) -> User | None:
    # Read again each time: a worker's object of an hour ago has the rights of an hour ago.
    return User.objects.filter(pk=number).first() if number else None
