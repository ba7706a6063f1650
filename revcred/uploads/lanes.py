"""Lanes: small lists and checks do not wait until a long list has been applied.

A worker goes through all lanes at the same time, and through the uploads of one lane in the order
in which they came.
"""

from enum import StrEnum

from django.db.models import Q, QuerySet

from revcred.models import Upload

SMALL_LIST_BYTES = 2_000_000  # some twenty thousand rows


class Lane(StrEnum):
    SMALL = "small"  # whatever is done with a small list
    CHECKS = "checks"  # of long lists, also before they are undone
    CHANGES = "changes"  # long lists that are applied or undone


IS_SMALL = Q(size__lte=SMALL_LIST_BYTES)
IS_CHECK = Q(state__in=(Upload.State.CHECKING, Upload.State.UNDO_CHECK))
LANE_CONDITIONS = {
    Lane.SMALL: IS_SMALL,
    Lane.CHECKS: ~IS_SMALL & IS_CHECK,
    Lane.CHANGES: ~IS_SMALL & ~IS_CHECK,
}


def waiting_in(lane: Lane) -> QuerySet[Upload]:
    """Return the uploads in this lane that a worker is processing, or has to, the oldest first."""
    return Upload.objects.waiting().filter(LANE_CONDITIONS[lane]).order_by("pk")


def uploads_before(upload: Upload) -> QuerySet[Upload]:
    """Return the uploads that are processed before this one, the first of them first."""
    if upload.size <= SMALL_LIST_BYTES:
        lane = Lane.SMALL
    else:
        is_check = upload.state in (Upload.State.CHECKING, Upload.State.UNDO_CHECK)
        lane = Lane.CHECKS if is_check else Lane.CHANGES
    return waiting_in(lane).filter(pk__lt=upload.pk)
