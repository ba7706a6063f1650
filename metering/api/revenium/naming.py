"""Whose a call is by the names it gives, in our words: an organization is a customer."""

from collections.abc import Collection, Mapping
from typing import Any

from django.conf import settings

from metering.api.revenium import fields
from metering.api.revenium.fields import TextValue
from revcred.models import FormerName, Subscription

NAMING_FIELDS = frozenset({"customer", "product", "subscriber", "credential"})


def owner_names(
    *,
    customer: TextValue = None,
    product: TextValue = None,
    subscriber: TextValue = None,
    credential: TextValue = None,
) -> dict[str, Any] | None:
    """What `owner_by_name` looks for: none of it, or all that is named. Raises Refused."""
    names: dict[str, Any] = {
        "customer": fields.parse_text("organizationName", customer),
        "product": fields.parse_text("productName", product),
        "subscriber": fields.parse_text("subscriber", subscriber),
        "credential": fields.parse_text("credential", credential),
    }
    if settings.STRICT_NAMES:
        names["strict"] = True
    return {name: value for name, value in names.items() if value} or None


def subscription_or_label(
    said: str | None,
    *,
    names: Mapping[str, Any] | None,
    key: TextValue,
    known: Collection[str] | None = None,
) -> tuple[str | None, str | None]:
    """Return the subscription that is named, or else the label that stands in its place.

    Clients of AI also send the name of a plan there. Where something else says whose the call is,
    what names no subscription of ours is a label, and what names one is held to the key. Decided
    when the call arrives: a subscription that is entered later changes nothing for it. A call that
    says nothing else waits for a subscription of that name.
    """
    says_more = bool(key) or bool(NAMING_FIELDS & (names or {}).keys())
    if said is None or not says_more or settings.STRICT_NAMES:
        return said, None
    is_known = said in (known_subscriptions([said]) if known is None else known)
    return (said, None) if is_known else (None, said)


def known_subscriptions(named: Collection[str]) -> set[str]:
    """Return those of these external keys that a subscription has or had, ended ones included."""
    sound = [each for each in named if "\0" not in each]  # PostgreSQL knows no NUL
    if not sound:
        return set()
    current = Subscription.objects.filter(external_key__in=sound)
    former = FormerName.objects.filter(kind=FormerName.Kind.SUBSCRIPTION, name__in=sound)
    return {
        *current.values_list("external_key", flat=True),
        *former.values_list("name", flat=True),
    }
