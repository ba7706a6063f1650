"""Actions that subscribers perform on their own credentials, and the mails about them.

They are the actions of `revcred.actions.credentials`, done for the customer: the provider's
suspensions and ends stay as they are. Holders and owners are told by mail, except whoever did it.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.db.transaction import atomic
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext

from revcred.actions import credentials
from revcred.actions.permitted_actions import permitted_actions
from revcred.models import Credential, ExternalKey, Membership, Subscriber, User
from revcred.outbox import absolute_url, queue_mail

CHANGE_MAIL = "emails/own_credential_changed"
# An end that was set by mistake can be moved for so long after it.
RESTORABLE_PERIOD = timedelta(days=7)


class NotAllowed(Exception):
    """The user is a viewer, sees the credential no more, or the action is not permitted."""


class KeyEndedLongAgo(Exception):
    """The key ended more than RESTORABLE_PERIOD ago, or has no end that could be moved."""


@atomic
def suspend_own_credential(*, credential: Credential, by: User) -> None:
    """Have calls with the credential not counted from now on. Raises NotAllowed and others."""
    _check_allowed(credential, by, "suspend")
    if credentials.suspend_credential(credential=credential, by=by, by_subscriber=True):
        _tell(
            credential,
            by,
            lambda: gettext(
                "suspended it. Calls with it are not counted until one of you resumes it."
            ),
        )


@atomic
def resume_own_credential(*, credential: Credential, by: User) -> None:
    """Have calls with the credential counted again, unless the provider suspended it.

    Raises NotAllowed, SuspendedByProvider and others.
    """
    _check_allowed(credential, by, "suspend")
    if credentials.resume_credential(credential=credential, by=by, by_subscriber=True):
        _tell(credential, by, lambda: gettext("resumed it. Calls with it are counted again."))


@atomic
def revoke_own_credential(*, credential: Credential, reason: str, by: User) -> None:
    """Revoke the credential for good. Raises NotAllowed and CredentialRevoked."""
    _check_allowed(credential, by, "revoke")
    credentials.revoke_credential(credential=credential, reason=reason, by=by)
    _tell(
        credential,
        by,
        lambda: gettext("revoked it for good. The reason given: %(reason)s") % {"reason": reason},
    )


@atomic
def rotate_own_credential(
    *,
    credential: Credential,
    overlap: timedelta,
    by: User,
    newest_key: int,
    key: str | None = None,
    secret: str | None = None,
) -> ExternalKey:
    """Add a new key, and end the old ones after `overlap`.

    `newest_key`: id of the newest key that the person saw. `key`: None generates one.

    Raises NotAllowed, RotatedMeanwhile, KeyInUse, KeyOfRevokedCredential, CredentialRevoked.
    """
    _check_allowed(credential, by, "rotate")
    new = credentials.rotate_credential(
        credential=credential,
        overlap=overlap,
        key=key,
        secret=secret,
        newest_key=newest_key,
        by_subscriber=True,
        by=by,
    )
    end = timezone.now() + overlap

    def rotated() -> str:
        if not overlap:
            text = gettext("rotated it. Its new key ends with %(hint)s. The old key ends now.")
            return text % {"hint": new.hint}
        return gettext(
            "rotated it. Its new key ends with %(hint)s. The old key ends at %(moment)s UTC."
        ) % {"hint": new.hint, "moment": _utc_text(end)}

    _tell(credential, by, rotated)
    return new


@atomic
def end_own_key(*, key: ExternalKey, by: User) -> None:
    """End an old key of a rotation now. Raises NotAllowed."""
    _check_allowed(key.credential, by, "rotate")
    if credentials.end_key(key=key, by=by, by_subscriber=True):
        _tell(
            key.credential,
            by,
            lambda: gettext("ended its old key that ends with %(hint)s.") % {"hint": key.hint},
        )


@atomic
def extend_own_key(*, key: ExternalKey, until: datetime, by: User) -> None:
    """Move the end of an old key to a later moment; one that ended lately works again.

    Raises NotAllowed, KeyEndedLongAgo, EndSetByProvider, KeyInUse, CredentialRevoked.
    """
    _check_allowed(key.credential, by, "rotate")
    if key.active_until is None or key.active_until < timezone.now() - RESTORABLE_PERIOD:
        raise KeyEndedLongAgo
    if credentials.extend_key(key=key, until=until, by=by, by_subscriber=True):
        _tell(
            key.credential,
            by,
            lambda: (
                gettext("let its old key that ends with %(hint)s work until %(moment)s UTC.")
                % {"hint": key.hint, "moment": _utc_text(until)}
            ),
        )


def _check_allowed(credential: Credential, by: User, action: str) -> None:
    """Raise NotAllowed, or RevealsPaused if the person's new address is not confirmed."""
    if action not in permitted_actions(credential):
        raise NotAllowed
    if by.reveals_rest_since:
        raise credentials.RevealsPaused
    is_visible = Credential.objects.visible_to(by).filter(pk=credential.pk).exists()
    if not (is_visible and credential.may_be_managed_by(by)):
        raise NotAllowed


def _utc_text(moment: datetime) -> str:
    return date_format(moment.astimezone(UTC), "DATETIME_FORMAT")


def _tell(credential: Credential, by: User, what: Callable[[], str]) -> None:
    """Tell the credential's holders and the customer's owners by mail, except `by`.

    `what` returns the rest of a sentence about `by`, in the language of each mail.
    """
    owners = Subscriber.objects.filter(
        memberships__customer=credential.customer,
        memberships__role=Membership.Role.OWNER,
        user__is_active=True,
    )
    addresses = {person.email for person in (*credential.holders.all(), *owners)}
    url = absolute_url(reverse("storefront:credential", args=[credential.pk]))
    for address in sorted(addresses - {by.email}):
        context = {"credential": credential, "by": by, "what": what, "url": url}
        queue_mail(CHANGE_MAIL, address, context)
