"""Actions on subscribers: invitations, addresses and roles."""

from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from django.conf import settings
from django.core import signing
from django.db.transaction import atomic
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from revcred.actions import addresses, users
from revcred.actions.users import AddressOfStaff, LoginActionError, PersonErased
from revcred.models import AddressChange, AuditEvent, AuditVerb, Subscriber, User
from revcred.outbox import absolute_url, notify_owners, queue_mail
from revcred.texts import gettext_lazy

INVITATION_TOKEN_SALT = "revcred.invitation"  # noqa: S105 - no secret


class AddressOfAnotherSubscriber(LoginActionError):
    """The login with this address belongs to another subscriber."""

    sentence = gettext_lazy("Another subscriber signs in with this address already.")


class InvitationNotValid(LoginActionError):
    """The link is too old, was used, or was sent to a former address of the subscriber."""

    sentence = gettext_lazy(
        "This link was used before, is too old, or was sent to another address. Ask whoever"
        " provides your API for another."
    )


class InvitedLoginRequired(LoginActionError):
    """The invited address has a login, and somebody else tries to accept."""

    sentence = gettext_lazy("You have a login already. Sign in with it to accept the invitation.")


@atomic
def invite_subscriber(*, subscriber: Subscriber, by: User, request: HttpRequest) -> None:
    """Send a link by which the subscriber accepts and chooses a password.

    May be sent again. A login is created, or an existing one linked, only when the person accepts.
    Somebody who accepted already is sent the link for a new password.

    Raises AddressOfAnotherSubscriber, AddressOfStaff, PersonErased.
    """
    locked = Subscriber.objects.select_for_update(no_key=True)
    subscriber.refresh_from_db(fields=["user", "email", "erased_at"], from_queryset=locked)
    if subscriber.erased_at:
        raise PersonErased
    if subscriber.user is not None:
        if users.rank_of(user=subscriber.user) > users.LoginRank.SUBSCRIBER:
            raise AddressOfStaff
        email, url = subscriber.user.email, users.password_link(user=subscriber.user)
    else:
        email = subscriber.email.lower()
        check_login_available(email=email)
        url = absolute_url(reverse("account_invitation", args=[_invitation_token(subscriber)]))
    # Shows support when the last invitation went out; its validity is in the token.
    subscriber.invited_at = timezone.now()
    subscriber.save(update_fields=["invited_at"])
    _record_subscriber_event(AuditVerb.INVITED, subscriber, by, request)
    context = {"user": subscriber, "url": url, "email": email}
    queue_mail("emails/invitation", email, context)


def subscriber_by_invitation(*, token: str) -> Subscriber:
    """Return the subscriber that an invitation's token stands for. Raises InvitationNotValid."""
    try:
        number, email = signing.loads(
            token, salt=INVITATION_TOKEN_SALT, max_age=settings.PASSWORD_RESET_TIMEOUT
        )
    except signing.BadSignature as error:
        raise InvitationNotValid from error
    # The address is part of the token: a link to a former address opens nothing.
    subscriber = Subscriber.objects.filter(pk=number, user=None, email__iexact=email).first()
    if subscriber is None:
        raise InvitationNotValid
    return subscriber


def login_with_address(*, email: str) -> User | None:
    """Return the login with this address, in any case of letters."""
    return User.objects.filter(email__iexact=email).first()


@atomic
def accept_invitation(
    *, token: str, request: HttpRequest, user: User | None = None, password: str | None = None
) -> Subscriber:
    """Link the subscriber to the login of the person who accepts.

    If no login has the address, one is created with `password`; if one has, it has to be `user`.
    Raises InvitationNotValid, InvitedLoginRequired, AddressOfAnotherSubscriber, AddressOfStaff.
    """
    invited = subscriber_by_invitation(token=token)
    # Two clicks on one link wait for each other here; the second finds the link used.
    Subscriber.objects.select_for_update(no_key=True).get(pk=invited.pk)
    subscriber = subscriber_by_invitation(token=token)  # as it is now that nobody else changes it
    email = subscriber.email.lower()
    check_login_available(email=email)
    login = login_with_address(email=email)
    if login is None:
        if not password:
            raise InvitedLoginRequired
        # Verified: the link came by a mail to this address.
        login = User.objects.create_user(email, password, name=subscriber.name[:150])
        EmailAddress.objects.create(user=login, email=email, verified=True, primary=True)
    # Somebody else signed in here could link a stranger's subscriber to the own login.
    elif user is None or user.pk != login.pk or not login.is_active:
        raise InvitedLoginRequired
    subscriber.user = login
    subscriber.save(update_fields=["user"])
    _record_subscriber_event(AuditVerb.INVITATION_ACCEPTED, subscriber, login, request)
    return subscriber


def check_login_available(*, email: str) -> None:
    """Raise AddressOfStaff or AddressOfAnotherSubscriber if no subscriber can sign in with it."""
    login = login_with_address(email=email)
    if login is None:
        return
    if users.rank_of(user=login) > users.LoginRank.SUBSCRIBER:
        raise AddressOfStaff
    if Subscriber.objects.of(login).exists():
        raise AddressOfAnotherSubscriber


def check_subscriber_address(*, subscriber: Subscriber, email: str, by: User) -> None:
    """Raise the reason why `by` may not give the subscriber this address, if there is one."""
    if subscriber.user is not None:
        addresses.check_address_change(user=subscriber.user, email=email, by=by)
        return
    addresses.check_membership_right(subscriber=subscriber, by=by)
    check_login_available(email=email)


@atomic
def change_subscriber_address(
    *, subscriber: Subscriber, email: str, by: User, request: HttpRequest
) -> AddressChange | None:
    """Give the subscriber another address, or request it if there is a login.

    Returns the change that waits for confirmation. Returns None if there is no login: the address
    is then changed at once, an invitation sent to the old one is void, and the old one is told.

    Raises LoginRankTooHigh, AddressTaken, AddressOfStaff, AddressOfAnotherSubscriber,
    MembershipRightRequired.
    """
    email = email.lower()
    before = Subscriber.objects.select_for_update(no_key=True).get(pk=subscriber.pk)
    if before.user is not None:
        return addresses.request_address_change(
            user=before.user, email=email, by=by, request=request
        )
    check_subscriber_address(subscriber=before, email=email, by=by)
    if email == before.email:
        return None
    Subscriber.objects.filter(pk=before.pk).update(email=email, invited_at=None)
    _record_subscriber_event(
        AuditVerb.ADDRESS_CHANGED, before, by, request, address=f"{before.email} → {email}"
    )
    # Otherwise nobody expects anything at the old address.
    if before.invited_at:
        context = {"subscriber": before, "new": email}
        queue_mail("emails/invitation_void", before.email.lower(), context)
    for membership in before.memberships.select_related("customer"):
        context = {"old": before.email, "new": email}
        notify_owners(membership.customer, "emails/member_address", context, actor=by)
    subscriber.email, subscriber.invited_at = email, None
    return None


def _invitation_token(subscriber: Subscriber) -> str:
    # No token is stored. A used link is void because the subscriber has a login then.
    return signing.dumps([subscriber.pk, subscriber.email.lower()], salt=INVITATION_TOKEN_SALT)


def _record_subscriber_event(
    verb: AuditVerb, target: Subscriber, by: User, request: HttpRequest, **details: str
) -> None:
    address = get_adapter(request).get_client_ip(request)
    AuditEvent.objects.record(verb, target=target, by=by, details=details, address=address)
