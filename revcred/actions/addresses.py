"""Actions on sign-in addresses. A new one counts once it is confirmed from there.

The link alone confirms nothing while the person has a password: it asks for it, so that nobody
takes over a login by having somebody else's address changed. Only a superuser may spare the
password, for people who lost both mailbox and password.
"""

from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from django.core import signing
from django.db.models import F
from django.db.transaction import atomic
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from revcred.actions import users
from revcred.actions.users import Refused, StaffSignsIn, SubscriberSignsIn
from revcred.models import AddressChange, AuditEvent, Customer, Subscriber, User
from revcred.models.users import ADDRESS_CHANGE_OPEN
from revcred.outbox import absolute_url, notify_owners, queue_mail, site_name

Verb = AuditEvent.Verb

CONFIRMING = "revcred.address.confirm"
STOPPING = "revcred.address.stop"


class AddressTaken(Refused):
    """Somebody else has the address."""

    sentence = "Somebody else has this address. Every login and subscriber has one of its own."


class DecidesWhoBelongs(Refused):
    """The address decides who becomes the member, as no login holds the memberships yet."""

    sentence = (
        "This subscriber belongs to a customer and has not accepted an invitation yet: whoever has"
        " the address will. To change it you need the right to change memberships."
    )


class NotOpen(Refused):
    """The change was confirmed or cancelled already, or is too old."""

    sentence = "This link has been used, was cancelled, or is too old. Ask for another."


def refuse(*, user: User, email: str, by: User | None) -> None:
    """Raise the reason why `by` may not ask for this address for the user, if there is one.

    Raises NotBelow, AddressTaken, StaffSignsIn, SubscriberSignsIn, DecidesWhoBelongs.
    """
    if by is not None:
        is_own = by.pk == user.pk
        is_staff = users.level_of(user=user) > users.Level.SUBSCRIBER
        if is_staff and not is_own and not users.is_superuser_above(user=user, by=by):
            raise users.NotBelow
        if not is_own:
            users.refuse_unless_below(user=user, by=by)
        if not user.has_usable_password() and not users.is_superuser_above(user=user, by=by):
            for subscriber in Subscriber.objects.of(user):
                refuse_to_decide_who_belongs(subscriber=subscriber, by=by)
    _refuse_taken(user, email)


def refuse_to_decide_who_belongs(*, subscriber: Subscriber, by: User) -> None:
    """Raise DecidesWhoBelongs if `by` would pass memberships on that nobody holds by password."""
    if subscriber.memberships.exists() and not by.has_perm("revcred.change_membership"):
        raise DecidesWhoBelongs


@atomic
def ask(*, user: User, email: str, by: User | None, request: HttpRequest) -> AddressChange | None:
    """Send the new address a link to confirm it, and tell the old one, which stays until then.

    A change asked for earlier is cancelled. Returns None if the address is the present one.
    Raises as `refuse`.
    """
    email = email.lower()
    user = _locked(user)
    refuse(user=user, email=email, by=by)
    for earlier in user.address_changes.filter(confirmed_at=None, cancelled_at=None):
        _cancel(earlier, by, request)
    if email == user.email:
        return None
    spares_password = by is not None and users.is_superuser_above(user=user, by=by)
    change = AddressChange.objects.create(
        user=user,
        old_email=user.email,
        new_email=email,
        asked_by=by,
        needs_password=user.has_usable_password() and not spares_password,
    )
    _record(Verb.ADDRESS_ASKED, user, by, request, change)
    site = {"user": user, "change": change, "site": site_name(request)}
    url = _link("account_confirm_address", change, CONFIRMING, request)
    queue_mail("emails/address_confirm", change.new_email, site | {"url": url})
    url = _link("account_stop_address", change, STOPPING, request)
    queue_mail("emails/address_asked", change.old_email, site | {"url": url})
    return change


def by_token(*, token: str, purpose: str) -> AddressChange:
    """Return the open change that a link stands for. Raises NotOpen."""
    try:
        number = signing.loads(token, salt=purpose, max_age=ADDRESS_CHANGE_OPEN)
    except signing.BadSignature as error:
        raise NotOpen from error
    change = AddressChange.objects.open().filter(pk=number).select_related("user").first()
    if change is None:
        raise NotOpen
    return change


@atomic
def confirm(*, change: AddressChange, request: HttpRequest) -> None:
    """Let the new address count: all sessions of the person end, and reveals rest.

    Whoever asks has seen to the link, and to the password if the change needs it. The old address
    and the owners of the subscriber's customers are told. Raises NotOpen, AddressTaken,
    StaffSignsIn, SubscriberSignsIn.
    """
    user = _locked(change.user)
    change = _still_open(change)
    _refuse_taken(user, change.new_email)
    change.confirmed_at = timezone.now()
    change.save(update_fields=["confirmed_at"])
    User.objects.filter(pk=user.pk).update(
        email=change.new_email,
        session_number=F("session_number") + 1,
        reveals_rest_since=change.confirmed_at,
    )
    EmailAddress.objects.filter(user=user).delete()
    EmailAddress.objects.create(user=user, email=change.new_email, verified=True, primary=True)
    Subscriber.objects.filter(user=user).update(email=change.new_email)
    user.refresh_from_db()
    _record(Verb.ADDRESS_CHANGED, user, user, request, change)
    context = {"user": user, "change": change, "site": site_name(request)}
    queue_mail("emails/address_changed", change.old_email, context)
    tell_owners(change=change, actor=user)


@atomic
def cancel(*, change: AddressChange, by: User | None, request: HttpRequest) -> None:
    """Drop a new address before it counts. `by` is None if the old address's link asked for it.

    Raises NotBelow, NotOpen.
    """
    _locked(change.user)
    change = _still_open(change)
    if by is not None and by.pk != change.user_id:
        users.refuse_unless_below(user=change.user, by=by)
    _cancel(change, by, request)


@atomic
def resume_reveals(*, user: User, request: HttpRequest) -> None:
    """Let keys be revealed again: the person signed in and confirmed by password."""
    if User.objects.filter(pk=user.pk, reveals_rest_since__isnull=False).update(
        reveals_rest_since=None
    ):
        address = get_adapter(request).get_client_ip(request)
        AuditEvent.objects.record(Verb.REVEALS_RESUMED, target=user, by=user, address=address)


def tell_owners(*, change: AddressChange, actor: User | None) -> None:
    """Tell the owners of all customers that the person is a member of."""
    for customer in Customer.objects.filter(memberships__subscriber__user=change.user_id):
        notify_owners(
            customer,
            "emails/member_address",
            {"old": change.old_email, "new": change.new_email},
            actor=actor,
        )


def _refuse_taken(user: User, email: str) -> None:
    is_staff = users.level_of(user=user) > users.Level.SUBSCRIBER
    other = User.objects.filter(email__iexact=email).exclude(pk=user.pk).first()
    if other is not None and not is_staff and users.level_of(user=other) > users.Level.SUBSCRIBER:
        raise StaffSignsIn
    if other is not None:
        raise AddressTaken
    subscribers = Subscriber.objects.filter(email__iexact=email).exclude(user=user)
    if subscribers.exists():
        raise SubscriberSignsIn if is_staff else AddressTaken


def _locked(user: User) -> User:
    return User.objects.select_for_update(no_key=True).get(pk=user.pk)


def _still_open(change: AddressChange) -> AddressChange:
    found = AddressChange.objects.open().filter(pk=change.pk).select_related("user").first()
    if found is None:
        raise NotOpen
    return found


def _cancel(change: AddressChange, by: User | None, request: HttpRequest) -> None:
    change.cancelled_at = timezone.now()
    change.save(update_fields=["cancelled_at"])
    _record(Verb.ADDRESS_CANCELLED, change.user, by, request, change)


def _link(view: str, change: AddressChange, purpose: str, request: HttpRequest) -> str:
    token = signing.dumps(change.pk, salt=purpose)
    return absolute_url(reverse(view, args=[token]), request)


def _record(
    verb: Verb, user: User, by: User | None, request: HttpRequest, change: AddressChange
) -> None:
    address = get_adapter(request).get_client_ip(request)
    details = {"address": str(change)}
    AuditEvent.objects.record(verb, target=user, by=by, details=details, address=address)
