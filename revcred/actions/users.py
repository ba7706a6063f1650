"""Actions on logins, and the one place that says who may touch whose.

Nobody touches an equal or somebody above: superusers, then staff with rights over users, then
other staff, then everybody else, who are subscribers. Rights, groups and staff's addresses and
passwords are for superusers only. The administration asks here and knows no rule of its own.
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from django.contrib.auth.models import Group, Permission
from django.db.models import Model, Q
from django.db.transaction import atomic
from django.http import HttpRequest
from django.urls import reverse

from revcred.models import AuditEvent, Subscriber, User
from revcred.outbox import absolute_url, queue_mail, site_name

Verb = AuditEvent.Verb

RIGHTS_OVER_USERS = ("add_user", "change_user", "delete_user")

PLAIN_FIELDS = frozenset({"name", "is_active"})
RIGHTS_FIELDS = frozenset({"is_staff", "is_superuser", "groups", "user_permissions"})
ALL_FIELDS = PLAIN_FIELDS | RIGHTS_FIELDS | {"email"}


class Refused(Exception):
    """An action on a login that is not allowed. Its text is the sentence for the page."""

    sentence = ""

    def __init__(self, sentence: str | None = None) -> None:
        super().__init__(sentence or self.sentence)


class NotBelow(Refused):
    """The login belongs to an equal or to somebody above."""

    sentence = (
        "You may not change this login: it belongs to somebody with the same rights as you, or"
        " with more."
    )


class StaffSignsIn(Refused):
    """Staff and subscribers never share a login or an address."""

    sentence = (
        "A member of staff signs in with this address. Staff and subscribers do not share a login:"
        " use another address."
    )


class SubscriberSignsIn(Refused):
    """Staff and subscribers never share a login or an address."""

    sentence = (
        "This login or address belongs to a subscriber. Staff and subscribers do not share a"
        " login: use another address."
    )


class Level(IntEnum):
    """Rank of a login. One may touch only those whose rank is lower."""

    SUBSCRIBER = 0  # and whoever else is not staff
    STAFF = 1
    MANAGER = 2  # staff with a right over users
    SUPERUSER = 3


def level_of(*, user: User) -> Level:
    """Return the rank of a login as the database has it now, also if it is switched off."""
    now = User.objects.only("is_staff", "is_superuser").get(pk=user.pk)
    if now.is_superuser:
        return Level.SUPERUSER
    if not now.is_staff:
        return Level.SUBSCRIBER
    rights = Permission.objects.filter(
        Q(user=now) | Q(group__user=now),
        content_type__app_label="revcred",
        codename__in=RIGHTS_OVER_USERS,
    )
    return Level.MANAGER if rights.exists() else Level.STAFF


def is_below(*, user: User, by: User | None) -> bool:
    """Return whether `by` may touch this login. The operator at the machine (None) always may."""
    return by is None or level_of(user=user) < level_of(user=by)


def refuse_unless_below(*, user: User, by: User | None) -> None:
    """Raise NotBelow unless `by` may touch this login."""
    if not is_below(user=user, by=by):
        raise NotBelow


def is_superuser_above(*, user: User, by: User | None) -> bool:
    """Return whether `by` is a superuser and the login is none: for rights, resets and factors."""
    if by is None:
        return True
    return level_of(user=by) == Level.SUPERUSER > level_of(user=user)


def editable_fields(*, user: User | None, by: User) -> frozenset[str]:
    """Return the fields of a login that `by` may set. Without a login: of a new one."""
    if user is None:
        return frozenset({"email", "name", "is_staff"})
    if user.pk == by.pk:
        own = {"name", "email"} if level_of(user=by) == Level.SUPERUSER else {"name"}
        return frozenset(own)
    if not is_below(user=user, by=by):
        return frozenset()
    if level_of(user=by) == Level.SUPERUSER:
        return ALL_FIELDS
    is_staff = level_of(user=user) > Level.SUBSCRIBER
    return PLAIN_FIELDS if is_staff else PLAIN_FIELDS | {"email"}


def is_deletable(*, user: User, by: User | None) -> bool:
    """Return whether `by` may delete the login. A subscriber's is switched off instead."""
    return is_below(user=user, by=by) and not Subscriber.objects.of(user).exists()


def may_be_staff(*, user: User | None, email: str) -> bool:
    """Return whether neither the login nor its address is a subscriber's."""
    meets = Q(email__iexact=email)
    if user is not None and user.pk:
        meets |= Q(user=user)
    return not Subscriber.objects.filter(meets).exists()


def add(*, user: User, by: User, request: HttpRequest) -> None:
    """Save a new login without a password, and send the link by which its owner chooses one.

    Raises SubscriberSignsIn.
    """
    user.email = user.email.lower()
    if not may_be_staff(user=None, email=user.email):
        raise SubscriberSignsIn
    user.is_superuser = False
    user.set_unusable_password()
    with atomic():
        user.save(force_insert=True)
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
        if user.is_staff:
            _record(Verb.MADE_STAFF, user, by, request)
        _queue_link("emails/staff_invitation", user, request)


@atomic
def change(*, user: User, values: Mapping[str, Any], by: User, request: HttpRequest) -> None:
    """Write what was changed of a login, each kind of it as an event of its own.

    `values` holds the new value of each changed field but the address, which is asked for
    with `addresses.ask`. Raises NotBelow, SubscriberSignsIn.
    """
    before = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if values.keys() - editable_fields(user=before, by=by) or "email" in values:
        raise NotBelow
    gets_rights = any(values.get(name) for name in RIGHTS_FIELDS)
    if gets_rights and not may_be_staff(user=before, email=before.email):
        raise SubscriberSignsIn
    plain = {name: values[name] for name in values if name not in ("groups", "user_permissions")}
    rights = {}
    for name in ("is_staff", "is_superuser"):
        if name in plain and plain[name] != getattr(before, name):
            rights[name.removeprefix("is_")] = _change_of(getattr(before, name), plain[name])
    for name in ("groups", "user_permissions"):
        if name in values and (said := _set_many(before, name, values[name])):
            rights[name.replace("user_permissions", "permissions")] = said
    User.objects.filter(pk=before.pk).update(**plain)
    if plain.get("is_active", before.is_active) != before.is_active:
        verb = Verb.ACTIVATED if plain["is_active"] else Verb.DEACTIVATED
        _record(verb, before, by, request)
    if rights:
        _record(_verb_of(rights), before, by, request, rights)
    user.refresh_from_db()


def may_send_link(*, user: User, by: User) -> bool:
    """Return whether `by` may have a link for a new password sent to the person."""
    if level_of(user=user) > Level.SUBSCRIBER:
        return is_superuser_above(user=user, by=by)
    return is_below(user=user, by=by)


@atomic
def send_link(*, user: User, by: User, request: HttpRequest) -> None:
    """Send the person the link by which to choose a password, as if asked for on the page.

    For staff only a superuser may. Raises NotBelow.
    """
    if not may_send_link(user=user, by=by):
        raise NotBelow
    _record(Verb.RESET_ASKED, user, by, request)
    _queue_link("emails/password_link", user, request)


def password_link(*, user: User, request: HttpRequest) -> str:
    """Return a link by which whoever reads it chooses the user's password: only for a mail."""
    path = reverse(
        "account_reset_password_from_key",
        kwargs={
            "uidb36": user_pk_to_url_str(user),
            "key": default_token_generator.make_token(user),
        },
    )
    return absolute_url(path, request)


@atomic
def record_group_change(
    *, group: Group, before: Iterable[str], by: User, request: HttpRequest
) -> None:
    """Record which permissions a group had and has, which changes the rights of its members."""
    if said := _difference(before, permission_names(of=group)):
        _record(Verb.RIGHTS_CHANGED, group, by, request, {"permissions": said})


def permission_names(*, of: Group) -> list[str]:
    return [_name_of(each) for each in of.permissions.select_related("content_type")]


def _verb_of(rights: Mapping[str, str]) -> Verb:
    if rights.get("superuser", "").endswith("yes"):
        return Verb.MADE_SUPERUSER
    if rights.get("staff", "").endswith("yes"):
        return Verb.MADE_STAFF
    return Verb.RIGHTS_CHANGED


def _set_many(user: User, field: str, rows: Iterable[Model]) -> str:
    """Set the user's groups or permissions, and return what is new and what is gone."""
    manager = getattr(user, field)
    before = [_name_of(each) for each in manager.all()]
    manager.set(rows)
    return _difference(before, [_name_of(each) for each in manager.all()])


def _name_of(row: Model) -> str:
    if isinstance(row, Permission):
        return f"{row.content_type.app_label}.{row.codename}"
    return str(row)


def _difference(before: Iterable[str], after: Iterable[str]) -> str:
    before, after = {*before}, {*after}
    parts = [f"+{each}" for each in sorted(after - before)]
    parts += [f"-{each}" for each in sorted(before - after)]
    return ", ".join(parts)


def _change_of(before: bool, after: bool) -> str:  # noqa: FBT001 - the two values of one flag
    return f"{'yes' if before else 'no'} → {'yes' if after else 'no'}"


def _queue_link(template_prefix: str, user: User, request: HttpRequest) -> None:
    context = {
        "user": user,
        "url": password_link(user=user, request=request),
        "site": site_name(request),
    }
    queue_mail(template_prefix, user.email, context)


def _record(
    verb: Verb,
    target: Model,
    by: User,
    request: HttpRequest,
    details: dict[str, Any] | None = None,
) -> None:
    address = get_adapter(request).get_client_ip(request)
    AuditEvent.objects.record(verb, target=target, by=by, details=details, address=address)
