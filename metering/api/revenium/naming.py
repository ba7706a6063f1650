"""Whose a call is by the names it gives, in our words: an organization is a customer."""

from typing import Any

from django.conf import settings

from metering import newcomers
from metering.api.revenium import fields
from metering.api.revenium.fields import Text
from metering.ingestion import Call


def names_of(
    *,
    customer: Text = None,
    product: Text = None,
    subscriber: Text = None,
    credential: Text = None,
) -> dict[str, Any] | None:
    """What `owner_by_name` looks for: none of it, or all that is named. Raises Refused."""
    names: dict[str, Any] = {
        "customer": fields.text("organizationName", customer),
        "product": fields.text("productName", product),
        "subscriber": fields.text("subscriber", subscriber),
        "credential": fields.text("credential", credential),
    }
    if settings.STRICT_NAMES:
        names["strict"] = True
    return {name: value for name, value in names.items() if value} or None


def make_unknown(call: Call, *, key: Text) -> Call:
    """The call, whose names are all known from here on if the installation wants that."""
    if settings.CREATE_NAMED and call.names and not call.subscription_named:
        newcomers.make(call.names, key=fields.key("key", key))
    return call
