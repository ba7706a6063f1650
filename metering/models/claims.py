from datetime import datetime
from typing import Self
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from revcred.models import Credential, Product, Subscription, Upload
from revcred.texts import gettext_lazy


class ClaimQuerySet(models.QuerySet["Claim"]):
    def open(self) -> Self:
        return self.filter(finished_at=None)


class Claim(models.Model):
    """A change that may concern transactions of the past, and the progress of judging them again.

    Written in the transaction of the change, so that none is forgotten, and worked through in the
    background. It concerns the quarantine and, if `since` is set, what the ledger holds from that
    moment on. A claim without a target concerns all of it.
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
    # True if it concerns all products that have sources.
    with_sources = models.BooleanField(db_default=False, editable=False)
    since = models.DateTimeField(null=True, blank=True)
    # As counted before somebody confirmed the change; NULL where nobody was asked.
    expected = models.PositiveBigIntegerField("calls to move", null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    correcting = models.BooleanField(default=False, editable=False)
    # Since the last success. Each is recorded before it begins: it may kill its process.
    attempts = models.PositiveSmallIntegerField(db_default=0, editable=False)
    after = models.UUIDField(null=True, editable=False)
    looked_at = models.PositiveBigIntegerField("looked at", default=0, editable=False)
    attributed = models.PositiveBigIntegerField(default=0, editable=False)
    corrected = models.PositiveBigIntegerField(default=0, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    objects = ClaimQuerySet.as_manager()

    class Meta:
        verbose_name = verbose_name_plural = gettext_lazy("re-attribution")
        ordering = ("-pk",)
        indexes = (
            models.Index(fields=["id"], condition=Q(finished_at=None), name="claim_unfinished"),
        )

    def __str__(self) -> str:
        return self.cause

    def get_absolute_url(self) -> str:
        return reverse("admin:metering_claim_change", args=[self.pk])

    @property
    def moved(self) -> int:
        """Number of calls moved so far."""
        return self.attributed + self.corrected

    def record_expected_calls(self, calls: int) -> None:
        """Record how many calls somebody was told that it will move, for its page."""
        self.expected = calls
        self.save(update_fields=["expected"])

    def record_step(self, *, looked_at: int, found: int, last: UUID | None, at: datetime) -> None:
        """Record one step of judging. An empty one ends the quarantine's part, or the ledger's.

        `found`: the transactions with another owner. `last`: the id to continue after.
        """
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
