"""What the matrix of rights asks: each address of the administration, and what is posted there.

Whoever adds a page adds its case here, and its line to `matrix.txt`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from html.parser import HTMLParser
from io import BytesIO
from typing import Any, Self

from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.urls import get_resolver, reverse
from django.urls.resolvers import URLPattern
from django.utils import timezone

from metering.admin import groups
from metering.inbox.intake import accept_calls
from metering.models import (
    Claim,
    Conflict,
    Delivery,
    DiscoveredSource,
    GatewayToken,
    IntakeStats,
    Quarantined,
    Rejection,
    Transaction,
    TrialCall,
    Usage,
)
from metering.quarantine.actions import mark_reviewed
from revcred import roles
from revcred.actions import company_sign_ins, subscriptions
from revcred.models import (
    AddressChange,
    Appearance,
    AuditEvent,
    CredentialRequest,
    Session,
    Source,
    Subscriber,
    Upload,
    User,
    UserToken,
)
from revcred.outbox import queue_mail
from revcred.uploads import actions
from revcred.uploads.columns import ListKind
from revcred.uploads.worker import process_waiting_uploads
from tests import factories
from tests.second_factors import an_app

ACTORS = ("none", *(role.name for role in roles.READY_MADE_ROLES), "superuser")
# Sessions are touched by whoever signs in, and limits count what is posted.
NOT_COUNTED = ("revcred_session", "revcred_ratecounter", "django_content_type")


class World:
    """One of everything, and a member of staff for each role."""

    def __init__(self) -> None:
        roles.sync_roles()  # tests that commit leave no row behind
        self.actors = {name: self._actor(name) for name in ACTORS}
        self.administrator = self._staff("other-admin@example.com", "Administrator")
        self.superuser = factories.a_user("boss@example.com", is_staff=True, is_superuser=True)
        self.staff = self._staff("other-staff@example.com", "Support")
        self.bare_administrator = self._staff("bare-admin@example.com", "Administrator")
        self.bare_staff = self._staff("bare-staff@example.com", "Support")
        self._customers()
        self._metering()
        self._uploads()
        self._rest()

    def everybody(self) -> list[User]:
        """Return all staff."""
        return [*self.actors.values(), self.superuser, self.staff, self.administrator]

    def _actor(self, name: str) -> User:
        email = f"{name.replace(' ', '-').lower()}@example.com"
        if name == "superuser":
            return factories.a_user(email, is_staff=True, is_superuser=True)
        return self._staff(email, name)

    def _staff(self, email: str, role: str) -> User:
        user = factories.a_user(email, is_staff=True)
        user.groups.set(Group.objects.filter(name=role))
        return user

    def _customers(self) -> None:
        self.customer = factories.a_customer("Acme")
        self.subscriber = factories.a_subscriber(self.customer, email="ada@example.com")
        self.membership = self.subscriber.memberships.get()
        self.uninvited = Subscriber.objects.create(email="new@example.com")
        self.appearance = Appearance.objects.create(pk=1)
        self.product = factories.a_product("Maps")
        self.source = Source.objects.create(name="Tiles", external_key="tiles")
        self.path_rule = self.source.path_rules.create(match="begins_with", text="/tiles")
        self.subscription = factories.a_subscription(self.customer, product=self.product)
        self.other_subscription = factories.a_subscription(self.customer)
        self.credential = factories.a_credential(
            self.customer, key="a-key-of-the-matrix-1", subscriptions=[self.subscription]
        )
        self.suspended = factories.a_credential(self.customer, key="a-key-of-the-matrix-2")
        factories.credentials.suspend_credential(credential=self.suspended, by=None)
        self.unused = factories.a_credential(self.customer, key="a-key-of-the-matrix-3")
        self.request = CredentialRequest.objects.create(
            customer=self.customer,
            subscription=self.subscription,
            subscriber=self.subscriber,
            name="Requested",
        )
        self.former_name = self.other_subscription.external_key
        self.other_subscription.external_key = "renamed"
        subscriptions.change_subscription(subscription=self.other_subscription, by=self.superuser)
        self.event_of_credential = AuditEvent.objects.get(verb="suspended")
        self.event_of_subscription = AuditEvent.objects.about(self.other_subscription).first()
        # Nothing hangs on these, so that they can be deleted.
        self.bare_customer = factories.a_customer("Bare")
        self.with_company_sign_in = factories.a_customer("Company", email_domains=["a.example"])
        company_sign_ins.set_company_sign_in(
            customer=self.with_company_sign_in,
            issuer="https://login.a.example",
            client_id="client",
            client_secret="a-secret",
            by=self.superuser,
        )
        self.bare_product = factories.a_product("Bare")
        self.bare_source = Source.objects.create(name="Bare", external_key="bare")
        self.bare_subscription = factories.a_subscription(self.customer)
        self.bare_gateway = factories.a_gateway("Bare")

    def _metering(self) -> None:
        self.gateway = factories.a_gateway("Edge")
        self.gateway_token, _ = GatewayToken.issue(self.gateway, name="Edge", scopes=[])
        factories.settled(
            factories.a_call("a-key-of-the-matrix-1"),
            factories.a_call("an-unknown-key-1111"),
            factories.a_call("an-unknown-key-2222"),
            factories.a_call("an-unknown-key-3333", ago=timedelta(days=40), outside=True),
            factories.a_call("a-key-of-the-matrix-2"),
            gateway=self.gateway,
        )
        slugs = {each.hint: each.slug for each in groups.find_groups()}
        self.group, self.released = slugs["1111"], slugs["2222"]
        self.outside, self.of_suspended = slugs["3333"], slugs["ix-2"]
        self.rejection = Rejection.objects.create(
            gateway=self.gateway, door="/v1/transactions", code="too_old", message="It is old."
        )
        mark_reviewed(Quarantined.objects.filter(hint="2222"), by=self.superuser, note="Looked at")
        self.conflict = Conflict.objects.create(
            transaction="00000000-0000-0000-0000-000000000001",
            gateway=self.gateway,
            transaction_id="x",
            received_at=timezone.now(),
            content={},
        )
        self.trial = TrialCall.objects.create(
            gateway=self.gateway,
            token=self.gateway_token,
            received_at=timezone.now(),
            rejection={"code": "too_old", "field": "occurred_at", "message": "It is old."},
        )
        self.claim = Claim.objects.create(cause="A test")
        accept_calls(self.gateway, [factories.a_call()])
        Delivery.objects.update(attempts=1, next_try_at="2100-01-01T00:00:00Z")
        self.delivery = Delivery.objects.get()
        self.discovered = DiscoveredSource.objects.create(
            name="Unknown",
            kind="named",
            gateway=self.gateway,
            first_seen_at=timezone.now(),
            last_seen_at=timezone.now(),
        )
        self.transaction, self.quarantined = Transaction.objects.get(), Quarantined.objects.first()
        self.usage, self.intakestats = Usage.objects.first(), IntakeStats.objects.first()

    def _uploads(self) -> None:
        self.upload = self._upload("Subscribers", "email,customer\nready@example.com,acme\n")
        rejected = "email,customer\nx@example.com,nobody\ny,acme\n"
        self.rejected = self._upload("Rejected", rejected)
        self.rejected_of_importer = self._upload("Own", rejected, by=self.actors["Importer"])
        self.unmapped = self._upload("Unmapped", "what,else\nx@example.com,acme\n")
        self.applied = self._upload("Applied", "email,customer\napplied@example.com,acme\n")
        actions.apply_upload(upload=self.applied, by=self.superuser, all_or_nothing=True)
        process_waiting_uploads()
        self.applied.refresh_from_db()
        actions.check_undoing(upload=self.applied)
        process_waiting_uploads()
        self.applied.refresh_from_db()

    def _upload(self, name: str, text: str, by: User | None = None) -> Upload:
        upload = actions.receive_upload(
            kind=ListKind.SUBSCRIBERS,
            file=BytesIO(text.encode()),
            name=f"{name}.csv",
            encoding=None,
            delimiter=None,
            by=by or self.superuser,
        )
        process_waiting_uploads()
        upload.refresh_from_db()
        return upload

    def _rest(self) -> None:
        self.tokens = {
            user.email: UserToken.issue(user, name="A script", scopes=["uploads:check"])[0]
            for user in self.everybody()
        }
        self.sessions = {
            user.email: Session.objects.create(user=user, digest=user.email.encode())
            for user in (*self.everybody(), self.subscriber.user)
        }
        self.mail = queue_mail("emails/second_factor_added", "x@example.com", {"user": self.staff})
        self.single_right = Permission.objects.get(codename="view_upload")
        for user in (*self.everybody(), self.subscriber.user):
            an_app(user)
        for user in (*self.everybody(), self.subscriber.user):
            AddressChange.objects.create(
                user=user, old_email=user.email, new_email=f"new-{user.email}"
            )
        self.own_group = Group.objects.create(name="Night shift")
        self.role = Group.objects.get(name="Support")
        self.event = AuditEvent.objects.latest("pk")


Target = Callable[[World, User], Any]


@dataclass(frozen=True)
class Case:
    """An address with one target. `said` is what is posted, over what the page's form holds."""

    target: str = "-"
    at: Target = lambda _world, _actor: None
    said: dict[str, Any] = field(default_factory=dict)
    query: str = ""
    # What has to change, where a page saves more than what the case is about.
    fact: Callable[[World, User], Any] | None = None
    # What the form holds, where the superuser's own view of the page does not show all of it.
    form: Callable[[Any], dict[str, Any]] | None = None


def _of(name: str) -> Target:
    return lambda world, _actor: getattr(world, name)


def one(of: str, /, **said: Any) -> list[Case]:
    return [Case(at=_of(of), said=said)]


LOGINS: dict[str, Target] = {
    "own": lambda _world, actor: actor,
    "superuser": _of("superuser"),
    "administrator": _of("administrator"),
    "staff": _of("staff"),
    "subscriber": lambda world, _actor: world.subscriber.user,
}


def as_it_is(user: User) -> dict[str, Any]:
    """All that a form about this login could say, unchanged."""
    flags = {
        name: "on" for name in ("is_active", "is_staff", "is_superuser") if getattr(user, name)
    }
    return flags | {
        "email": user.email,
        "name": user.name,
        "groups": [each.pk for each in user.groups.all()],
        "user_permissions": [each.pk for each in user.user_permissions.all()],
    }


def logins(said: dict[str, Any] | None = None) -> list[Case]:
    """A case for each kind of login."""
    return [Case(login, at, said or {}) for login, at in LOGINS.items()]


def changes_of_logins(world: World) -> list[Case]:
    """A case for each kind of login and each field of its form."""
    said = {
        "name": "Changed",
        "email": "changed-login@example.com",
        "is_superuser": "on",
        "groups": [world.own_group.pk],
        "user_permissions": [world.single_right.pk],
    }
    return [
        Case(f"{login}, {name}", at, {name: value}, form=as_it_is, fact=_login_fact(at, name))
        for login, at in LOGINS.items()
        for name, value in said.items()
    ]


def _login_fact(at: Target, name: str) -> Callable[[World, User], Any]:
    def fact(world: World, actor: User) -> Any:
        user = User.objects.get(pk=at(world, actor).pk)
        if name == "email":
            return list(user.address_changes.open().values_list("new_email", flat=True))
        value = getattr(user, name)
        return list(value.values_list("pk", flat=True)) if hasattr(value, "values_list") else value

    return fact


def roles_at_customer(world: World, _actor: User) -> Any:
    return list(world.customer.memberships.order_by("pk").values_list("subscriber", "role"))


def address_of_uninvited(world: World, _actor: User) -> Any:
    return Subscriber.objects.get(pk=world.uninvited.pk).email


def asked_of_subscriber(world: World, _actor: User) -> Any:
    return list(world.subscriber.user.address_changes.open().values_list("new_email", flat=True))


def superusers(_world: World, _actor: User) -> Any:
    return User.objects.filter(is_superuser=True).count()


def tokens(**said: Any) -> list[Case]:
    def of(at: Target) -> Target:
        return lambda world, actor: world.tokens[at(world, actor).email]

    return [Case(name, of(at), said) for name, at in LOGINS.items() if name != "subscriber"]


def standard(name: str, model: str, *, add: list[Case], change: Any, bare: str = "") -> dict:
    """The pages that each model has: five of Django's, and three that are posted to."""
    return {
        f"{model}_changelist": [Case()],
        f"{model}_search": SEARCH,
        f"{model}_export-list": EXPORT,
        f"{model}_save-view": SAVE_VIEW,
        f"{model}_add": add,
        f"{model}_change": change if isinstance(change, list) else one(name, **change),
        f"{model}_history": one(name),
        f"{model}_delete": one(bare or name, post="yes"),
    }


SEARCH = [Case(said={"q": "x"})]
EXPORT = [Case(said={"format": "csv"})]
SAVE_VIEW = [Case(said={"name": "Mine", "query": "q=x"})]
NEW = [Case()]  # nothing can be added there
NOTHING: dict[str, Any] = {}


def cases(world: World) -> dict[str, list[Case]]:
    pages: dict[str, list[Case]] = {
        "index": [Case()],
        "login": [Case()],
        "password_change": [Case()],
        "password_change_done": [Case()],
        "jsi18n": [Case()],
        "search": [Case(said={"term": "acme"})],
        "view_on_site": [Case(at=lambda _world, _actor: ("1", "1"))],
        "app_list": [Case(at=lambda _world, _actor: "revcred")],
        "autocomplete": [
            Case(
                model,
                query=f"app_label=revcred&model_name={of}&field_name={name}",
            )
            for model, of, name in (
                ("customer", "membership", "customer"),
                ("subscriber", "membership", "subscriber"),
                ("product", "subscription", "product"),
                ("subscription", "assignment", "subscription"),
            )
        ],
    }
    at = f"memberships-{world.customer.memberships.count()}"
    new_member = {
        "memberships-TOTAL_FORMS": world.customer.memberships.count() + 1,
        f"{at}-customer": world.customer.pk,
        f"{at}-subscriber": world.uninvited.pk,
    }
    pages |= standard(
        "customer",
        "revcred_customer",
        add=[Case(said={"name": "New", "external_key": "new"})],
        change=[
            Case("name", _of("customer"), {"name": "Changed"}),
            *(
                Case(target, _of("customer"), said, fact=roles_at_customer)
                for target, said in {
                    "role of a member": {"memberships-0-role": "owner"},
                    "new member": new_member | {f"{at}-role": "member"},
                    "new owner": new_member | {f"{at}-role": "owner"},
                }.items()
            ),
        ],
        bare="bare_customer",
    )
    subscriber: list[Case] = [
        Case("name", _of("subscriber"), {"name": "Changed"}),
        Case(
            "address of one who signs in",
            _of("subscriber"),
            {"email": "changed@example.com"},
            fact=asked_of_subscriber,
        ),
        Case(
            "address of one who does not",
            _of("uninvited"),
            {"email": "changed@example.com"},
            fact=address_of_uninvited,
        ),
        Case(
            "address of a superuser",
            _of("uninvited"),
            {"email": world.superuser.email},
            fact=address_of_uninvited,
        ),
    ]
    pages |= standard(
        "subscriber",
        "revcred_subscriber",
        add=[
            Case("new", said={"email": "brand-new@example.com"}),
            Case("address of a superuser", said={"email": world.superuser.email}),
        ],
        change=subscriber,
        bare="uninvited",
    )
    pages["revcred_subscriber_invite"] = [
        Case("one who signs in", _of("subscriber")),
        Case("one who does not", _of("uninvited")),
    ]
    pages["revcred_subscriber_look"] = one("subscriber")
    pages["revcred_subscriber_cancel-address"] = one("subscriber")
    pages["revcred_subscriber_export"] = one("subscriber")
    pages["revcred_subscriber_erase"] = [
        Case("subscriber", _of("subscriber"), {"email": "ada@example.com"}),
    ]
    role_of = {"customer": world.customer.pk, "subscriber": world.uninvited.pk}
    pages |= standard(
        "membership",
        "revcred_membership",
        add=[
            Case("member", said=role_of | {"role": "member"}),
            Case("owner", said=role_of | {"role": "owner"}),
        ],
        change=[
            Case("viewer", _of("membership"), {"role": "viewer"}),
            Case("owner", _of("membership"), {"role": "owner"}),
        ],
    )
    pages |= standard("appearance", "revcred_appearance", add=NEW, change={"name": "Changed"})
    pages |= standard(
        "product",
        "revcred_product",
        add=[Case(said={"name": "New", "external_key": "new"})],
        change={"name": "Changed"},
        bare="bare_product",
    )
    pages |= standard(
        "source",
        "revcred_source",
        add=[Case(said={"name": "New", "external_key": "new"})],
        change=[
            Case("name", _of("source"), {"name": "Changed"}),
            Case("path rule", _of("source"), {"path_rules-0-text": "/changed"}),
        ],
        bare="bare_source",
    )
    pages |= standard(
        "subscription",
        "revcred_subscription",
        add=[
            Case(
                said={
                    "customer": world.customer.pk,
                    "product": world.product.pk,
                    "external_key": "new",
                    "name": "New",
                    "active_from": "2026-01-01 00:00",
                }
            )
        ],
        change={"name": "Changed"},
        bare="bare_subscription",
    )
    pages["revcred_subscription_forget-name"] = one("other_subscription", name=world.former_name)
    issue = {"customer": world.customer.pk, "name": "New", "key": "a-new-key-of-the-matrix"}
    pages |= standard(
        "credential", "revcred_credential", add=[Case(said=issue)], change={"name": "Changed"}
    )
    to = {"to": world.other_subscription.pk}
    move = to | {"subscription": world.subscription.pk}
    pages |= {
        "revcred_credential_find": [Case(said={"term": "x"})],
        "revcred_credential_add-alias": one("credential", key="another-key-of-the-matrix"),
        "revcred_credential_rotate": one("credential", overlap="24"),
        "revcred_credential_suspend": one("credential"),
        "revcred_credential_resume": one("suspended"),
        "revcred_credential_revoke": one("credential", reason="Lost"),
        "revcred_credential_delete-mistake": one("unused"),
        "revcred_credential_move": one("credential", **move),
        "revcred_credential_assign": one("credential", **to),
        "revcred_credential_unassign": one("credential", subscription=world.subscription.pk),
        "revcred_credential_end-key": one("credential", key=world.credential.keys.get().pk),
    }
    pages |= standard("request", "revcred_credentialrequest", add=NEW, change=one("request"))
    pages |= {
        "revcred_credentialrequest_approve": one("request"),
        "revcred_credentialrequest_reject": one("request", reason="Not yet."),
    }
    pages |= standard("upload", "revcred_upload", add=[Case(said={})], change=one("upload"))
    pages["revcred_upload_add"] = [Case(said={"file": "a file"})]
    pages |= {
        "revcred_upload_list": [Case(at=lambda *_: ("subscribers", "example", "csv"))],
        "revcred_upload_columns": one("unmapped", column_0="email", column_1="customer"),
        "revcred_upload_choices": one("rejected", customers="create", people_of_others="reject"),
        "revcred_upload_apply": one("upload", rows="good"),
        "revcred_upload_cancel": one("upload"),
        "revcred_upload_undo": one("applied", left="0"),
        "revcred_upload_problems": one("rejected"),
        "revcred_upload_rejected": [
            Case("brought by the importer", _of("rejected_of_importer")),
            Case("brought by somebody else", _of("rejected")),
        ],
        "revcred_upload_progress": one("upload"),
    }
    pages |= standard(
        "gateway",
        "revcred_gateway",
        add=[Case(said={"name": "New"})],
        change={"name": "Changed"},
        bare="bare_gateway",
    )
    pages |= {
        "revcred_customer_company-sign-in": one(
            "with_company_sign_in",
            issuer="https://login.b.example",
            client_id="client",
            client_secret="another",
        ),
        "revcred_customer_end-company-sign-in": one("with_company_sign_in"),
        "revcred_gateway_issue-token": one(
            "gateway", name="New", scopes=[*GatewayToken.Scope.values]
        ),
        "revcred_gateway_revoke-token": one("gateway", token=world.gateway_token.pk),
        "metering_delivery_try-again": one("delivery"),
        "metering_discoveredsource_enter": one("discovered", name="New"),
        "settings": [Case()],
        "revcred_credential_leaks": [Case(said={"text": "a-key-of-the-matrix-1"})],
        "revcred_credential_leaks-scan": [Case(said={"text": "a-key-of-the-matrix-1"})],
        "revcred_credential_contain-leak": [
            Case(
                said={"keys": [world.credential.keys.get().pk], "where": "A log"},
                query=f"key={world.credential.keys.get().pk}",
            )
        ],
        **{
            f"revcred_credential_many-{slug}": [Case(said={"ids": world.credential.pk} | said)]
            for slug, said in {
                "suspend": {},
                "revoke": {"reason": "Lost"},
                "tag": {"add": "eu"},
                "extend": {"expires_at": "2100-01-01T00:00"},
                "move": {"subscription": world.other_subscription.pk},
            }.items()
        },
        "revcred_credential_many-resume": [Case(said={"ids": world.suspended.pk})],
        "revcred_subscription_many-extend": [
            Case(
                said={
                    "ids": world.subscription.pk,
                    "active_until": "2100-01-01T00:00",
                }
            )
        ],
        "revcred_subscriber_many-invite": [Case(said={"ids": world.uninvited.pk})],
        "metering_quarantined_many-review": [
            Case(said={"ids": world.quarantined.pk, "note": "Looked at"})
        ],
        "metering_quarantined_many-put-back": [
            Case(said={"ids": Quarantined.objects.get(hint="2222").pk})
        ],
        "metering_quarantined_many-match": [Case(said={"ids": world.quarantined.pk})],
        "metering_usage_most-calls": [Case()],
        "metering_transaction_what-if": [Case(said={"gateway": world.gateway.pk, "key": "a-key"})],
        "revcred_gateway_try": one("gateway"),
        "revcred_gateway_try-latest": one("gateway"),
        "revcred_gateway_retry-rejections": one("gateway", code=""),
        "revcred_gateway_drift": one("gateway"),
        "revcred_gateway_lines": one("gateway", lines="{}", line_format="nginx"),
        "revcred_gateway_save-format": one(
            "gateway", name="own", definition='{"occurred_at": ["ts"]}', for_gateway="on"
        ),
        "revcred_gateway_trial": [
            Case("trial", lambda world, _: (world.gateway.pk, world.trial.pk))
        ],
        "metering_quarantined_review": one("group", note="Looked at"),
        "metering_quarantined_put-back": one("released"),
        "metering_quarantined_claim": one("group"),
        "metering_quarantined_attach": one("group", credential=world.credential.pk),
        "metering_quarantined_charge": one("of_suspended", to=world.other_subscription.pk),
        "metering_quarantined_match": one("quarantined"),
        "metering_quarantined_moment": one("outside", at="arrival"),
    }
    for name, model in (
        ("transaction", "metering_transaction"),
        ("quarantined", "metering_quarantined"),
        ("usage", "metering_usage"),
        ("intakestats", "metering_intakestats"),
        ("conflict", "metering_conflict"),
        ("rejection", "metering_rejection"),
        ("claim", "metering_claim"),
        ("delivery", "metering_delivery"),
        ("discovered", "metering_discoveredsource"),
        ("event", "revcred_auditevent"),
        ("mail", "revcred_outgoingmail"),
    ):
        pages |= standard(name, model, add=NEW, change=NOTHING)
    pages["revcred_auditevent_undo"] = [
        Case("of a credential", _of("event_of_credential")),
        Case("of a subscription", _of("event_of_subscription")),
    ]
    pages |= {
        "revcred_user_changelist": [Case()],
        "revcred_user_search": SEARCH,
        "revcred_user_export-list": EXPORT,
        "revcred_user_save-view": SAVE_VIEW,
        "revcred_user_add": [
            Case("staff", said={"email": "new-staff@example.com", "is_staff": "on"}),
            Case(
                "superuser",
                said={"email": "new-boss@example.com", "is_superuser": "on"},
                fact=superusers,
            ),
        ],
        "revcred_user_history": logins(),
        "revcred_user_delete": [
            *(each for each in logins({"post": "yes"}) if each.target in ("own", "superuser")),
            # Whoever has a token is switched off and not deleted.
            Case("administrator", _of("bare_administrator"), {"post": "yes"}),
            Case("staff", _of("bare_staff"), {"post": "yes"}),
            Case("subscriber", LOGINS["subscriber"], {"post": "yes"}),
        ],
        "revcred_user_change": changes_of_logins(world),
        "revcred_user_reset-second-factor": logins({"reason": "Lost"}),
        "revcred_user_password-link": logins(),
        "revcred_user_cancel-address": logins(),
        "revcred_user_end-sessions": [
            Case(login, at, form=lambda user: {"sessions": [world.sessions[user.email].pk]})
            for login, at in LOGINS.items()
        ],
        "revcred_user_sign-out-everywhere": logins(),
        "revcred_user_export": logins(),
        "revcred_user_erase": [
            Case(login, at, form=lambda user: {"email": user.email}) for login, at in LOGINS.items()
        ],
        "auth_group_changelist": [Case()],
        "auth_group_search": SEARCH,
        "auth_group_export-list": EXPORT,
        "auth_group_save-view": SAVE_VIEW,
        "auth_group_add": [Case(said={"name": "New"})],
        "revcred_usertoken_changelist": [Case()],
        "revcred_usertoken_search": SEARCH,
        "revcred_usertoken_export-list": EXPORT,
        "revcred_usertoken_save-view": SAVE_VIEW,
        "revcred_usertoken_add": [Case(said={"name": "New", "scopes": ["uploads:check"]})],
        "revcred_usertoken_change": tokens(),
        "revcred_usertoken_history": tokens(),
        "revcred_usertoken_delete": tokens(post="yes"),
        "revcred_usertoken_revoke": tokens(),
    }
    for page, said in (
        ("change", {"name": "Changed"}),
        ("history", {}),
        ("delete", {"post": "yes"}),
    ):
        pages[f"auth_group_{page}"] = [
            Case("role", _of("role"), said),
            Case("other", _of("own_group"), said),
        ]
    return pages


def address_of(page: str, case: Case, world: World, actor: User) -> str:
    at = case.at(world, actor)
    args = at if isinstance(at, tuple) else () if at is None else (getattr(at, "pk", at),)
    return reverse(f"admin:{page}", args=args) + (f"?{case.query}" if case.query else "")


def pages_there_are() -> dict[str | None, list[URLPattern]]:
    """All patterns below /admin/, by name."""
    found: dict[str | None, list[URLPattern]] = {}

    def walk(resolver: Any) -> None:
        for each in resolver.url_patterns:
            if isinstance(each, URLPattern):
                found.setdefault(each.name, []).append(each)
            else:
                walk(each)

    [admin] = [each for each in get_resolver().url_patterns if str(each.pattern) == "admin/"]
    walk(admin)
    return found


# --- What a browser would send --------------------------------------------------------------------


class Forms(HTMLParser):
    """The forms of a page, each with the values that a browser would send unchanged."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = []
        self._select: dict[str, Any] | None = None
        self._textarea: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        said = dict(attributes)
        name = said.get("name")
        if tag == "form":
            self.forms.append({})
        elif not self.forms or "disabled" in said:
            return
        elif tag == "select":
            self._select = {"name": name, "many": "multiple" in said}
        elif tag == "option" and self._select and "selected" in said:
            self._keep(self._select["name"], said.get("value"), many=self._select["many"])
        elif tag == "textarea":
            self._textarea = name
            self._keep(name, "")
        elif tag == "input" and name:
            kind = said.get("type", "text")
            if kind in ("submit", "button", "file"):
                return
            if kind in ("checkbox", "radio"):
                if "checked" in said:
                    self._keep(name, said.get("value", "on"), many=kind == "checkbox")
            else:
                self._keep(name, said.get("value") or "")

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.forms[-1][self._textarea] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            if self._textarea:  # a browser leaves out the line break it begins with
                text = self.forms[-1][self._textarea]
                self.forms[-1][self._textarea] = text.removeprefix("\r").removeprefix("\n")
            self._textarea = None
        elif tag == "select":
            self._select = None

    def _keep(self, name: str | None, value: Any, *, many: bool = False) -> None:
        if name is None or value is None:
            return
        if many:
            self.forms[-1].setdefault(name, []).append(value)
        else:
            self.forms[-1][name] = value


def largest_form(html: str) -> dict[str, Any]:
    return max(Forms(html).forms, key=len, default={})


# --- What changed ---------------------------------------------------------------------------------


class Writes:
    """Counts the rows that are written, by table, also those that are taken back again.

    PostgreSQL is asked only if something else than reading was sent to it.
    """

    READS = ("SELECT", "SAVEPOINT", "RELEASE", "SHOW", "WITH RECURSIVE KEYED")

    def __init__(self) -> None:
        self.before: dict[str, int] | None = None

    def __enter__(self) -> Self:
        self._wrapped = connection.execute_wrapper(self._look_at)
        self._wrapped.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._wrapped.__exit__(*error)

    def _look_at(self, execute: Any, sql: Any, *args: Any) -> Any:
        if self.before is None and not str(sql).lstrip().upper().startswith(self.READS):
            self.before = {}  # so that the question itself is not looked at
            self.before = _rows_written()
        return execute(sql, *args)

    def so_far(self) -> dict[str, int]:
        if self.before is None:
            return {}
        after = _rows_written()
        return {name: n for name, n in after.items() if n != self.before.get(name)}


def _rows_written() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_xact_user_tables"
            " WHERE n_tup_ins + n_tup_upd + n_tup_del > 0"
        )
        return {name: count for name, count in cursor if name not in NOT_COUNTED}


def columns(lines: list[tuple[str, ...]]) -> str:
    """The lines as text, each column as wide as its widest."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = (
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(text.rstrip() for text in texts)
