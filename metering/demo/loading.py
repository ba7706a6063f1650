"""Bring it in, the way everything comes in: by acts, through the inbox, and settled."""

import secrets
from collections.abc import Collection, Iterator
from datetime import datetime

from django.contrib.auth.hashers import make_password
from django.db.models import Prefetch
from django.db.transaction import atomic
from django.utils import timezone

from metering.actions import issue_token, revoke_token
from metering.api.transactions import Window, call_of
from metering.attribution import processing
from metering.demo import notes, traffic
from metering.demo.companies import ADMIN, CUSTOMERS, Cast, Keys, account, found
from metering.demo.notes import Account, Caller, Notes, Reporter
from metering.inbox.intake import take_in
from metering.models import GatewayToken
from metering.quarantine import reattribution
from revcred.actions import credentials
from revcred.models import Credential, ExternalKey, Gateway, Subscriber, User
from revcred.models.credentials import CredentialQuerySet

GATEWAY = "Demo gateway"
AT_ONCE = 1_000
LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # none that is taken for another


def show(url: str) -> str:
    """See to it that the demo is there and noted, and say what that took."""
    gateway = Gateway.objects.filter(name=GATEWAY).first()
    noted = notes.read()
    if gateway is None:
        noted, done = _load(url), "Demo data loaded"
    elif noted is None or not _opens(noted["gateway"]["token"]):
        noted, done = _note_anew(url, gateway), "Demo data kept, with new passwords and a new token"
    else:
        noted, done = {**noted, "url": url}, "Demo data kept"
    notes.write(noted)
    return f"{done}: {notes.PATH}"


def _opens(token: str) -> bool:
    """Whether this database knows it; the notes may be of another one."""
    return GatewayToken.objects.valid().of(token).exists()


def _load(url: str) -> Notes:
    noted = _load_all_or_nothing(url)
    reattribution.work()  # before there is anything to claim, so that it need not be looked through
    processing.settle_waiting()
    return noted


@atomic
def _load_all_or_nothing(url: str) -> Notes:
    cast = Cast(admin=_administrator(), now=timezone.now())
    found(cast)
    gateway = Gateway.objects.create(name=GATEWAY)
    _take_in_month(gateway, cast.keys, cast.old_keys, cast.now)
    return _noted(url, gateway, cast.keys, cast.old_keys, by=cast.admin)


def _administrator() -> User:
    return account(ADMIN, name="Demo admin", is_staff=True)


def _take_in_month(gateway: Gateway, keys: Keys, old_keys: Keys, now: datetime) -> None:
    window = Window.of(gateway, now)
    calls = [call_of(each, window) for each in traffic.month(keys, old_keys, now)]
    for start in range(0, len(calls), AT_ONCE):
        take_in(gateway, calls[start : start + AT_ONCE])


def _note_anew(url: str, gateway: Gateway) -> Notes:
    """The notes are lost. Keys can be revealed, on record; passwords and tokens only replaced."""
    admin = _administrator()
    for token in gateway.tokens.filter(revoked_at=None):
        revoke_token(token=token, by=admin)
    keys, old_keys = _revealed(by=admin)
    return _noted(url, gateway, keys, old_keys, by=admin)


def _revealed(by: User) -> tuple[Keys, Keys]:
    keys: Keys = {}
    old_keys: Keys = {}
    current = ExternalKey.objects.current(timezone.now()).filter(sealed__value__isnull=False)
    callers = _callers().filter(customer__suspended_at=None)
    for credential in callers.prefetch_related(Prefetch("keys", current)):
        for key, known in zip(credential.keys.all(), (keys, old_keys), strict=False):
            known[credential.name] = credentials.reveal(key=key, field="value", by=by)
    return keys, old_keys


def _noted(url: str, gateway: Gateway, keys: Keys, old_keys: Keys, *, by: User) -> Notes:
    _, token = issue_token(
        gateway=gateway, name="make run", scopes=GatewayToken.Scope.values, by=by
    )
    (admin,) = _given_a_password([by.email])
    people = Subscriber.objects.filter(customers__external_key__in=CUSTOMERS).distinct()
    return Notes(
        url=url,
        admin=admin,
        subscribers=_given_a_password(people.order_by("pk").values_list("email", flat=True)),
        gateway=Reporter(name=gateway.name, token=token),
        credentials=list(_noted_callers(keys, old_keys)),
    )


def _given_a_password(emails: Collection[str]) -> list[Account]:
    """One for all of them: to hash one takes long on purpose."""
    password = "-".join("".join(secrets.choice(LETTERS) for _ in range(4)) for _ in range(3))
    User.objects.filter(email__in=emails).update(password=make_password(password))
    return [Account(email=email, password=password) for email in emails]


def _noted_callers(keys: Keys, old_keys: Keys) -> Iterator[Caller]:
    now = timezone.now()
    for credential in _callers().select_related("customer"):
        assignment = credential.assignments.at(now).select_related("subscription").last()
        if credential.name in keys and assignment:
            yield Caller(
                name=credential.name,
                external_key=keys[credential.name],
                old_key=old_keys.get(credential.name),
                customer=credential.customer.external_key,
                customer_name=credential.customer.name,
                subscription=assignment.subscription.external_key,
                subscription_name=assignment.subscription.name,
            )


def _callers() -> CredentialQuerySet:
    callers = Credential.objects.filter(customer__external_key__in=CUSTOMERS, revoked_at=None)
    return callers.order_by("pk")
