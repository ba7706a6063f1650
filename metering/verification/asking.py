"""Checks answered by the database, where no memory of the register is at hand."""

from collections.abc import Sequence

from django.utils import timezone

from metering.verification.checking import CallAhead, Verdict, judge_ahead
from metering.verification.loading import LoadedRegister


def judge_calls_now(calls: Sequence[CallAhead], *, refuse_over_quota: bool) -> list[Verdict]:
    """Return what would become of each call, by a few queries in all."""
    register = LoadedRegister(calls, timezone.now())
    return [judge_ahead(call, register, refuse_over_quota=refuse_over_quota) for call in calls]
