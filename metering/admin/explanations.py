"""Sentences that say why a group of the quarantine waits, with links to what they name."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import models
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from metering.admin.groups import KeyOwner, QuarantineGroup
from metering.models import Quarantined, QuarantineReason
from revcred.models import Subscription
from revcred.time_zones import moment_with_zone

MAX_NAMED_SHOWN = 60  # characters of a name that a gateway sent
MAX_SUBSCRIPTIONS_NAMED = 5

# What calls name, as their `names` say it, by the reason why they wait.
NAMES_BY_REASON = {
    QuarantineReason.UNKNOWN_CUSTOMER: "customer",
    QuarantineReason.UNKNOWN_PRODUCT: "product",
    QuarantineReason.UNKNOWN_SUBSCRIBER: "subscriber",
    QuarantineReason.UNKNOWN_CREDENTIAL: "credential",
}


def with_explanations(groups: Sequence[QuarantineGroup]) -> list[QuarantineGroup]:
    """Return the groups, each with a sentence on why it waits.

    `owners.with_owners` comes first. Where the reason alone does not tell, one query for a group
    reads its latest call by the index of open ones.
    """
    return [replace(group, explanation=_explain_group(group)) for group in groups]


def link_to(target: models.Model) -> SafeString:
    """Return a link to the page of a thing in the administration."""
    name = f"admin:{target._meta.app_label}_{target._meta.model_name}_change"
    return format_html('<a href="{}">{}</a>', reverse(name, args=[target.pk]), target)


def latest_open_call(group: QuarantineGroup) -> Quarantined | None:
    """Return the group's latest call that waits, by the index of open ones."""
    waiting = group.transactions().filter(released_at=None, hint=group.hint)
    return waiting.order_by("-occurred_at").first()


def _explain_group(group: QuarantineGroup) -> SafeString:
    match group.reason:
        case QuarantineReason.UNKNOWN_KEY:
            return _explain_unknown_key(group)
        case QuarantineReason.KEY_NOT_VALID if group.owner:
            return _explain_invalid_key(group, group.owner)
        case QuarantineReason.ANONYMOUS:
            return format_html(
                "{} sent these calls without a key and without the name of a subscription.",
                link_to(group.gateway) if group.gateway else "The gateway",
            )
        case QuarantineReason.MOMENT_OUTSIDE:
            return format_html(
                "These calls report a moment that {} may not report any more, or not yet.",
                link_to(group.gateway) if group.gateway else "the gateway",
            )
        case _:
            return _explain_by_latest_call(group)


def _explain_unknown_key(group: QuarantineGroup) -> SafeString:
    if not group.owner:
        return format_html("No credential has the key {}.", _key_in_words(group))
    # Somebody has assigned it since, perhaps just now.
    if not group.owner.but_for:
        return _belongs_to(
            group,
            group.owner,
            ". It was unknown when these calls came in. Those that were made since it counts there"
            " are being matched again.",
        )
    return format_html(
        "No credential has the key {}. It differs from a key of {} of {} only by {}.",
        _key_in_words(group),
        *_owner_links(group.owner),
        group.owner.but_for,
    )


def _explain_invalid_key(group: QuarantineGroup, owner: KeyOwner) -> SafeString:
    if not owner.since:
        return _belongs_to(group, owner, ". It was not valid at the time of these calls.")
    since = "" if owner.state == "valid only from" else "since "
    by = f" by {owner.by}" if owner.by else ""
    return _belongs_to(group, owner, f", {owner.state} {since}{_moment_in_words(owner.since)}{by}.")


def _explain_by_latest_call(group: QuarantineGroup) -> SafeString:
    call = latest_open_call(group)
    if call is None:
        return format_html("{}", "Nothing of this group is open any more.")
    if group.reason is QuarantineReason.POISON:
        return format_html("Processing these calls failed with {}.", call.error or "an error")
    if kind := NAMES_BY_REASON.get(group.reason):
        return format_html(
            "revcred knows no {} “{}”, which the latest call names.",
            kind,
            str((call.names or {}).get(kind, ""))[:MAX_NAMED_SHOWN],
        )
    if not group.owner:
        return _explain_named_subscription(call)
    if group.reason is QuarantineReason.SUBSCRIPTION_MISMATCH:
        return format_html(
            "{} {} It was not charged to it then.",
            _belongs_to(group, group.owner, "."),
            _explain_named_subscription(call),
        )
    return _explain_assignments(group, group.owner, call)


def _explain_assignments(group: QuarantineGroup, owner: KeyOwner, call: Quarantined) -> SafeString:
    """Return whose the key is, and what its credential was charged to at the latest call."""
    assigned = owner.credential.assignments.at(call.occurred_at).select_related("subscription")
    held = [each.subscription for each in assigned[:MAX_SUBSCRIPTIONS_NAMED]]
    if group.reason is QuarantineReason.NAMES_DISAGREE:
        names = ", ".join(f"{kind} “{name}”" for kind, name in (call.names or {}).items())
        return _belongs_to(group, owner, f", but the latest call names {names[:200]}.")
    if not held:
        return _belongs_to(group, owner, ", which was not charged to any subscription then.")
    links = format_html_join(", ", "{}", ((link_to(subscription),) for subscription in held))
    if group.reason is QuarantineReason.AMBIGUOUS:
        return format_html(
            "{} charged to {}: all of them fit.", _belongs_to(group, owner, ","), links
        )
    ended = [each for each in held if not each.is_active_at(call.occurred_at)]
    why = "was not active then" if len(ended) == len(held) else "did not count these calls"
    return format_html("{} charged to {}, which {}.", _belongs_to(group, owner, ","), links, why)


def _explain_named_subscription(call: Quarantined) -> SafeString:
    if not call.subscription_named:
        return format_html(
            "{}", "The names in these calls lead to no subscription that was active then."
        )
    named = call.subscription_named[:MAX_NAMED_SHOWN]
    found = Subscription.objects.filter(external_key=call.subscription_named).order_by(
        "-active_from"
    )
    subscription = found.select_related("customer").first()
    if subscription is None:
        return format_html(
            "The latest call names the subscription “{}”, which does not exist.", named
        )
    return format_html(
        "The latest call names the subscription {} of {}.",
        link_to(subscription),
        link_to(subscription.customer),
    )


def _belongs_to(group: QuarantineGroup, owner: KeyOwner, rest: str) -> SafeString:
    return format_html(
        "Key {} belongs to {} of {}{}", _key_in_words(group), *_owner_links(owner), rest
    )


def _owner_links(owner: KeyOwner) -> tuple[Any, Any]:
    return link_to(owner.credential), link_to(owner.credential.customer)


def _key_in_words(group: QuarantineGroup) -> SafeString:
    if not group.hint:
        return format_html("{}", "of this group")
    return format_html("<code>…{}</code>", group.hint)


def _moment_in_words(moment: datetime) -> str:
    return moment_with_zone(moment)
