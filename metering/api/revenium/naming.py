"""Owners of calls by the names that Revenium's clients send; their organization is our customer."""

from collections.abc import Collection, Mapping
from typing import Any

from django.conf import settings

from metering.api.revenium import fields
from metering.api.revenium.fields import TextValue
from revcred.models import FormerName, Subscription
from revcred.models.names import MAX_NAME_CHARACTERS

NAMING_FIELDS = frozenset({"customer", "product", "subscriber", "credential"})


def owner_names(
    *,
    customer: TextValue = None,
    product: TextValue = None,
    subscriber: TextValue = None,
    credential: TextValue = None,
) -> dict[str, Any] | None:
    """Return the names in the form that SQL's `owner_by_name` takes, or None without any.

    Raises:
        ItemRejected: a name is too long, or has a NUL.
    """
    names: dict[str, Any] = {
        "customer": _parse_name("organizationName", customer),
        "product": _parse_name("productName", product),
        "subscriber": _parse_name("subscriber", subscriber),
        "credential": _parse_name("credential", credential),
    }
    # The SQL function knows no settings, so that each call carries this one with it.
    if settings.STRICT_NAMES:
        names["strict"] = True
    return {name: value for name, value in names.items() if value} or None


def _parse_name(field: str, value: TextValue) -> str | None:
    return fields.parse_text(field, value, max_characters=MAX_NAME_CHARACTERS)


def subscription_or_label(
    external_key: str | None,
    *,
    names: Mapping[str, Any] | None,
    key: TextValue,
    known: Collection[str] | None = None,
) -> tuple[str | None, str | None]:
    """Return a subscription's external key or, in its place, the label that it was meant to be.

    Clients of AI models also send the name of a plan in this field. If a key or names say whose the
    call is, a text that is no subscription here is taken for a label. That is decided when the call
    arrives: a subscription that is entered later does not change it. A call without key and names
    waits for a subscription of that name.
    """
    says_more = bool(key) or bool(NAMING_FIELDS & (names or {}).keys())
    if external_key is None or not says_more or settings.STRICT_NAMES:
        return external_key, None
    if known is None:
        known = known_subscriptions([external_key])
    return (external_key, None) if external_key in known else (None, external_key)


def known_subscriptions(external_keys: Collection[str]) -> set[str]:
    """Return the external keys that a subscription has or had, ended ones included."""
    # PostgreSQL rejects a whole query if one of its texts has a NUL.
    storable = [key for key in external_keys if "\0" not in key]
    if not storable:
        return set()
    # A former name still leads to its subscription, as it does when the call is attributed.
    current = Subscription.objects.filter(external_key__in=storable)
    former = FormerName.objects.filter(kind=FormerName.Kind.SUBSCRIPTION, name__in=storable)
    return {
        *current.values_list("external_key", flat=True),
        *former.values_list("name", flat=True),
    }
