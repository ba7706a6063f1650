"""Calls that gateways were told to refuse, as far as they concern the user."""

from django.urls import reverse
from django.utils.http import urlencode

from metering.models import RefusedCall
from metering.verification.figures import find_receipt
from revcred.models.credentials import CredentialQuerySet

RECEIPT_PARAMETER = "check"  # as in X-Revcred-Check


def find_own_receipt(text: str, credentials: CredentialQuerySet) -> RefusedCall | None:
    """Return the receipt of a refused call by its id, if it is of one of these credentials.

    A call that a gateway only observed was let through: that is the provider's to know.
    """
    found = find_receipt(text)
    if found is None or found.observed or found.credential_id is None:
        return None
    return found if credentials.filter(pk=found.credential_id).exists() else None


def address_of_receipt(refused: RefusedCall) -> str:
    """Return where the page of its credential shows the receipt."""
    page = reverse("storefront:credential", args=[refused.credential_id])
    return f"{page}?{urlencode({RECEIPT_PARAMETER: str(refused.pk)})}#refused"
