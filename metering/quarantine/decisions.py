"""Decisions on calls that wait: each makes the dated alias or assignment that it stands for.

There is no second store of rules. A remembered decision holds from the first waiting call on; one
that is not remembered ends with the last.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.transaction import atomic

from revcred.actions import credentials
from revcred.models import Credential, Subscription, User
from revcred.models.periods import start_of_second


def end_of_decision(last_call: datetime) -> datetime:
    """Return when a decision about calls up to `last_call` ends that is not remembered.

    A moment in whole seconds stands for any moment of its second, so the second belongs to it.
    """
    return start_of_second(last_call) + timedelta(seconds=1)


@atomic
def charge_credential_to(
    *,
    credential: Credential,
    subscription: Subscription,
    since: datetime,
    until: datetime | None,
    instead_of: Iterable[Subscription] = (),
    by: User | None,
) -> None:
    """Charge the credential's calls to the subscription from `since` to `until` (None: no end).

    `instead_of`: subscriptions that are not charged in that time. An assignment that begins later
    is brought forward, and keeps its end.

    Raises SubscriptionOfOtherCustomer, AlreadyAssigned, CredentialRevoked, NotAssigned.
    """
    since = start_of_second(since)
    for other in instead_of:
        _suspend_assignment(credential, other, since=since, until=until, by=by)
    held = credential.assignments.not_ended_at(since).filter(subscription=subscription)
    later = held.order_by("active_from").first()
    if later is None:
        ends_at = until
    elif later.active_from <= since:
        return
    else:
        # It has to end before it may begin earlier: a period has one row.
        credentials.unassign_subscription(
            credential=credential, subscription=subscription, at=later.active_from, by=by
        )
        ends_at = later.active_until
    credentials.assign_subscription(
        credential=credential, subscription=subscription, at=since, by=by
    )
    if ends_at:
        credentials.unassign_subscription(
            credential=credential, subscription=subscription, at=ends_at, by=by
        )


def _suspend_assignment(
    credential: Credential,
    subscription: Subscription,
    *,
    since: datetime,
    until: datetime | None,
    by: User | None,
) -> None:
    """End the assignment at `since`, and begin it again at `until` if it lasts longer."""
    held = credential.assignments.not_ended_at(since).filter(subscription=subscription)
    assignment = held.order_by("active_from").first()
    if assignment is None:
        return
    began, ends_at = max(since, assignment.active_from), assignment.active_until
    if until and began >= until:
        return
    credentials.unassign_subscription(
        credential=credential, subscription=subscription, at=began, by=by
    )
    if until and (ends_at is None or ends_at > until):
        credentials.assign_subscription(
            credential=credential, subscription=subscription, at=until, by=by
        )
        if ends_at:
            credentials.unassign_subscription(
                credential=credential, subscription=subscription, at=ends_at, by=by
            )
