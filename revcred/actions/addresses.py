"""Actions on sign-in addresses. A new address counts once it is confirmed from there.

The link alone confirms nothing while the person has a password: the page asks for it, so that
nobody takes over a login by having somebody else's address changed. Only a superuser may spare the
password, for people who lost both mailbox and password.
"""

from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from django.core import signing
from django.db.transaction import atomic
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from revcred.actions import users
from revcred.actions.users import AddressOfStaff, AddressOfSubscriber, LoginActionError
from revcred.models import AddressChange, AuditEvent, AuditVerb, Customer, Subscriber, User
from revcred.models.sessions import end_all_sessions
from revcred.models.users import ADDRESS_CHANGE_LIFETIME
from revcred.outbox import absolute_url, notify_owners, queue_mail
from revcred.texts import gettext_lazy

# Salts of the signed links. With one salt for both, a link that stops a change could be turned into
# one that confirms it.
CONFIRM_TOKEN_SALT = "revcred.address.confirm"  # noqa: S105 - no secret
STOP_TOKEN_SALT = "revcred.address.stop"  # noqa: S105 - no secret


class AddressTaken(LoginActionError):
    """Another login or subscriber has the address."""

    sentence = gettext_lazy(
        "Somebody else has this address. Every login and subscriber has one of its own."
    )


class MembershipRightRequired(LoginActionError):
    """Changing the address would pass memberships on, which takes the right to change them."""

    sentence = gettext_lazy(
        "This subscriber belongs to a customer and has not accepted an invitation yet:"
        " whoever has the address will. To change it you need the right to change"
        " memberships."
    )


class AddressChangeNotOpen(LoginActionError):
    """The change was confirmed or cancelled already, or is too old."""

    sentence = gettext_lazy(
        "This link has been used, was cancelled, or is too old. Ask for another."
    )


def check_address_change(*, user: User, email: str, by: User | None) -> None:
    """Raise the reason why `by` may not request this address for the user, if there is one.

    `by`: None for the operator on the command line. Raises LoginRankTooHigh, AddressTaken,
    AddressOfStaff, AddressOfSubscriber, MembershipRightRequired.
    """
    if by is not None:
        is_own = by.pk == user.pk
        is_staff = users.rank_of(user=user) > users.LoginRank.SUBSCRIBER
        if is_staff and not is_own and not users.is_superuser_above(user=user, by=by):
            raise users.LoginRankTooHigh
        if not is_own:
            users.check_ranked_below(user=user, by=by)
        # Without a password the link alone confirms: whoever gets the address gets the memberships.
        if not user.has_usable_password() and not users.is_superuser_above(user=user, by=by):
            for subscriber in Subscriber.objects.of(user):
                check_membership_right(subscriber=subscriber, by=by)
    _check_address_free(user, email)


def check_membership_right(*, subscriber: Subscriber, by: User) -> None:
    """Raise MembershipRightRequired if `by` would pass memberships on that no password protects."""
    if subscriber.memberships.exists() and not by.has_perm("revcred.change_membership"):
        raise MembershipRightRequired


@atomic
def request_address_change(
    *, user: User, email: str, by: User | None, request: HttpRequest
) -> AddressChange | None:
    """Send the new address a link to confirm it, and tell the old one, which stays until then.

    Cancels a change requested earlier. Returns None if the address is the present one. Raises as
    `check_address_change`.
    """
    email = email.lower()
    user = _lock_user(user)
    check_address_change(user=user, email=email, by=by)
    # At most one change of a login is open: a unique constraint says so, too.
    for earlier in user.address_changes.filter(confirmed_at=None, cancelled_at=None):
        _cancel_and_record(earlier, by, request)
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
    _record_address_event(AuditVerb.ADDRESS_ASKED, user, by, request, change)
    context = {"user": user, "change": change}
    url = _address_change_link("account_confirm_address", change, CONFIRM_TOKEN_SALT)
    queue_mail("emails/address_confirm", change.new_email, context | {"url": url})
    url = _address_change_link("account_stop_address", change, STOP_TOKEN_SALT)
    queue_mail("emails/address_asked", change.old_email, context | {"url": url})
    return change


def address_change_by_token(*, token: str, purpose: str) -> AddressChange:
    """Return the open change that a link's token stands for. Raises AddressChangeNotOpen."""
    try:
        number = signing.loads(token, salt=purpose, max_age=ADDRESS_CHANGE_LIFETIME)
    except signing.BadSignature as error:
        raise AddressChangeNotOpen from error
    change = AddressChange.objects.open().filter(pk=number).select_related("user").first()
    if change is None:
        raise AddressChangeNotOpen
    return change


@atomic
def confirm_address_change(*, change: AddressChange, request: HttpRequest) -> None:
    """Make the new address count, end all sessions of the person and pause reveals.

    The caller has checked the link, and the password if the change needs one. The old address and
    the owners of the subscriber's customers are told. Raises AddressChangeNotOpen, AddressTaken,
    AddressOfStaff, AddressOfSubscriber.
    """
    user = _lock_user(change.user)
    change = _get_open_change(change)
    _check_address_free(user, change.new_email)
    change.confirmed_at = timezone.now()
    change.save(update_fields=["confirmed_at"])
    User.objects.filter(pk=user.pk).update(
        email=change.new_email, reveals_rest_since=change.confirmed_at
    )
    # Whoever took a session over before the change is out as well.
    end_all_sessions(user)
    # allauth keeps addresses in a table of its own and signs in by it, so the two are kept alike.
    EmailAddress.objects.filter(user=user).delete()
    EmailAddress.objects.create(user=user, email=change.new_email, verified=True, primary=True)
    Subscriber.objects.filter(user=user).update(email=change.new_email)
    user.refresh_from_db()
    _record_address_event(AuditVerb.ADDRESS_CHANGED, user, user, request, change)
    context = {"user": user, "change": change}
    queue_mail("emails/address_changed", change.old_email, context)
    notify_owners_of_address_change(change=change, actor=user)


@atomic
def cancel_address_change(*, change: AddressChange, by: User | None, request: HttpRequest) -> None:
    """Drop a new address before it counts.

    `by`: None if the link in the mail to the old address asked for it. Raises LoginRankTooHigh,
    AddressChangeNotOpen.
    """
    _lock_user(change.user)
    change = _get_open_change(change)
    if by is not None and by.pk != change.user_id:
        users.check_ranked_below(user=change.user, by=by)
    _cancel_and_record(change, by, request)


@atomic
def resume_reveals(*, user: User, request: HttpRequest) -> None:
    """Let keys be revealed again. The caller has checked sign-in and password."""
    if User.objects.filter(pk=user.pk, reveals_rest_since__isnull=False).update(
        reveals_rest_since=None
    ):
        address = get_adapter(request).get_client_ip(request)
        AuditEvent.objects.record(AuditVerb.REVEALS_RESUMED, target=user, by=user, address=address)


def notify_owners_of_address_change(*, change: AddressChange, actor: User | None) -> None:
    """Tell the owners of all customers that the person is a member of."""
    for customer in Customer.objects.filter(memberships__subscriber__user=change.user_id):
        notify_owners(
            customer,
            "emails/member_address",
            {"old": change.old_email, "new": change.new_email},
            actor=actor,
        )


def _check_address_free(user: User, email: str) -> None:
    """Raise AddressOfStaff, AddressOfSubscriber or AddressTaken if another has the address."""
    is_staff = users.rank_of(user=user) > users.LoginRank.SUBSCRIBER
    other = User.objects.filter(email__iexact=email).exclude(pk=user.pk).first()
    if (
        other is not None
        and not is_staff
        and users.rank_of(user=other) > users.LoginRank.SUBSCRIBER
    ):
        raise AddressOfStaff
    if other is not None:
        raise AddressTaken
    subscribers = Subscriber.objects.filter(email__iexact=email).exclude(user=user)
    if subscribers.exists():
        raise AddressOfSubscriber if is_staff else AddressTaken


def _lock_user(user: User) -> User:
    return User.objects.select_for_update(no_key=True).get(pk=user.pk)


def _get_open_change(change: AddressChange) -> AddressChange:
    """Return the change as it is now. Raises AddressChangeNotOpen."""
    found = AddressChange.objects.open().filter(pk=change.pk).select_related("user").first()
    if found is None:
        raise AddressChangeNotOpen
    return found


def _cancel_and_record(change: AddressChange, by: User | None, request: HttpRequest) -> None:
    change.cancelled_at = timezone.now()
    change.save(update_fields=["cancelled_at"])
    _record_address_event(AuditVerb.ADDRESS_CANCELLED, change.user, by, request, change)


def _address_change_link(view: str, change: AddressChange, purpose: str) -> str:
    token = signing.dumps(change.pk, salt=purpose)
    return absolute_url(reverse(view, args=[token]))


def _record_address_event(
    verb: AuditVerb, user: User, by: User | None, request: HttpRequest, change: AddressChange
) -> None:
    address = get_adapter(request).get_client_ip(request)
    details = {"address": str(change)}
    AuditEvent.objects.record(verb, target=user, by=by, details=details, address=address)
