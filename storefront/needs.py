"""What needs somebody, on the overview: what is wrong, with the verb that mends it, worst first."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext, ngettext

from metering.models.transactions import QuarantineReason
from metering.verification.figures import RefusedFigure
from revcred.actions.permitted_actions import permitted_actions_by_credential
from revcred.languages import within_sentence
from revcred.models import Credential, ExternalKey
from revcred.models.credentials import CredentialQuerySet
from storefront.formatting import plain_number, short_moment_with_zone, time_since
from storefront.listings import (
    CredentialsShown,
    SubscriptionRow,
    ending_keys,
    narrow_credentials,
)
from storefront.uncounted import UncountedGroup

MAX_NEEDS_OF_A_KIND = 5
ENDING_SOON_PERIOD = timedelta(days=30)
STILL_USED_PERIOD = timedelta(days=1)
UNUSED_PERIOD = timedelta(days=7)  # nobody has to use a new credential at once


class Harm(IntEnum):
    """Kinds of needs, the worst first."""

    USED_AFTER_REVOCATION = 1
    NOT_COUNTED = 2
    REFUSED = 3
    OLD_KEY_USED = 4
    OVER_QUOTA = 5
    AHEAD_OF_QUOTA = 6
    EXPIRING = 7
    OLD_KEY_UNUSED = 8
    NEVER_USED = 9


@dataclass(frozen=True, kw_only=True)
class Need:
    """One line: what it is about, what is wrong, and where that is mended.

    `group`: calls that are not counted, of which the page makes the sentence. `verbs`: pairs of
    text and address.
    """

    harm: Harm
    name: str = ""
    address: str = ""
    group: UncountedGroup | None = None
    sentence: str = ""
    remedy: str = ""
    verbs: list[tuple[str, str]] = field(default_factory=list)


def needs_of_credentials(
    credentials: CredentialQuerySet,
    now: datetime,
    *,
    uncounted: Iterable[tuple[Credential, UncountedGroup]],
    refused: Iterable[RefusedFigure],
    managed: Collection[int],
) -> Iterator[Need]:
    """Yield the needs of these credentials.

    `managed`: ids of the customers whose credentials the person may change.
    """
    for credential, group in uncounted:
        yield _uncounted_need(credential, group)
    for figure in refused:
        if figure.credential:
            yield _refused_need(figure.credential, figure)
    ending = list(
        ending_keys(credentials, now, before=now + ENDING_SOON_PERIOD)[:MAX_NEEDS_OF_A_KIND]
    )
    permitted = permitted_actions_by_credential([key.credential_id for key in ending])
    for key in ending:
        may_rotate = (
            key.credential.customer_id in managed and "rotate" in permitted[key.credential_id]
        )
        yield _ending_key_need(key, now, may_change=may_rotate)
    expiring = credentials.filter(
        revoked_at=None, expires_at__gt=now, expires_at__lte=now + ENDING_SOON_PERIOD
    )
    for credential in expiring.order_by("expires_at")[:MAX_NEEDS_OF_A_KIND]:
        yield _expiring_need(credential)
    unused = narrow_credentials(credentials, CredentialsShown.UNUSED, now).filter(
        created_at__lt=now - UNUSED_PERIOD
    )
    names = list(unused.order_by("created_at", "pk")[: MAX_NEEDS_OF_A_KIND + 1])
    if names:
        yield _unused_need(names)


def needs_of_subscriptions(rows: Iterable[SubscriptionRow]) -> Iterator[Need]:
    """Yield the needs of owned subscriptions whose quota is used up, or will be."""
    for row in rows:
        quota = row.subscription.quota
        if not row.owned or not quota:
            continue
        sentence = gettext("%(calls)s of %(quota)s calls of this month are used.") % {
            "calls": plain_number(round(row.calls_this_month)),
            "quota": plain_number(quota),
        }
        if row.calls_this_month > quota:
            harm = Harm.OVER_QUOTA
        elif row.projected is not None and row.projected > quota:
            harm = Harm.AHEAD_OF_QUOTA
            sentence += gettext(" At this pace there will be about %(calls)s.") % {
                "calls": plain_number(round(row.projected))
            }
        else:
            continue
        address = reverse("storefront:subscription", args=[row.subscription.pk])
        yield Need(
            harm=harm,
            name=row.subscription.name,
            address=address,
            sentence=sentence,
            remedy=gettext("Find out what makes them, or ask your provider for more."),
            verbs=[(gettext("See which credential"), address)],
        )


def worst_first(needs: Iterable[Need]) -> list[Need]:
    """Return the needs by harm; those of one kind stay in their order."""
    return sorted(needs, key=lambda need: need.harm)


def _address_of(credential: Credential, anchor: str = "") -> str:
    return reverse("storefront:credential", args=[credential.pk]) + anchor


def _calls(**query: Any) -> str:
    return f"{reverse('storefront:calls')}?{urlencode(query)}"


def _in_words(moment: datetime | None) -> str:
    return (
        gettext("on %(moment)s") % {"moment": short_moment_with_zone(moment)}
        if moment
        else gettext("never")
    )


def _uncounted_need(credential: Credential, group: UncountedGroup) -> Need:
    is_revoked = credential.revoked_at is not None and (
        group.reason is QuarantineReason.KEY_NOT_VALID
    )
    remedy = group.remedy
    if is_revoked:
        remedy = gettext(
            "It was revoked, and something still sends its key. Give that another key."
        )
    see = gettext("See it") if group.calls == 1 else gettext("See them")
    return Need(
        harm=Harm.USED_AFTER_REVOCATION if is_revoked else Harm.NOT_COUNTED,
        name=credential.name,
        address=_address_of(credential),
        group=group,
        remedy=remedy,
        verbs=[
            (
                see,
                _calls(show="uncounted", credential=credential.pk, since=group.first.date()),
            )
        ],
    )


def _refused_need(credential: Credential, figure: RefusedFigure) -> Need:
    sentence = ngettext(
        "%(calls)s call was refused in the last 7 days: %(why)s.",
        "%(calls)s calls were refused in the last 7 days: %(why)s.",
        figure.calls,
    ) % {"calls": plain_number(figure.calls), "why": within_sentence(figure.code.label)}
    return Need(
        harm=Harm.REFUSED,
        name=credential.name,
        address=_address_of(credential),
        sentence=sentence,
        remedy=gettext(figure.advice),
        verbs=[(gettext("See which"), _address_of(credential, "#refused"))],
    )


def _ending_key_need(key: ExternalKey, now: datetime, *, may_change: bool) -> Need:
    used = key.last_used_at
    is_used = used is not None and used > now - STILL_USED_PERIOD
    ends = gettext("its old key …%(hint)s ends %(when)s") % {
        "hint": key.hint,
        "when": _in_words(key.active_until),
    }
    verbs = [(gettext("See which calls use it"), _address_of(key.credential, "#rotation"))]
    arguments = [key.credential_id, key.pk]
    if is_used and used is not None:
        if may_change:
            verbs.append(
                (gettext("Let it work longer"), reverse("storefront:extend_key", args=arguments))
            )
        return Need(
            harm=Harm.OLD_KEY_USED,
            name=key.credential.name,
            address=_address_of(key.credential),
            sentence=gettext("%(ends)s, and is still used, last %(time)s ago.")
            % {"ends": ends, "time": time_since(used, now)},
            remedy=gettext("Give its new key to whatever still sends the old one."),
            verbs=verbs,
        )
    if may_change:
        verbs.append((gettext("End it now"), reverse("storefront:end_key", args=arguments)))
    return Need(
        harm=Harm.OLD_KEY_UNUSED,
        name=key.credential.name,
        address=_address_of(key.credential),
        sentence=gettext("%(ends)s. Nothing has used it for a day.") % {"ends": ends},
        verbs=verbs,
    )


def _expiring_need(credential: Credential) -> Need:
    return Need(
        harm=Harm.EXPIRING,
        name=credential.name,
        address=_address_of(credential),
        sentence=gettext("it expires %(when)s.") % {"when": _in_words(credential.expires_at)},
        remedy=gettext(
            "Ask whoever provides your API for a later expiry, or get another credential."
        ),
        verbs=[(gettext("Get another credential"), reverse("storefront:new_credential"))],
    )


def _unused_need(credentials: list[Credential]) -> Need:
    listed = f"{reverse('storefront:credentials')}?show={CredentialsShown.UNUSED}"
    if len(credentials) > 1:
        many = len(credentials) > MAX_NEEDS_OF_A_KIND
        count = (
            gettext("More than %(number)s") % {"number": MAX_NEEDS_OF_A_KIND}
            if many
            else f"{len(credentials)}"
        )
        return Need(
            harm=Harm.NEVER_USED,
            sentence=gettext("%(count)s credentials have never been used.") % {"count": count},
            remedy=gettext("Use them, or revoke those that nobody needs."),
            verbs=[(gettext("See them"), listed)],
        )
    [credential] = credentials
    return Need(
        harm=Harm.NEVER_USED,
        name=credential.name,
        address=_address_of(credential),
        sentence=gettext("it has never been used."),
        remedy=gettext("Make a first call with its key, or revoke it if nobody needs it."),
        verbs=[(gettext("Make the first call"), _address_of(credential, "#first-call"))],
    )
