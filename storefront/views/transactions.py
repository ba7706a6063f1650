"""The receipt of a transaction."""

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from metering.ledger.receipts import history_of_standing_row, receipt_of_row
from storefront.access import SignedInRequest, own_transactions, sign_in_required


@sign_in_required
def transaction_page(request: SignedInRequest, transaction: UUID) -> HttpResponse:
    """Show the receipt as it stands today: a correction may have moved the transaction."""
    mine = own_transactions(request.user)
    asked = get_object_or_404(mine, pk=transaction)
    standing = get_object_or_404(
        mine.standing(),
        occurred_at=asked.occurred_at,
        gateway=asked.gateway_id,
        transaction_id=asked.transaction_id,
    )
    receipt = receipt_of_row(standing)
    context = {
        "row": standing,
        "receipt": receipt,
        "history": history_of_standing_row(standing, receipt.conflicts),
    }
    return render(request, "storefront/receipt.html", context)
