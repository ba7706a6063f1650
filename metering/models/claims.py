from datetime import datetime
from typing import Self
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from revcred.models import Credential, Product, Subscription, Upload


class ClaimQuerySet(models.QuerySet["Claim"]):
    def open(self) -> Self:
        return self.filter(finished_at=None)


class Claim(models.Model):
    """Something appeared or changed that waiting transactions in quarantine may belong to.

    Written in the transaction that changes it, so that none is forgotten; worked through in the
    background. What has been attributed `since` a moment that the change reaches back to is
    judged again, too. A claim without a target concerns the whole quarantine.
    """

    cause = models.CharField(max_length=200)
    by = models.CharField(max_length=254, blank=True)
    credential = models.ForeignKey(
        Credential, models.CASCADE, null=True, blank=True, related_name="+"
    )
    subscription = models.ForeignKey(
        Subscription, models.CASCADE, null=True, blank=True, related_name="+"
    )
    product = models.ForeignKey(Product, models.CASCADE, null=True, blank=True, related_name="+")
    upload = models.ForeignKey(Upload, models.CASCADE, null=True, blank=True, related_name="+")
    # It concerns all products that have sources.
    with_sources = models.BooleanField(db_default=False, editable=False)
    since = models.DateTimeField(null=True, blank=True)
    # As counted when it was asked for, where it was counted.
    expected = models.PositiveBigIntegerField("calls to move", null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    correcting = models.BooleanField(default=False, editable=False)
    # Since one succeeded: on record before each, for what it judges may take the process along.
    attempts = models.PositiveSmallIntegerField(db_default=0, editable=False)
    after = models.UUIDField(null=True, editable=False)
    looked_at = models.PositiveBigIntegerField("looked at", default=0, editable=False)
    attributed = models.PositiveBigIntegerField(default=0, editable=False)
    corrected = models.PositiveBigIntegerField(default=0, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    objects = ClaimQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (
            models.Index(fields=["id"], condition=Q(finished_at=None), name="claim_unfinished"),
        )

    def __str__(self) -> str:
        return self.cause

    def get_absolute_url(self) -> str:
        return reverse("admin:metering_claim_change", args=[self.pk])

    def expect(self, calls: int) -> None:
        """Keep how many calls it was said to move, for its page."""
        self.expected = calls
        self.save(update_fields=["expected"])

    def note(self, *, looked_at: int, found: int, last: UUID | None, at: datetime) -> None:
        """Note one chunk. An empty one ends the quarantine's part, and then the ledger's."""
        self.attempts = 0
        if looked_at:
            self.looked_at += looked_at
            self.after = last
            if self.correcting:
                self.corrected += found
            else:
                self.attributed += found
        elif self.since and not self.correcting:
            self.correcting, self.after = True, None
        else:
            self.finished_at = at
        self.save()
