"""What people do with subscribers."""

from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from django.db.transaction import atomic
from django.http import HttpRequest
from django.urls import reverse

from revcred.models import AuditEvent, Subscriber, User
from revcred.outbox import absolute_url, queue_mail, site_name


class AnotherSubscriber(Exception):
    """Who signs in with this address is another subscriber already."""


@atomic
def invite(*, subscriber: Subscriber, by: User, request: HttpRequest) -> None:
    """Send a link by which the subscriber chooses a password. May be sent again.

    Raises AnotherSubscriber.
    """
    locked = Subscriber.objects.select_for_update(no_key=True)
    subscriber.refresh_from_db(fields=["user"], from_queryset=locked)
    user = subscriber.user or _user_for(subscriber)
    AuditEvent.objects.record(AuditEvent.Verb.INVITED, target=subscriber, by=by)
    _send(user, request)


def _user_for(subscriber: Subscriber) -> User:
    email = subscriber.email.lower()
    user = User.objects.filter(email__iexact=email).first()
    if user is None:
        user = User.objects.create_user(email, name=subscriber.name)
        EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    elif Subscriber.objects.of(user).exists():
        raise AnotherSubscriber
    subscriber.user = user
    subscriber.save(update_fields=["user"])
    return user


@atomic
def change_address(*, subscriber: Subscriber, by: User | None) -> None:
    """After the address was changed: that is the one to sign in with, and none else."""
    user = subscriber.user
    if user is None or user.email == subscriber.email.lower():
        return
    user.email = subscriber.email.lower()
    user.save(update_fields=["email"])
    EmailAddress.objects.filter(user=user).delete()
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    AuditEvent.objects.record(AuditEvent.Verb.CHANGED, target=user, by=by)


def _send(user: User, request: HttpRequest) -> None:
    path = reverse(
        "account_reset_password_from_key",
        kwargs={
            "uidb36": user_pk_to_url_str(user),
            "key": default_token_generator.make_token(user),
        },
    )
    context = {"user": user, "url": absolute_url(path, request), "site": site_name(request)}
    queue_mail("emails/invitation", user.email, context)
