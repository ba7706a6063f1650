"""Whose a call is by the names it gives, in our words: an organization is a customer."""

from typing import Any

from django.conf import settings

from metering.api.revenium import fields
from metering.api.revenium.fields import Text


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
