"""Actions by which owners manage the people of their customer, and the end of a membership.

They are those of `revcred.actions.memberships`, `subscribers` and `credentials`, done for the
customer. A customer keeps an owner: no action takes the last one away.
"""

from collections.abc import Iterable, Mapping

from django.conf import settings
from django.db.transaction import atomic
from django.http import HttpRequest

from revcred.actions import credentials, memberships, subscribers
from revcred.actions.own_credentials import NotAllowed
from revcred.actions.users import LoginActionError, LoginRank, rank_of
from revcred.limits import Limit, count_attempt
from revcred.models import Credential, Customer, Membership, Subscriber, User
from revcred.models.sessions import end_all_sessions

Role = Membership.Role

ACTION = "team"  # in SUBSCRIBER_ACTIONS
# Every invitation is a mail to an address that somebody typed.
INVITATION_LIMIT = Limit("team invitations", 20, 3_600)


class LastOwner(Exception):
    """The customer would have no owner any more."""


class MemberAlready(Exception):
    """The person belongs to the customer already."""


class NotInvitable(Exception):
    """Only the provider may invite this address: it says neither why nor whose it is."""


class HasSignedUp(Exception):
    """The person has accepted an invitation already."""


def invite_to_team(
    *, customer: Customer, email: str, name: str, role: str, by: User, request: HttpRequest
) -> Membership:
    """Make somebody a member of the customer, and send the invitation or a mail about it.

    Raises NotAllowed, NotInvitable, MemberAlready, LimitReached, RevealsPaused.
    """
    _check_may_manage(customer, by)
    # Counted for good, also if it fails: else addresses could be tried out without an end.
    count_attempt(INVITATION_LIMIT, customer.pk)
    email = email.strip().lower()
    if not is_address_of(customer, email):
        raise NotInvitable
    with atomic():
        _lock_team(customer, by)
        subscriber = Subscriber.objects.filter(email__iexact=email).first()
        if subscriber and customer.memberships.filter(subscriber=subscriber).exists():
            raise MemberAlready
        login = subscribers.login_with_address(email=email)
        is_staff = login is not None and rank_of(user=login) > LoginRank.SUBSCRIBER
        if is_staff or (subscriber and subscriber.erased_at):
            raise NotInvitable
        if subscriber is None:
            subscriber = Subscriber.objects.create(email=email, name=name)
        membership = Membership.objects.create(customer=customer, subscriber=subscriber, role=role)
        memberships.announce_new_member(membership=membership, by=by)
        if subscriber.user_id is None:
            _invite(subscriber, by, request)
    return membership


def is_address_of(customer: Customer, email: str) -> bool:
    """Return True unless the customer has mail domains, and this is none of them."""
    domains = {each.lower() for each in customer.email_domains}
    return not domains or email.rpartition("@")[2].lower() in domains


def resend_invitation(*, membership: Membership, by: User, request: HttpRequest) -> None:
    """Send the invitation again. Raises NotAllowed, HasSignedUp, NotInvitable, LimitReached."""
    _check_may_manage(membership.customer, by)
    count_attempt(INVITATION_LIMIT, membership.customer_id)
    with atomic():
        member = _lock_member(membership, by)
        if member.subscriber.user_id is not None:
            raise HasSignedUp
        _invite(member.subscriber, by, request)


@atomic
def change_team_role(*, membership: Membership, role: str, by: User) -> None:
    """Give somebody another role. Raises NotAllowed, LastOwner."""
    membership = _lock_member(membership, by)
    if role != Role.OWNER:
        _check_not_last_owner(membership)
    memberships.change_membership_role(membership=membership, role=role, by=by)


@atomic
def hand_over_team(*, membership: Membership, by: User) -> None:
    """Make somebody else owner, and `by` a member. Raises NotAllowed, NotInvitable.

    The new owner has to be able to sign in: else nobody could manage the team.
    """
    membership = _lock_member(membership, by)
    own = membership.customer.memberships.get(subscriber__user=by)
    login = membership.subscriber.user
    if own.pk == membership.pk or login is None or not login.is_active:
        raise NotInvitable
    memberships.change_membership_role(membership=membership, role=Role.OWNER, by=by)
    memberships.change_membership_role(membership=own, role=Role.MEMBER, by=by)


@atomic
def remove_from_team(*, membership: Membership, by: User) -> None:
    """End a membership with what the person holds of the customer, and the person's sessions.

    Raises NotAllowed, LastOwner.
    """
    membership = _lock_member(membership, by)
    _check_not_last_owner(membership)
    end_membership(membership=membership, by=by)


@atomic
def end_membership(*, membership: Membership, by: User | None, address: str | None = None) -> None:
    """End a membership with what the person holds of the customer, and the person's sessions."""
    person = membership.subscriber
    for credential in membership.customer.credentials.filter(holders=person).order_by("pk"):
        kept = [holder for holder in credential.holders.all() if holder.pk != person.pk]
        credentials.change_credential(credential=credential, holders=kept, by=by)
    memberships.record_membership_ended(membership=membership, by=by, address=address)
    membership.delete()
    if person.user is not None:
        end_all_sessions(person.user)


@atomic
def set_team_holdings(
    *, customer: Customer, holders: Mapping[Credential, Iterable[Subscriber]], by: User
) -> None:
    """Set who holds each of these credentials of the customer, which are not revoked.

    Raises NotAllowed, and HoldersNotMembers if somebody was removed meanwhile.
    """
    _lock_team(customer, by)
    for credential, people in holders.items():
        credentials.change_credential(credential=credential, holders=people, by=by)


def _invite(subscriber: Subscriber, by: User, request: HttpRequest) -> None:
    try:
        subscribers.invite_subscriber(subscriber=subscriber, by=by, request=request)
    except LoginActionError as error:
        raise NotInvitable from error


def _check_may_manage(customer: Customer, by: User) -> None:
    """Raise NotAllowed if `by` is no owner, or RevealsPaused if a new address is not confirmed."""
    if ACTION not in settings.SUBSCRIBER_ACTIONS:
        raise NotAllowed
    if by.reveals_rest_since:
        raise credentials.RevealsPaused
    if not Customer.objects.owned_by(by).filter(pk=customer.pk).exists():
        raise NotAllowed


def _lock_team(customer: Customer, by: User) -> None:
    """Let one change of the team happen after the other. Raises as `_check_may_manage`."""
    Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
    _check_may_manage(customer, by)


def _lock_member(membership: Membership, by: User) -> Membership:
    """Return the membership as it is under the lock. Raises NotAllowed if it has ended."""
    _lock_team(membership.customer, by)
    found = Membership.objects.select_related("customer", "subscriber__user")
    member = found.filter(pk=membership.pk).first()
    if member is None:
        raise NotAllowed
    return member


def _check_not_last_owner(membership: Membership) -> None:
    """Raise LastOwner if nobody else owns the customer who can sign in."""
    others = membership.customer.memberships.exclude(pk=membership.pk)
    if (
        membership.role == Role.OWNER
        and not others.filter(role=Role.OWNER, subscriber__user__is_active=True).exists()
    ):
        raise LastOwner
