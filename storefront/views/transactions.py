"""The receipt of a transaction."""

from typing import Any
from uuid import UUID

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from metering.ledger.receipts import (
    TransactionRow,
    history_of_standing_row,
    receipt_of_row,
    standing_row,
)
from metering.models import Quarantined, Transaction
from revcred.models import Credential
from storefront.access import (
    SignedInRequest,
    own_transactions,
    own_uncounted_calls,
    sign_in_required,
)
from storefront.uncounted import reason_text


@require_safe
@sign_in_required
def transaction_page(request: SignedInRequest, transaction: UUID) -> HttpResponse:
    """Show the receipt as it stands today, counted or not: a correction may have moved it."""
    asked = _own_row(request, transaction)
    # Its owner may be another customer by now, to whom alone the rest belongs.
    row = asked and _own_row(request, standing_row(asked).pk)
    if row is None:
        raise Http404
    receipt = receipt_of_row(row)
    context: dict[str, Any] = {
        "row": row,
        "receipt": receipt,
        "history": history_of_standing_row(row, receipt.conflicts),
        "credential": receipt.credential,
    }
    if isinstance(row, Quarantined):
        # Annotated by own_uncounted_calls.
        credential_id = row.credential_id  # type: ignore[attr-defined]
        context |= {
            "reason": reason_text(row.reason),
            "credential": Credential.objects.get(pk=credential_id),
        }
    return render(request, "storefront/receipt.html", context)


def _own_row(request: SignedInRequest, pk: UUID) -> TransactionRow | None:
    counted: Transaction | None = own_transactions(request.user).filter(pk=pk, sign=1).first()
    return counted or own_uncounted_calls(request.user).filter(pk=pk).first()
