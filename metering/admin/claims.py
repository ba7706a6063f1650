from django.contrib import admin

from metering.admin.filters import (
    ClaimStateFilter,
    CreatedSinceFilter,
    CredentialFilter,
    ProductFilter,
    SubscriptionFilter,
)
from metering.models import Claim
from revcred.admin_toolkit.audited import ReadOnlyModelAdmin
from revcred.admin_toolkit.badges import badge


@admin.register(Claim)
class ClaimAdmin(ReadOnlyModelAdmin):
    """Claims: each re-attributes the transactions that a change concerns."""

    list_display = (
        "created_at",
        "cause",
        "state",
        "looked_at",
        "attributed",
        "corrected",
        "by",
        "finished_at",
    )
    list_filter = (
        ClaimStateFilter,
        CredentialFilter,
        SubscriptionFilter,
        ProductFilter,
        CreatedSinceFilter,
    )
    fields = (
        *("cause", "by", "state", "progress", "since"),
        *list_display[3:6],
        *("created_at", "finished_at"),
    )
    readonly_fields = fields

    @admin.display(description="state")
    def state(self, claim: Claim) -> str:
        if claim.finished_at:
            return badge("finished", "good")
        # A correction also moves calls that are attributed already; a claim only those that wait.
        return badge("correcting" if claim.correcting else "matching", "warn")

    @admin.display(description="progress")
    def progress(self, claim: Claim) -> str:
        """Return the number of calls moved so far, and of how many if they were counted before."""
        if claim.expected is None:
            return f"{claim.moved:,} calls moved"
        return f"{claim.moved:,} of {claim.expected:,} calls moved"
