"""What subscribers may do with a credential: one rule for actions and for pages.

The installation permits actions (SUBSCRIBER_ACTIONS), and so does each product. With a credential
that is charged to several products they may do what all of these permit.
"""

from collections.abc import Collection, Mapping

from django.conf import settings
from django.utils import timezone

from revcred.models import Assignment, Credential

REVEAL = "reveal"  # each product decides; SUBSCRIBER_ACTIONS does not name it
PRODUCT_FIELDS = {
    REVEAL: "subscribers_reveal",
    "rotate": "subscribers_rotate",
    "suspend": "subscribers_suspend",
    "revoke": "subscribers_revoke",
}


def permitted_actions(credential: Credential) -> frozenset[str]:
    """Return the actions that subscribers may perform with the credential."""
    return permitted_actions_by_credential([credential.pk])[credential.pk]


def permitted_actions_by_credential(numbers: Collection[int]) -> Mapping[int, frozenset[str]]:
    """Return the actions by the credential's id, with one query."""
    permitted = dict.fromkeys(numbers, frozenset({REVEAL, *settings.SUBSCRIBER_ACTIONS}))
    of_products = (
        Assignment.objects.at(timezone.now())
        .filter(credential__in=numbers)
        .values_list(
            "credential",
            *(f"subscription__product__{field}" for field in PRODUCT_FIELDS.values()),
        )
    )
    for number, *allowed in of_products:
        pairs = zip(PRODUCT_FIELDS, allowed, strict=True)
        permitted[number] -= {action for action, is_allowed in pairs if not is_allowed}
    return permitted
