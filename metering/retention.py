"""Retention of what metering keeps besides calls: posts, conflicts, claims, undo data."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from metering.models import Claim, Conflict, IdempotentPost
from revcred.models import ExportedDigest, ExternalKey
from revcred.retention import DELETE_BATCH_ROWS, delete_beyond, delete_in_batches
from revcred.uploads import housekeeping

IDEMPOTENT_POST_RETENTION = timedelta(days=1)
DIGEST_OF_DELETED_KEY_RETENTION = timedelta(days=31)


def delete_idempotent_posts() -> None:
    """Delete answers that no post gets any more, and the oldest over the limit.

    A post whose answer was deleted early is taken again, and its calls are repeats.
    """
    before = timezone.now() - IDEMPOTENT_POST_RETENTION
    delete_in_batches(IdempotentPost.objects.filter(began_at__lt=before))
    delete_beyond(IdempotentPost.objects.all(), settings.MAX_IDEMPOTENT_POSTS, by="began_at")


def delete_conflicts() -> None:
    """Delete conflicts older than the ledger, and the oldest over the limit."""
    before = timezone.now() - timedelta(days=settings.LEDGER_DAYS)
    while True:
        # No index has their moments, but numbers are in the same order.
        oldest = Conflict.objects.order_by("pk").values_list("pk", "received_at")
        over = [pk for pk, received_at in oldest[:DELETE_BATCH_ROWS] if received_at < before]
        if not Conflict.objects.filter(pk__in=over).delete()[0]:
            break
    delete_beyond(Conflict.objects.all(), settings.MAX_CONFLICTS, by="pk")


def delete_finished_claims() -> None:
    """Delete claims that ended before the ledger begins, and the oldest over the limit."""
    finished = Claim.objects.exclude(finished_at=None)
    before = timezone.now() - timedelta(days=settings.LEDGER_DAYS)
    delete_in_batches(finished.filter(finished_at__lt=before))
    delete_beyond(finished, settings.MAX_FINISHED_CLAIMS, by="pk")


def delete_digests_of_deleted_keys() -> None:
    """Delete digests whose keys were deleted, once gateways have read of it."""
    before = timezone.now() - DIGEST_OF_DELETED_KEY_RETENTION
    deleted = ExportedDigest.objects.exclude(external_key__in=ExternalKey.objects.all())
    delete_in_batches(deleted.filter(changed_at__lt=before))


def drop_undo_data_of_uploads() -> None:
    """Drop undo data, except of uploads whose claims still look for what they changed."""
    claimed = Claim.objects.open().exclude(upload=None).values_list("upload", flat=True)
    housekeeping.drop_undo_data(except_of=set(claimed))
