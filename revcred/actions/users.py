"""Actions on logins, and the one place that says who may change whose login.

Nobody changes the login of an equal or of somebody above. The ranks are: superusers, staff with
rights over users, other staff, and everybody else, who are subscribers. Rights, groups, and the
addresses and passwords of staff are for superusers only. The administration asks here and has no
rule of its own.
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
from django.utils.translation import gettext_noop

from revcred.actions.token_revocation import revoke_all_tokens, revoke_unusable_tokens
from revcred.models import AuditEvent, AuditVerb, Session, Subscriber, User
from revcred.models.audit import to_audit_json
from revcred.outbox import absolute_url, queue_mail
from revcred.texts import gettext_lazy

USER_MANAGEMENT_RIGHTS = ("add_user", "change_user", "delete_user")

PLAIN_LOGIN_FIELDS = frozenset({"name", "is_active"})
RIGHTS_LOGIN_FIELDS = frozenset({"is_staff", "is_superuser", "groups", "user_permissions"})
ALL_LOGIN_FIELDS = PLAIN_LOGIN_FIELDS | RIGHTS_LOGIN_FIELDS | {"email"}


class LoginActionError(Exception):
    """An action on a login is not allowed. Its text is the sentence for the page."""

    sentence = ""

    def __init__(self, sentence: str | None = None) -> None:
        super().__init__(sentence or str(self.sentence))


class LoginRankTooHigh(LoginActionError):
    """The login belongs to an equal or to somebody above."""

    sentence = gettext_lazy(
        "You may not change this login: it belongs to somebody with the same rights as"
        " you, or with more."
    )


class AddressOfStaff(LoginActionError):
    """Staff use the address; staff and subscribers never share a login or an address."""

    sentence = gettext_lazy(
        "A member of staff signs in with this address. Staff and subscribers do not share a login:"
        " use another address."
    )


class AddressOfSubscriber(LoginActionError):
    """A subscriber uses the address; staff and subscribers never share a login or an address."""

    sentence = gettext_lazy(
        "This login or address belongs to a subscriber. Staff and subscribers do not share"
        " a login: use another address."
    )


class PersonErased(LoginActionError):
    """The person was erased."""

    sentence = gettext_lazy("This person was erased. Add somebody else instead.")


class LoginRank(IntEnum):
    """Rank of a login. One may change only logins of lower rank."""

    SUBSCRIBER = 0  # and whoever else is not staff
    STAFF = 1
    MANAGER = 2  # staff with a right over users
    SUPERUSER = 3


def rank_of(*, user: User) -> LoginRank:
    """Return the rank of a login as the database has it now, also of one that is switched off."""
    # Read again: the object in a session or form may be older than a change of rights.
    now = User.objects.only("is_staff", "is_superuser").get(pk=user.pk)
    if now.is_superuser:
        return LoginRank.SUPERUSER
    if not now.is_staff:
        return LoginRank.SUBSCRIBER
    # Rights come from the login itself or from one of its groups.
    rights = Permission.objects.filter(
        Q(user=now) | Q(group__user=now),
        content_type__app_label="revcred",
        codename__in=USER_MANAGEMENT_RIGHTS,
    )
    return LoginRank.MANAGER if rights.exists() else LoginRank.STAFF


def is_ranked_below(*, user: User, by: User | None) -> bool:
    """Return True if `by` may change this login. The operator at the machine (None) always may."""
    return by is None or rank_of(user=user) < rank_of(user=by)


def check_ranked_below(*, user: User, by: User | None) -> None:
    """Raise LoginRankTooHigh unless `by` may change this login."""
    if not is_ranked_below(user=user, by=by):
        raise LoginRankTooHigh


def is_superuser_above(*, user: User, by: User | None) -> bool:
    """Return True if `by` is a superuser and the login is not.

    Required for rights, password links to staff, and second factors.
    """
    if by is None:
        return True
    return rank_of(user=by) == LoginRank.SUPERUSER > rank_of(user=user)


def editable_login_fields(*, user: User | None, by: User) -> frozenset[str]:
    """Return the fields of a login that `by` may set. `user`: None for a new login."""
    if user is None:
        return frozenset({"email", "name", "is_staff"})
    if user.pk == by.pk:
        own = {"name", "email"} if rank_of(user=by) == LoginRank.SUPERUSER else {"name"}
        return frozenset(own)
    if not is_ranked_below(user=user, by=by):
        return frozenset()
    if rank_of(user=by) == LoginRank.SUPERUSER:
        return ALL_LOGIN_FIELDS
    # The address of staff decides who gets their rights, so only superusers change it.
    is_staff = rank_of(user=user) > LoginRank.SUBSCRIBER
    return PLAIN_LOGIN_FIELDS if is_staff else PLAIN_LOGIN_FIELDS | {"email"}


def is_deletable_login(*, user: User, by: User | None) -> bool:
    """Return True if `by` may delete the login. A subscriber's is switched off instead."""
    return is_ranked_below(user=user, by=by) and not Subscriber.objects.of(user).exists()


def may_be_staff(*, user: User | None, email: str) -> bool:
    """Return True if neither the login nor its address is a subscriber's."""
    meets = Q(email__iexact=email)
    if user is not None and user.pk:
        meets |= Q(user=user)
    return not Subscriber.objects.filter(meets).exists()


def add_login(*, user: User, by: User, request: HttpRequest) -> None:
    """Save a new login without a password, and send the link by which its owner chooses one.

    Raises AddressOfSubscriber.
    """
    user.email = user.email.lower()
    if not may_be_staff(user=None, email=user.email):
        raise AddressOfSubscriber
    # Whatever was posted: nobody is created as superuser.
    user.is_superuser = False
    user.set_unusable_password()
    with atomic():
        user.save(force_insert=True)
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
        if user.is_staff:
            _record_login_action(AuditVerb.MADE_STAFF, user, by, request)
        _queue_password_mail("emails/staff_invitation", user)


@atomic
def change_login(
    *,
    user: User,
    values: Mapping[str, Any],
    by: User | None,
    request: HttpRequest | None = None,
) -> None:
    """Save the changed fields of a login, and record each kind of change as an event of its own.

    `values`: new value of each changed field, without the address, which
    `addresses.request_address_change` changes. Raises LoginRankTooHigh, AddressOfSubscriber.
    """
    # Locked, so that rights cannot grow between the check and the save.
    before = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    # The form shows only these; a forged POST may hold others.
    editable = ALL_LOGIN_FIELDS if by is None else editable_login_fields(user=before, by=by)
    if values.keys() - editable or "email" in values:
        raise LoginRankTooHigh
    # Taking rights away is always allowed.
    gets_rights = any(values.get(name) for name in RIGHTS_LOGIN_FIELDS)
    if gets_rights and not may_be_staff(user=before, email=before.email):
        raise AddressOfSubscriber
    # Relations are set one by one below; the rest is one UPDATE.
    plain = {name: values[name] for name in values if name not in ("groups", "user_permissions")}
    rights, undo = _set_rights(before, values)
    if plain:
        User.objects.filter(pk=before.pk).update(**plain)
    if plain.get("is_active", before.is_active) != before.is_active:
        verb = AuditVerb.ACTIVATED if plain["is_active"] else AuditVerb.DEACTIVATED
        old_and_new = {"is_active": [before.is_active, plain["is_active"]]}
        _record_login_action(verb, before, by, request, {"undo": old_and_new})
        if not plain["is_active"]:
            Session.objects.filter(user=before).delete()
    if rights:
        _record_login_action(_rights_verb(rights), before, by, request, rights | {"undo": undo})
    revoke_useless_tokens(user=before, by=by)
    user.refresh_from_db()


def _set_rights(user: User, values: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Set groups and permissions.

    Returns the changed rights in words, and old and new value by field, flags included: the caller
    saves these.
    """
    differences: dict[str, str] = {}
    undo: dict[str, Any] = {}
    for name in ("is_staff", "is_superuser"):
        if name in values and values[name] != getattr(user, name):
            differences[name.removeprefix("is_")] = _flag_change(getattr(user, name), values[name])
            undo[name] = [getattr(user, name), values[name]]
    for name in ("groups", "user_permissions"):
        if name not in values:
            continue
        rows = to_audit_json(getattr(user, name))
        if difference := _set_grants(user, name, values[name]):
            differences[name.replace("user_permissions", "permissions")] = difference
            undo[name] = [rows, to_audit_json(getattr(user, name))]
    return differences, undo


def may_send_password_link(*, user: User, by: User) -> bool:
    """Return True if `by` may have a link for a new password sent to the person."""
    if rank_of(user=user) > LoginRank.SUBSCRIBER:
        return is_superuser_above(user=user, by=by)
    return is_ranked_below(user=user, by=by)


@atomic
def send_password_link(*, user: User, by: User, request: HttpRequest) -> None:
    """Send the person a link to choose a password, as if requested on the sign-in page.

    To staff only a superuser may send one. Raises LoginRankTooHigh.
    """
    if not may_send_password_link(user=user, by=by):
        raise LoginRankTooHigh
    _record_login_action(AuditVerb.RESET_ASKED, user, by, request)
    _queue_password_mail("emails/password_link", user)


def password_link(*, user: User) -> str:
    """Return a link by which whoever reads it sets the user's password: only for a mail."""
    path = reverse(
        "account_reset_password_from_key",
        kwargs={
            "uidb36": user_pk_to_url_str(user),
            "key": default_token_generator.make_token(user),
        },
    )
    return absolute_url(path)


@atomic
def record_group_change(
    *, group: Group, before: Iterable[str], by: User, request: HttpRequest
) -> None:
    """Record which permissions a group had and has: its members' rights change with them."""
    if difference := _added_and_removed(before, permission_names(of=group)):
        _record_login_action(
            AuditVerb.RIGHTS_CHANGED, group, by, request, {"permissions": difference}
        )
        for user in group.user_set.all():
            revoke_useless_tokens(user=user, by=by)


@atomic
def delete_group(*, group: Group, by: User) -> None:
    """Delete a group, and revoke the tokens of its members that need its rights."""
    members = list(group.user_set.all())
    group.delete()
    for user in members:
        revoke_useless_tokens(user=user, by=by)


def revoke_useless_tokens(*, user: User, by: User | None) -> None:
    """Revoke the tokens whose user may no longer do what they are for. Nothing revives them."""
    # Read anew: rights are cached on the user.
    current = User.objects.get(pk=user.pk)
    if current.is_active and current.is_staff:
        because = gettext_noop("your login has fewer rights than they need")
        revoke_unusable_tokens(user=current, by=by, because=because)
    elif current.is_active:
        because = gettext_noop("your login is no longer one of the staff")
        revoke_all_tokens(user=current, by=by, because=because)
    else:
        revoke_all_tokens(user=current, by=by, because=gettext_noop("your login was deactivated"))


def permission_names(*, of: Group) -> list[str]:
    """Return the names of a group's permissions, such as `revcred.view_customer`."""
    return [_grant_name(permission) for permission in of.permissions.select_related("content_type")]


def _rights_verb(rights: Mapping[str, str]) -> AuditVerb:
    """Return the verb for the gravest of the changes."""
    if rights.get("superuser", "").endswith("yes"):
        return AuditVerb.MADE_SUPERUSER
    if rights.get("staff", "").endswith("yes"):
        return AuditVerb.MADE_STAFF
    return AuditVerb.RIGHTS_CHANGED


def _set_grants(user: User, field: str, rows: Iterable[Model]) -> str:
    """Set the user's groups or permissions, and return what was added and removed."""
    manager = getattr(user, field)
    before = [_grant_name(each) for each in manager.all()]
    manager.set(rows)
    return _added_and_removed(before, [_grant_name(each) for each in manager.all()])


def _grant_name(row: Model) -> str:
    if isinstance(row, Permission):
        return f"{row.content_type.app_label}.{row.codename}"
    return str(row)


def _added_and_removed(before: Iterable[str], after: Iterable[str]) -> str:
    """Return the differing names in one text, such as `+Support, -Auditor`."""
    before, after = {*before}, {*after}
    parts = [f"+{name}" for name in sorted(after - before)]
    parts += [f"-{name}" for name in sorted(before - after)]
    return ", ".join(parts)


def _flag_change(before: bool, after: bool) -> str:  # noqa: FBT001 - the two values of one flag
    return f"{'yes' if before else 'no'} → {'yes' if after else 'no'}"


def _queue_password_mail(template_prefix: str, user: User) -> None:
    context = {"user": user, "url": password_link(user=user)}
    queue_mail(template_prefix, user.email, context)


def _record_login_action(
    verb: AuditVerb,
    target: Model,
    by: User | None,
    request: HttpRequest | None,
    details: dict[str, Any] | None = None,
) -> None:
    address = get_adapter(request).get_client_ip(request) if request else None
    AuditEvent.objects.record(verb, target=target, by=by, details=details, address=address)
