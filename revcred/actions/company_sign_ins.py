"""Actions on company sign-ins: who sets one, and whom its provider may sign in.

A customer's provider says who its people are, so it could name anybody. It opens only logins whose
address is in the customer's mail domains and that belong to this customer alone: neither staff nor
anything of another customer is within its reach.
"""

from datetime import timedelta
from urllib.parse import urlsplit

from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.db.transaction import atomic
from django.utils import timezone
from django.utils.translation import gettext

from revcred.actions import subscribers
from revcred.actions.users import LoginActionError, LoginRank, LoginRankTooHigh, rank_of
from revcred.client_address import current_address
from revcred.models import (
    AuditEvent,
    AuditVerb,
    CompanySignIn,
    Customer,
    Subscriber,
    User,
)
from revcred.models.sessions import end_all_sessions
from revcred.outbox import notify_owners, queue_mail
from revcred.texts import gettext_lazy

COMPANY_MAIL = "emails/company_sign_in"


class SuperuserRequired(LoginRankTooHigh):
    """Somebody else than a superuser tries to say where people sign in."""

    sentence = gettext_lazy("Only superusers say where a customer's people sign in.")


class DomainsRequired(LoginActionError):
    """The customer has no mail domains, which limit whom its provider may sign in."""

    sentence = gettext_lazy(
        "Enter the customer's mail domains first: only addresses of these sign in there."
    )


class IssuerNotSecure(LoginActionError):
    """The issuer's address is not one of HTTPS."""

    sentence = gettext_lazy(
        "The address has to begin with https://, and has neither query nor user name."
    )


class SecretRequired(LoginActionError):
    """The secret is missing, or was given to another issuer or client."""

    sentence = gettext_lazy(
        "Enter the client's secret. The one that is kept is never sent to another issuer,"
        " nor used for another client."
    )


class CompanySignInRejected(LoginActionError):
    """The company's provider answered, but nobody is signed in."""


class AddressNotVerified(CompanySignInRejected):
    """The provider does not say that the person has the address."""

    sentence = gettext_lazy(
        "Your company's sign-in does not confirm your e-mail address. Ask whoever runs it to send"
        " it as verified."
    )


class AddressOutside(CompanySignInRejected):
    """The address is in none of the customer's mail domains."""

    def __init__(self, company: CompanySignIn) -> None:
        super().__init__(
            gettext(
                "Only addresses at %(domains)s sign in here. Sign in with the account that you have"
                " at your company."
            )
            % {"domains": gettext(" or ").join(company.domains)}
        )


class NotAMember(CompanySignInRejected):
    """No login that the provider may open has the address."""

    sentence = gettext_lazy(
        "There is no login for your address that your company's sign-in opens. If you have one,"
        " sign in another way. If not, ask an owner at your company for an invitation."
    )


class OtherAccountConnected(CompanySignInRejected):
    """The login is connected with another account at the same provider."""

    sentence = gettext_lazy(
        "Your login is connected with another account of your company's sign-in. Sign in another"
        " way, and ask whoever provides your API to have it connected anew."
    )


@atomic
def set_company_sign_in(
    *, customer: Customer, issuer: str, client_id: str, client_secret: str, by: User
) -> CompanySignIn:
    """Let the customer's people sign in at their company, and tell the owners.

    `client_secret`: may be empty if issuer and client stay. With another issuer or client all
    logins are connected anew: a number there may be somebody else's here.

    Raises SuperuserRequired, DomainsRequired, IssuerNotSecure, SecretRequired.
    """
    _check_superuser(by)
    _lock(customer.pk)
    customer.refresh_from_db()
    if not customer.email_domains:
        raise DomainsRequired
    issuer = issuer.rstrip("/")
    _check_issuer(issuer)
    company = CompanySignIn.objects.filter(customer=customer).first()
    is_same = company is not None and (company.issuer, company.client_id) == (issuer, client_id)
    if not client_secret and not is_same:
        raise SecretRequired
    before = company.issuer if company else None
    company = company or CompanySignIn(customer=customer)
    if company.pk and not is_same:
        _disconnect_all(company)
    company.customer, company.issuer, company.client_id = customer, issuer, client_id
    if client_secret:
        company.seal_secret(client_secret)
    company.save()
    details = {"issuer": [before, issuer], "client_id": client_id}
    AuditEvent.objects.record(AuditVerb.COMPANY_SET, target=customer, by=by, details=details)
    notify_owners(customer, COMPANY_MAIL, {"company": company}, actor=by)
    return company


@atomic
def end_company_sign_in(*, customer: Customer, by: User) -> None:
    """Let nobody sign in by the company any more, end the sessions of who did, and tell owners.

    Raises SuperuserRequired. Does nothing if there is none.
    """
    _check_superuser(by)
    _lock(customer.pk)
    company = CompanySignIn.objects.filter(customer=customer).first()
    if company is None:
        return
    _disconnect_all(company)
    details = {"issuer": [company.issuer, None]}
    company.delete()
    AuditEvent.objects.record(AuditVerb.COMPANY_ENDED, target=customer, by=by, details=details)
    notify_owners(customer, COMPANY_MAIL, {"company": None}, actor=by)


@atomic
def find_or_connect_login(
    *, company: CompanySignIn, subject: str, email: str, is_verified: bool
) -> SocialAccount:
    """Return the login that the provider may open for this person, connected with the account.

    `subject`: the account's number at the provider. `email`: the address that the provider gives.
    Somebody who was invited and has no login yet gets one, without a password.

    Raises AddressNotVerified, AddressOutside, NotAMember, OtherAccountConnected.
    """
    # One at a time for each customer: two first sign-ins at once connect once.
    _lock(company.customer_id)
    # Another issuer or client may have been set while the provider answered.
    is_current = CompanySignIn.objects.filter(
        pk=company.pk, issuer=company.issuer, client_id=company.client_id
    ).exists()
    if not is_current:
        raise NotAMember
    email = email.lower()
    if not is_verified:
        raise AddressNotVerified
    if not _is_inside(company, email):
        raise AddressOutside(company)
    connected = SocialAccount.objects.filter(provider=company.provider_id)
    account = connected.filter(uid=subject).select_related("user").first()
    if account is not None:
        _check_may_open(company, account.user)
        return account
    user = User.objects.filter(email=email).first() or _login_for_invited(company, email)
    if user is None:
        raise NotAMember
    _check_may_open(company, user)
    if connected.filter(user=user).exists():
        # An address may be given to somebody else at the company, an account's number never is.
        raise OtherAccountConnected
    account = SocialAccount.objects.create(user=user, provider=company.provider_id, uid=subject)
    details = {"customer": company.customer.name, "issuer": company.issuer}
    AuditEvent.objects.record(AuditVerb.COMPANY_CONNECTED, target=user, by=user, details=details)
    queue_mail(
        "emails/company_connected",
        user.email,
        {"user": user, "company": company, "at": timezone.now(), "address": current_address()},
    )
    return account


def may_session_go_on(*, user: User, provider_id: str, subject: str) -> bool:
    """Return True if the provider that opened a session of this login may still open it.

    It no longer may once the login is disconnected, staff's, or of another customer, too.
    """
    connected = SocialAccount.objects.filter(user=user, provider=provider_id, uid=subject)
    companies = CompanySignIn.objects.filter(
        customer__memberships__subscriber__user=user
    ).select_related("customer")
    company = next((each for each in companies if each.provider_id == provider_id), None)
    if company is None or not connected.exists():
        return False
    try:
        _check_may_open(company, user)
    except NotAMember:
        return False
    return True


def count_connected(*, customer: Customer) -> int:
    """Return how many logins are connected with accounts at the customer's provider."""
    company = CompanySignIn(customer=customer)
    return int(SocialAccount.objects.filter(provider=company.provider_id).count())


def _check_superuser(by: User) -> None:
    if rank_of(user=by) < LoginRank.SUPERUSER:
        raise SuperuserRequired


def _lock(customer_id: int) -> None:
    Customer.objects.select_for_update(no_key=True).get(pk=customer_id)


def _check_issuer(issuer: str) -> None:
    parts = urlsplit(issuer)
    # Elsewhere than in production a provider on this machine may be tried out.
    schemes = {"https"} if settings.PRODUCTION else {"https", "http"}
    is_plain = not (parts.query or parts.fragment or parts.username or parts.password)
    if parts.scheme not in schemes or not parts.hostname or not is_plain:
        raise IssuerNotSecure


def _is_inside(company: CompanySignIn, email: str) -> bool:
    return email.count("@") == 1 and email.rpartition("@")[2] in company.domains


def _check_may_open(company: CompanySignIn, user: User) -> None:
    """Raise NotAMember unless the login is a subscriber's who belongs to this customer alone."""
    if not user.is_active or rank_of(user=user) > LoginRank.SUBSCRIBER:
        raise NotAMember
    customers = set(
        Customer.objects.filter(memberships__subscriber__user=user).values_list("pk", flat=True)
    )
    if customers != {company.customer_id} or not _is_inside(company, user.email.lower()):
        raise NotAMember


def _login_for_invited(company: CompanySignIn, email: str) -> User | None:
    """Create the login of a member whose invitation is still open. The provider has the address."""
    since = timezone.now() - timedelta(seconds=settings.PASSWORD_RESET_TIMEOUT)
    invited = Subscriber.objects.select_for_update(no_key=True, of=("self",)).filter(
        user=None, email__iexact=email, invited_at__gt=since, erased_at=None
    )
    subscriber = invited.first()
    if subscriber is None:
        return None
    customers = set(subscriber.memberships.values_list("customer", flat=True))
    if customers != {company.customer_id}:
        return None
    subscribers.check_login_available(email=email)
    user = User.objects.create_user(email, None, name=subscriber.name[:150])
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    subscriber.user = user
    subscriber.save(update_fields=["user"])
    AuditEvent.objects.record(AuditVerb.INVITATION_ACCEPTED, target=subscriber, by=user)
    return user


def _disconnect_all(company: CompanySignIn) -> None:
    """Disconnect all logins, and end their sessions: some were opened by the provider."""
    connected = SocialAccount.objects.filter(provider=company.provider_id).select_related("user")
    for account in connected:
        end_all_sessions(account.user)
    connected.delete()
