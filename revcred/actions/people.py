"""Erase a person for good, and export what is held about one.

A person is a subscriber, a login, or both. Erasing puts a pseudonym in the place of name and
address in every table. What a customer has, such as credentials and subscriptions, stays. Keys,
secrets and digests are neither read nor exported.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.db import connection
from django.db.models import Model, Q, QuerySet
from django.db.transaction import atomic
from django.utils import timezone
from django.utils.translation import gettext

from revcred.actions import users
from revcred.actions.call_erasures import (
    MAX_STATEMENT_MILLISECONDS,
    count_calls_to_change,
    queue_call_erasure,
)
from revcred.actions.second_factors import FACTOR_NAMES
from revcred.actions.users import LoginActionError, PersonErased
from revcred.crypto import CannotUnseal
from revcred.models import (
    AddressChange,
    AuditEvent,
    AuditVerb,
    Credential,
    Customer,
    FailedSignIns,
    FormerName,
    Gateway,
    Membership,
    OutgoingMail,
    Product,
    Session,
    Source,
    Subscriber,
    Subscription,
    Upload,
    UploadChange,
    User,
    UserToken,
)
from revcred.models.audit import AuditEventQuerySet, to_audit_json
from revcred.models.sessions import end_all_sessions
from revcred.personal_texts import (
    PersonalText,
    PersonTexts,
    TextKind,
    TextTable,
    count_in_table,
    delete_staged_rows,
    has_staged_rows,
    pattern_of_any,
    replace_in_table,
    replace_in_value,
    text_tables,
)
from revcred.postgresql.statement_timeouts import statement_timeout
from revcred.texts import gettext_lazy

ERASE_RIGHT = "revcred.erase_subscriber"
COUNTING_SECONDS = 3.0  # for calls that name the person: more are counted when they are changed
PSEUDONYM_DOMAIN = "invalid"  # reserved: no mail ever arrives there

# Things that calls may name, and their names. They are the customer's and stay as they are.
THINGS_WITH_NAMES: tuple[tuple[type[Model], tuple[str, ...]], ...] = (
    (Customer, ("name", "external_key")),
    (Product, ("name", "external_key")),
    (Source, ("name", "external_key")),
    (Subscription, ("name", "external_key")),
    (Credential, ("name",)),
    (Gateway, ("name",)),
)
TABLES_OF_THINGS = tuple(model._meta.db_table for model, _ in THINGS_WITH_NAMES)
# No call names anything by its notes.
NOTES = TextTable(name=Customer._meta.db_table, columns={"notes": "text"})
# People and the audit have statements of their own.
TABLES_NOT_SEARCHED = (
    *TABLES_OF_THINGS,
    *(model._meta.db_table for model in (User, Subscriber, AuditEvent)),
)
# Lists that name people, in the states in which their rows wait in a table and in a file.
KINDS_OF_LISTS_WITH_PEOPLE = ("credentials", "subscribers")
# Members of an event's details that tell something of the person whom it is about.
PERSONAL_DETAILS = ("address", "browser", "name", "reason")
# Members of an event's details that are no data about anybody: ways to undo, digests, ends of keys.
DETAILS_NOT_EXPORTED = ("digest", "hint", "token", "undo")


class ErasureRightRequired(LoginActionError):
    """A right is missing: to erase people and to export what is held about them."""

    sentence = gettext_lazy(
        "You need the right to erase people and to export what is held about them."
    )


class SuperuserNotErased(LoginActionError):
    """A superuser keeps the login until the operator takes the rights away."""

    sentence = gettext_lazy(
        "A superuser is not erased. Take the rights away first, on the server, with"
        " `manage.py revoke_superuser`."
    )


class ListsWithPeopleWaiting(LoginActionError):
    """Lists that may name the person are being checked or applied, or wait for it."""


@dataclass(frozen=True)
class Person:
    """A person's rows: a subscriber, a login, or both."""

    subscriber: Subscriber | None
    user: User | None

    @property
    def target(self) -> Subscriber | User:
        """The row that events on the person are about."""
        found = self.subscriber or self.user
        if found is None:
            message = "A person is a subscriber, a login, or both."
            raise ValueError(message)
        return found

    @property
    def rows(self) -> list[Subscriber | User]:
        return [row for row in (self.subscriber, self.user) if row is not None]

    @property
    def number(self) -> str:
        """The pseudonym's number. Logins without a subscriber are numbered by themselves."""
        return f"{self.subscriber.pk}" if self.subscriber else f"login-{self.target.pk}"

    @property
    def pseudonym(self) -> str:
        return f"erased person {self.number}"

    @property
    def pseudonymous_address(self) -> str:
        return f"erased-{self.number}@{PSEUDONYM_DOMAIN}"

    @property
    def pseudonymous_key(self) -> str:
        return f"erased-{self.number}"


@dataclass(kw_only=True)
class Erasure:
    """The outcome of erasing a person: ended access, and changed texts.

    `calls`: those that the clock is about to change, None if they take long to count. `unheld`:
    credentials that nobody holds any more. `still_named`: tables of things that are called by the
    person's name or address, with the number of such things.
    """

    memberships: list[str] = field(default_factory=list)
    unheld: list[str] = field(default_factory=list)
    sessions: int = 0
    tokens: int = 0
    second_factors: int = 0
    mails: int = 0
    events: int = 0
    calls: int | None = None
    still_named: dict[str, int] = field(default_factory=dict)


def find_person(row: Subscriber | User) -> Person:
    """Return the person whose subscriber or login this is."""
    if isinstance(row, User):
        return Person(Subscriber.objects.of(row).first(), row)
    return Person(row, row.user)


def check_erasable(*, person: Person, by: User) -> None:
    """Raise the reason why `by` may not erase the person, if there is one."""
    _check_right(by)
    if person.user is not None:
        if users.rank_of(user=person.user) == users.LoginRank.SUPERUSER:
            raise SuperuserNotErased
        users.check_ranked_below(user=person.user, by=by)
    if any(row.erased_at for row in person.rows):
        raise PersonErased
    texts = _findable(_texts_of(person))
    if numbers := [upload.pk for upload in _unfinished_lists() if _may_name(upload, texts)]:
        uploads = ", ".join(f"#{number}" for number in numbers)
        message = gettext(
            "Uploads that may name this person are not finished: %(uploads)s. Apply or"
            " discard them first."
        ) % {"uploads": uploads}
        raise ListsWithPeopleWaiting(message)


@atomic
def erase_person(*, person: Person, by: User) -> Erasure:
    """Put a pseudonym in the place of name and address everywhere, and end all access.

    In stored calls the clock does that, soon after. Nothing brings them back. The address may be
    invited anew, as somebody else.
    Raises ErasureRightRequired, LoginRankTooHigh, SuperuserNotErased, PersonErased,
    ListsWithPeopleWaiting.
    """
    with connection.cursor() as cursor, statement_timeout(cursor, MAX_STATEMENT_MILLISECONDS):
        return _erase_person(person, by)


def _erase_person(person: Person, by: User) -> Erasure:
    # Whole tables are read, since there is no other way to find a name in a text.
    person = _locked(person)
    check_erasable(person=person, by=by)
    texts = _texts_of(person)
    done = _end_access(person)
    memberships = _give_pseudonym(person)
    done.mails = _erase_mails(person, texts)
    for table in text_tables("revcred_", without=TABLES_NOT_SEARCHED):
        replace_in_table(table, texts.everywhere)
    replace_in_table(NOTES, texts.everywhere)
    # Kept for a while for their rejected rows, after the list itself has ended.
    for upload in Upload.objects.filter(is_staged=True):
        delete_staged_rows(_staging_table(upload), _findable(texts))
    done.calls = count_calls_to_change(texts, seconds=COUNTING_SECONDS)
    queue_call_erasure(subscriber=person.subscriber, user=person.user, texts=texts, by=by)
    done.events = _erase_events(person, texts)
    done.still_named = {
        table.name: found
        for table in text_tables("revcred_")
        if table.name in TABLES_OF_THINGS and (found := count_in_table(table, _findable(texts)))
    }
    # Only now: until here they would name the person.
    for membership in memberships:
        role = {"role": membership.role}
        AuditEvent.objects.record(AuditVerb.DELETED, target=membership, by=by, details=role)
    details = {
        "memberships": len(done.memberships),
        "sessions": done.sessions,
        "tokens": done.tokens,
        "second_factors": done.second_factors,
        "mails": done.mails,
        "events": done.events,
    }
    AuditEvent.objects.record(AuditVerb.ERASED, target=person.target, by=by, details=details)
    return done


@atomic
def export_person(*, person: Person, by: User) -> dict[str, Any]:
    """Return what is held about the person, as JSON, and record that it was exported.

    Raises ErasureRightRequired, and LoginRankTooHigh for an equal or somebody above.
    """
    _check_right(by)
    if person.user is not None and person.user.pk != by.pk:
        users.check_ranked_below(user=person.user, by=by)
    texts = _texts_of(person)
    document = {
        "exported_at": to_audit_json(timezone.now()),
        **({"subscriber": _subscriber_as_json(person.subscriber)} if person.subscriber else {}),
        **({"login": _login_as_json(person.user)} if person.user else {}),
        "mails": _rows_as_json(_mails_to(texts), "recipient", "subject", "created_at", "sent_at"),
        "events": [_event_as_json(event, person) for event in _own_events(person).order_by("pk")],
        "other_events_that_name_the_person": _events_naming(person, texts)
        .exclude(_own_event_query(person))
        .count(),
    }
    AuditEvent.objects.record(AuditVerb.EXPORTED, target=person.target, by=by)
    return document


def _check_right(by: User) -> None:
    if not by.has_perm(ERASE_RIGHT):
        raise ErasureRightRequired


def _locked(person: Person) -> Person:
    """Return the person's rows as they are now, locked."""
    subscriber, user = person.subscriber, person.user
    if subscriber:
        subscriber = Subscriber.objects.select_for_update().get(pk=subscriber.pk)
    if user:
        user = User.objects.select_for_update().get(pk=user.pk)
    return Person(subscriber, user)


def _unfinished_lists() -> QuerySet[Upload]:
    """Return the uploads of people whose rows are in a file or a table of their own."""
    states = {*Upload.WITH_FILE, *Upload.UNDER_WAY}
    return Upload.objects.filter(kind__in=KINDS_OF_LISTS_WITH_PEOPLE, state__in=states).order_by(
        "pk"
    )


def _may_name(upload: Upload, texts: Collection[PersonalText]) -> bool:
    """Return False if the upload has been checked, and no row of it holds any of the texts."""
    if upload.state != Upload.State.READY:
        return True
    return has_staged_rows(_staging_table(upload), texts)


def _staging_table(upload: Upload) -> str:
    return f"revcred_uploadrow_{upload.pk}"


# --- What the person is called --------------------------------------------------------------------


def _texts_of(person: Person) -> PersonTexts:
    """Return all texts that say who the person is, also former ones."""
    everywhere: list[PersonalText] = []
    own: list[PersonalText] = []
    named: dict[str, str] = {}
    for address in _addresses_of(person):
        text = PersonalText(address, person.pseudonymous_address, TextKind.ADDRESS)
        taken = _is_address_of_another(address, person)
        (own if taken or _is_name_of_thing(address) else everywhere).append(text)
        if not taken:
            named[address.lower()] = person.pseudonymous_address
    for name in _names_of(person):
        # A single word, or a name that others have, would be found in what is not about the person.
        tells = " " in name and not _is_name_of_another(name, person)
        if tells and not _is_name_of_thing(name):
            everywhere.append(PersonalText(name, person.pseudonym, TextKind.WORDS))
        else:
            own.append(PersonalText(name, person.pseudonym, TextKind.WHOLE))
    for key in _external_keys_of(person):
        own.append(PersonalText(key, person.pseudonymous_key, TextKind.WHOLE))
        others = Subscriber.objects.filter(external_key=key)
        if not others.exclude(pk=person.target.pk).exists():
            named[key] = person.pseudonymous_key
    return PersonTexts(everywhere=everywhere, own=own, named_by_calls=named)


def _findable(texts: PersonTexts) -> list[PersonalText]:
    """Return the texts that are found within longer ones."""
    return [text for text in (*texts.everywhere, *texts.own) if text.kind is not TextKind.WHOLE]


def _addresses_of(person: Person) -> list[str]:
    found = {row.email for row in person.rows}
    if person.user:
        for change in AddressChange.objects.filter(user=person.user):
            found |= {change.old_email, change.new_email}
        found |= set(EmailAddress.objects.filter(user=person.user).values_list("email", flat=True))
    found |= _former_names(person, FormerName.Kind.SUBSCRIBER_EMAIL)
    return _longest_first(address.lower() for address in found)


def _names_of(person: Person) -> list[str]:
    found = {row.name for row in person.rows}
    for row in person.rows:
        changes = AuditEvent.objects.about(row).filter(details__changed__has_key="name")
        for values in changes.values_list("details__changed__name", flat=True):
            found |= {value for value in values if isinstance(value, str)}
        for change in UploadChange.objects.about(row):
            found |= {
                str((fields or {}).get("name") or "") for fields in (change.before, change.after)
            }
    return _longest_first(name.strip() for name in found)


def _external_keys_of(person: Person) -> list[str]:
    found = _former_names(person, FormerName.Kind.SUBSCRIBER)
    if person.subscriber and person.subscriber.external_key:
        found.add(person.subscriber.external_key)
    return _longest_first(found)


def _former_names(person: Person, kind: FormerName.Kind) -> set[str]:
    if person.subscriber is None:
        return set()
    rows = FormerName.objects.filter(kind=kind, target_id=person.subscriber.pk)
    return set(rows.values_list("name", flat=True))


def _longest_first(texts: Iterable[str]) -> list[str]:
    # "Ada" must not be replaced within "Ada King" before that is.
    return sorted({text for text in texts if text}, key=lambda text: (-len(text), text))


def _others(person: Person) -> Iterator[QuerySet[Any]]:
    yield User.objects.exclude(pk=person.user.pk) if person.user else User.objects.all()
    yield (
        Subscriber.objects.exclude(pk=person.subscriber.pk)
        if person.subscriber
        else Subscriber.objects.all()
    )


def _is_address_of_another(address: str, person: Person) -> bool:
    return any(others.filter(email__iexact=address).exists() for others in _others(person))


def _is_name_of_another(name: str, person: Person) -> bool:
    return any(others.filter(name__iexact=name).exists() for others in _others(person))


def _is_name_of_thing(text: str) -> bool:
    return any(
        model._base_manager.filter(**{f"{name}__iexact": text}).exists()
        for model, names in THINGS_WITH_NAMES
        for name in names
    )


# --- Erasing --------------------------------------------------------------------------------------


def _end_access(person: Person) -> Erasure:
    """Delete sessions, tokens, second factors, holdings and what else belongs to the login."""
    subscriber, user = person.subscriber, person.user
    done = Erasure()
    if subscriber:
        customers = Customer.objects.filter(memberships__subscriber=subscriber)
        done.memberships = [str(customer) for customer in customers]
        done.unheld = [
            str(credential)
            for credential in Credential.objects.filter(holders=subscriber, revoked_at=None)
            if not credential.holders.exclude(pk=subscriber.pk).exists()
        ]
        subscriber.credentials.clear()
    if user:
        done.sessions = Session.objects.filter(user=user).count()
        done.tokens = UserToken.objects.filter(user=user).count()
        done.second_factors = Authenticator.objects.filter(user=user).count()
        end_all_sessions(user)
        UserToken.objects.filter(user=user).delete()
        AddressChange.objects.filter(user=user).delete()
        EmailAddress.objects.filter(user=user).delete()
        FailedSignIns.objects.filter(user_number=user.pk).delete()
        user.groups.clear()
        user.user_permissions.clear()
    return done


def _give_pseudonym(person: Person) -> list[Membership]:
    """Rename the person's rows, and end the memberships, which are returned under the pseudonym."""
    subscriber, user, now = person.subscriber, person.user, timezone.now()
    memberships: list[Membership] = []
    if user:
        user.set_unusable_password()
        User.objects.filter(pk=user.pk).update(
            email=person.pseudonymous_address,
            name=person.pseudonym,
            password=user.password,
            is_active=False,
            is_staff=False,
            last_login=None,
            reveals_rest_since=None,
            erased_at=now,
        )
        user.refresh_from_db()
        # The signal of each deletion records it, by now under the pseudonym.
        Authenticator.objects.filter(user=user).delete()
        SocialAccount.objects.filter(user=user).delete()
    if subscriber:
        subscriber.email, subscriber.name = person.pseudonymous_address, person.pseudonym
        if subscriber.external_key:
            subscriber.external_key = person.pseudonymous_key
        subscriber.user, subscriber.invited_at, subscriber.erased_at = None, None, now
        subscriber.save()
        memberships = list(
            Membership.objects.filter(subscriber=subscriber).select_related("customer")
        )
        for membership in memberships:
            membership.subscriber = subscriber
        about = Q(target_type=Subscriber._meta.label_lower, target_id=subscriber.pk)
        about |= Q(
            target_type=Membership._meta.label_lower,
            target_id__in=[each.pk for each in memberships],
        )
        UploadChange.objects.filter(about).delete()
        Membership.objects.filter(subscriber=subscriber).delete()
        kinds = (FormerName.Kind.SUBSCRIBER, FormerName.Kind.SUBSCRIBER_EMAIL)
        # A trigger has just kept the names that the subscriber had.
        FormerName.objects.filter(kind__in=kinds, target_id=subscriber.pk).delete()
    return memberships


def _erase_mails(person: Person, texts: PersonTexts) -> int:
    """Wipe mails to the person, and replace the person's texts in other mails."""
    # Queued just now, when the second factors went.
    OutgoingMail.objects.filter(recipient=person.pseudonymous_address).delete()
    wiped = _mails_to(texts).update(
        recipient=person.pseudonymous_address, body=None, next_try_at=None
    )
    # In production the text of a mail that was sent is wiped: only those that wait have one.
    for mail in OutgoingMail.objects.filter(body__isnull=False).select_for_update():
        try:
            text = mail.unseal() or ""
        except CannotUnseal:
            continue
        if (clean := replace_in_value(text, texts.everywhere)) != text:
            mail.seal(clean)
            mail.save(update_fields=["body"])
    return wiped


def _mails_to(texts: PersonTexts) -> QuerySet[OutgoingMail]:
    """Return the mails to an address that nobody else has."""
    query = Q(pk__in=[])
    for text in texts.everywhere:
        if text.kind is TextKind.ADDRESS:
            query |= Q(recipient__iexact=text.text)
    return OutgoingMail.objects.filter(query)


def _own_event_query(person: Person) -> Q:
    query = Q(pk__in=[])
    for row in person.rows:
        query |= Q(target_type=row._meta.label_lower, target_id=row.pk)
    if person.user:
        query |= Q(actor_id=person.user.pk)
    return query


def _own_events(person: Person) -> AuditEventQuerySet:
    """Return the events by the person, and on the person's subscriber and login."""
    return AuditEvent.objects.filter(_own_event_query(person))


def _events_naming(person: Person, texts: PersonTexts) -> AuditEventQuerySet:
    """Return the person's own events, and all in which the person's texts are found."""
    own = _own_event_query(person)
    if not texts.everywhere:
        return AuditEvent.objects.filter(own)
    saying = AuditEvent.objects.saying(pattern_of_any(texts.everywhere))
    return AuditEvent.objects.filter(own) | saying


def _erase_events(person: Person, texts: PersonTexts) -> int:
    count = 0
    for event in _events_naming(person, texts).with_digest_before().order_by("pk").iterator():
        _erase_event(event, person, texts)
        count += 1
    return count


def _erase_event(event: Any, person: Person, texts: PersonTexts) -> None:
    is_by = person.user is not None and event.actor_id == person.user.pk
    is_about = (event.target_type, event.target_id) in {
        (row._meta.label_lower, row.pk) for row in person.rows
    }
    replaced = [*texts.everywhere, *(texts.own if is_by or is_about else ())]
    actor, target, details = replace_in_value([event.actor, event.target, event.details], replaced)
    if is_about:
        target = person.pseudonymous_address
        details = details | {
            name: person.pseudonym for name in PERSONAL_DETAILS if details.get(name)
        }
    # An attempt to sign in has no actor, and the address of whoever tried.
    is_own_address = is_by or (is_about and event.actor_id is None)
    event.erase_people(
        bytes(event.digest_before or b""),
        actor=person.pseudonymous_address if is_by else actor,
        target=target,
        details=details,
        address=None if is_own_address else event.address,
    )


# --- Exporting ------------------------------------------------------------------------------------


def _subscriber_as_json(subscriber: Subscriber) -> dict[str, Any]:
    memberships = subscriber.memberships.select_related("customer")
    held = Credential.objects.filter(holders=subscriber).select_related("customer")
    kinds = (FormerName.Kind.SUBSCRIBER, FormerName.Kind.SUBSCRIBER_EMAIL)
    return _fields_as_json(
        subscriber, "email", "name", "external_key", "created_at", "invited_at", "erased_at"
    ) | {
        "memberships": [
            {"customer": str(each.customer), "role": each.role} for each in memberships
        ],
        "credentials_held": [{"customer": str(each.customer), "name": each.name} for each in held],
        "former_names": _rows_as_json(
            FormerName.objects.filter(kind__in=kinds, target_id=subscriber.pk),
            "name",
            "former_since",
        ),
    }


def _login_as_json(user: User) -> dict[str, Any]:
    factors = Authenticator.objects.filter(user=user).order_by("pk")
    return _fields_as_json(
        user, "email", "name", "is_staff", "is_active", "date_joined", "last_login", "erased_at"
    ) | {
        "roles": [group.name for group in user.groups.order_by("name")],
        "second_factors": [
            {"kind": FACTOR_NAMES[each.type], "created_at": to_audit_json(each.created_at)}
            for each in factors
        ],
        "company_accounts": _rows_as_json(
            SocialAccount.objects.filter(user=user), "provider", "uid", "date_joined", "last_login"
        ),
        "sessions": _rows_as_json(
            Session.objects.filter(user=user), "created_at", "last_seen_at", "address", "browser"
        ),
        "tokens": _rows_as_json(
            UserToken.objects.filter(user=user),
            *("name", "scopes", "created_at", "last_used_at", "expires_at", "revoked_at"),
        ),
        "address_changes": _rows_as_json(
            user.address_changes.all(),
            *("old_email", "new_email", "asked_at", "confirmed_at", "cancelled_at"),
        ),
        "uploads": _rows_as_json(
            Upload.objects.filter(by=user), "id", "kind", "file_name", "created_at"
        ),
    }


def _fields_as_json(row: Model, *names: str) -> dict[str, Any]:
    return {name: to_audit_json(getattr(row, name)) for name in names}


def _rows_as_json(rows: QuerySet[Any], *names: str) -> list[dict[str, Any]]:
    return [_fields_as_json(row, *names) for row in rows.order_by("pk")]


def _event_as_json(event: AuditEvent, person: Person) -> dict[str, Any]:
    is_by = person.user is not None and event.actor_id == person.user.pk
    return {
        "at": to_audit_json(event.at),
        "what": event.get_verb_display(),
        "by_the_person": is_by,
        "target": event.target,
        # The address of somebody else is no data of the person's.
        "from": event.address if is_by else None,
        "details": _without_members(event.details, DETAILS_NOT_EXPORTED),
    }


def _without_members(value: Any, left_out: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {
            name: _without_members(each, left_out)
            for name, each in value.items()
            if name not in left_out
        }
    if isinstance(value, list):
        return [_without_members(each, left_out) for each in value]
    return value
