"""Which rights a list takes: every right taken away, of every kind of list and all it can do."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group, Permission
from django.utils import timezone

from metering.attribution.processing import process_waiting_deliveries
from metering.models import Delivery, Transaction
from revcred import roles
from revcred.actions import credentials
from revcred.models import (
    Assignment,
    Credential,
    Customer,
    ExternalKey,
    Gateway,
    Membership,
    PathRule,
    Product,
    SealedValue,
    Source,
    Subscriber,
    Subscription,
    Suspension,
    Upload,
    UploadChange,
    User,
)
from revcred.uploads import actions, applying, rights
from revcred.uploads.columns import ListKind
from revcred.uploads.rights import REQUIRED_RIGHTS, RowEffect
from revcred.uploads.worker import process_waiting_uploads
from tests import factories
from tests.lengths import sampled
from tests.revcred.uploads.conftest import rows, worked

pytestmark = pytest.mark.django_db(transaction=True)

THINGS = (
    *("credential", "customer", "gateway", "membership", "pathrule", "product", "source"),
    *("subscriber", "subscription"),
)
ALL_RIGHTS = (
    "apply_upload",
    "upload_usage",
    *(f"{verb}_{each}" for verb in ("add", "change") for each in THINGS),
)
WRITTEN = (
    Assignment,
    Credential,
    Credential.holders.through,
    Customer,
    Delivery,
    EmailAddress,
    ExternalKey,
    Gateway,
    Membership,
    PathRule,
    Product,
    Product.sources.through,
    SealedValue,
    Source,
    Subscriber,
    Subscription,
    Suspension,
    User,
)


@dataclass(frozen=True)
class Scenario:
    """A list whose only row does this, and all the rights that it takes."""

    kind: ListKind
    effect: RowEffect
    text: str
    rights: tuple[str, ...]
    choices: dict[str, str] = field(default_factory=dict)
    has_happened: Callable[[], bool] = lambda: False

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.effect}"


def role_of(email, customer="acme"):
    found = Membership.objects.filter(subscriber__email=email, customer__external_key=customer)
    return found.values_list("role", flat=True).first()


SCENARIOS = (
    Scenario(
        *(ListKind.CREDENTIALS, RowEffect.CREATE),
        "customer,name,key\nacme,Bills,the-key-of-bills\n",
        ("add_credential",),
        has_happened=lambda: Credential.objects.filter(name="Bills").exists(),
    ),
    Scenario(
        *(ListKind.CREDENTIALS, RowEffect.UPDATE),
        "customer,name,key\nacme,Renamed,the-key-of-orders\n",
        ("change_credential",),
        has_happened=lambda: Credential.objects.filter(name="Renamed").exists(),
    ),
    Scenario(
        *(ListKind.CREDENTIALS, RowEffect.MOVE),
        "customer,name,key,subscription\nacme,Orders,the-key-of-orders,routes\n",
        ("change_credential",),
        has_happened=lambda: Assignment.objects.filter(
            subscription__external_key="routes"
        ).exists(),
    ),
    Scenario(
        *(ListKind.CREDENTIALS, RowEffect.TAKE_OVER),
        "customer,name,key\nglobex,Taken,the-key-of-orders\n",
        ("add_credential", "change_credential"),
        {"keys_of_others": "take_over"},
        has_happened=lambda: Credential.objects.filter(name="Taken").exists(),
    ),
    Scenario(
        *(ListKind.CREDENTIALS, RowEffect.USE_AGAIN),
        "customer,name,key\nacme,Again,the-key-of-old\n",
        ("add_credential", "change_credential"),
        {"revoked_keys": "use_again"},
        has_happened=lambda: Credential.objects.filter(name="Again").exists(),
    ),
    Scenario(
        *(ListKind.CREDENTIALS, RowEffect.JOIN),
        "customer,name,key,holders\nacme,Orders,the-key-of-orders,ada@example.com\n",
        ("change_credential", "add_membership"),
        has_happened=lambda: role_of("ada@example.com") == "member",
    ),
    Scenario(
        *(ListKind.CREDENTIALS, RowEffect.ADD_CUSTOMER),
        "customer,name,key\nnew,Bills,the-key-of-bills\n",
        ("add_credential", "add_customer"),
        {"customers": "create"},
        has_happened=lambda: Customer.objects.filter(external_key="new").exists(),
    ),
    Scenario(
        *(ListKind.CREDENTIALS, RowEffect.ADD_SUBSCRIBER),
        "customer,name,key,holders\nacme,Bills,the-key-of-bills,new@example.com\n",
        ("add_credential", "add_subscriber", "add_membership"),
        {"subscribers": "create"},
        has_happened=lambda: Subscriber.objects.filter(email="new@example.com").exists(),
    ),
    Scenario(
        *(ListKind.CREDENTIALS, RowEffect.ADD_SUBSCRIPTION),
        "customer,name,key,subscription\nacme,Bills,the-key-of-bills,new\n",
        ("add_credential", "add_subscription"),
        {"subscriptions": "create", "product": "tiles"},
        has_happened=lambda: Subscription.objects.filter(external_key="new").exists(),
    ),
    Scenario(
        *(ListKind.CREDENTIALS, RowEffect.ADD_PRODUCT),
        "customer,name,key,plan\nacme,Bills,the-key-of-bills,Gold\n",
        ("add_credential", "add_product", "add_subscription"),
        {"subscriptions": "create", "plans": "create"},
        has_happened=lambda: Product.objects.filter(external_key="Gold").exists(),
    ),
    Scenario(
        *(ListKind.CREDENTIALS, RowEffect.SET_STATE),
        "customer,name,key,state\nacme,Bills,the-key-of-bills,suspended\n",
        ("add_credential", "change_credential"),
        {"inactive": "keep"},
        has_happened=lambda: Suspension.objects.filter(credential__name="Bills").exists(),
    ),
    Scenario(
        *(ListKind.CUSTOMERS, RowEffect.CREATE),
        "external_key,name\nnew,New\n",
        ("add_customer",),
        has_happened=lambda: Customer.objects.filter(external_key="new").exists(),
    ),
    Scenario(
        *(ListKind.CUSTOMERS, RowEffect.UPDATE),
        "external_key,name\nacme,Renamed\n",
        ("change_customer",),
        has_happened=lambda: Customer.objects.filter(name="Renamed").exists(),
    ),
    Scenario(
        *(ListKind.SUBSCRIBERS, RowEffect.CREATE),
        "email,name\nnew@example.com,New\n",
        ("add_subscriber",),
        has_happened=lambda: Subscriber.objects.filter(email="new@example.com").exists(),
    ),
    Scenario(
        *(ListKind.SUBSCRIBERS, RowEffect.UPDATE),
        "email,name\nada@example.com,Renamed\n",
        ("change_subscriber",),
        has_happened=lambda: Subscriber.objects.filter(name="Renamed").exists(),
    ),
    Scenario(
        *(ListKind.SUBSCRIBERS, RowEffect.JOIN),
        "email,customer,role\nada@example.com,acme,viewer\n",
        ("add_membership",),
        has_happened=lambda: role_of("ada@example.com") == "viewer",
    ),
    Scenario(
        *(ListKind.SUBSCRIBERS, RowEffect.JOIN_AS_OWNER),
        "email,customer,role\nada@example.com,acme,owner\n",
        ("add_membership", "change_membership"),
        has_happened=lambda: role_of("ada@example.com") == "owner",
    ),
    Scenario(
        *(ListKind.SUBSCRIBERS, RowEffect.CHANGE_ROLE),
        "email,customer,role\nbo@example.com,acme,owner\n",
        ("change_membership",),
        has_happened=lambda: role_of("bo@example.com") == "owner",
    ),
    Scenario(
        *(ListKind.SUBSCRIBERS, RowEffect.ADD_CUSTOMER),
        "email,customer\nada@example.com,new\n",
        ("add_membership", "add_customer"),
        {"customers": "create"},
        has_happened=lambda: Customer.objects.filter(external_key="new").exists(),
    ),
    Scenario(
        *(ListKind.SUBSCRIPTIONS, RowEffect.CREATE),
        "external_key,customer,product\nnew,acme,tiles\n",
        ("add_subscription",),
        has_happened=lambda: Subscription.objects.filter(external_key="new").exists(),
    ),
    Scenario(
        *(ListKind.SUBSCRIPTIONS, RowEffect.UPDATE),
        "external_key,customer,product,quota\nmaps,acme,tiles,7\n",
        ("change_subscription",),
        has_happened=lambda: Subscription.objects.filter(quota=7).exists(),
    ),
    Scenario(
        *(ListKind.SUBSCRIPTIONS, RowEffect.ADD_CUSTOMER),
        "external_key,customer,product\nnew,new,tiles\n",
        ("add_subscription", "add_customer"),
        {"customers": "create"},
        has_happened=lambda: Customer.objects.filter(external_key="new").exists(),
    ),
    Scenario(
        *(ListKind.PRODUCTS, RowEffect.CREATE),
        "external_key,name\nnew,New\n",
        ("add_product",),
        has_happened=lambda: Product.objects.filter(external_key="new").exists(),
    ),
    Scenario(
        *(ListKind.PRODUCTS, RowEffect.UPDATE),
        "external_key,name,sources\ntiles,Tiles,north\n",
        ("change_product",),
        has_happened=lambda: Product.objects.filter(sources__external_key="north").exists(),
    ),
    Scenario(
        *(ListKind.SOURCES, RowEffect.ADD_SOURCE),
        "external_key,name\nnew,New\n",
        ("add_source",),
        has_happened=lambda: Source.objects.filter(external_key="new").exists(),
    ),
    Scenario(
        *(ListKind.SOURCES, RowEffect.UPDATE),
        "external_key,name\nnorth,Renamed\n",
        ("change_source",),
        has_happened=lambda: Source.objects.filter(name="Renamed").exists(),
    ),
    Scenario(
        *(ListKind.SOURCES, RowEffect.ADD_PATH_RULE),
        "external_key,path\nnorth,/north/\n",
        ("change_source", "add_pathrule"),
        has_happened=lambda: PathRule.objects.filter(text="/north/").exists(),
    ),
    Scenario(
        *(ListKind.GATEWAYS, RowEffect.CREATE),
        "name,kind\nnew,kong\n",
        ("add_gateway",),
        has_happened=lambda: Gateway.objects.filter(name="new").exists(),
    ),
    Scenario(
        *(ListKind.GATEWAYS, RowEffect.UPDATE),
        "name,kind\nedge,kong\n",
        ("change_gateway",),
        has_happened=lambda: Gateway.objects.filter(kind="kong").exists(),
    ),
    Scenario(
        *(ListKind.USAGE, RowEffect.COUNT_CALLS),
        "transaction_id,occurred_at,gateway,key\n"
        f"one,{timezone.now().isoformat()},edge,the-key-of-orders\n",
        ("upload_usage",),
        has_happened=lambda: Delivery.objects.exists() or Transaction.objects.standing().exists(),
    ),
)


@pytest.fixture(autouse=True)
def _world():
    acme, product = factories.a_customer("Acme"), factories.a_product("Tiles")
    factories.a_customer("Globex")
    maps, _ = (
        factories.a_subscription(acme, external_key=each, product=product)
        for each in ("maps", "routes")
    )
    factories.a_credential(acme, "the-key-of-orders", name="Orders", subscriptions=[maps])
    old = factories.a_credential(acme, "the-key-of-old", name="Old")
    credentials.revoke_credential(credential=old, reason="Leaked", by=None)
    factories.a_subscriber(email="ada@example.com")
    factories.a_subscriber(acme, email="bo@example.com")
    factories.a_gateway("edge")
    Source.objects.create(external_key="north", name="North")


@pytest.fixture
def clerk():
    user = factories.a_user("clerk@example.com", is_staff=True)
    may(user, *ALL_RIGHTS)
    return user


def may(user, *codenames):
    known = Permission.objects.filter(codename__in=codenames, content_type__app_label="revcred")
    assert known.count() == len(codenames)
    user.user_permissions.set(known)


def fresh(user):
    return User.objects.get(pk=user.pk)


def everything():
    return {
        each._meta.label: sorted(map(str, each._base_manager.values_list())) for each in WRITTEN
    }


def test_every_effect_of_every_kind_has_a_scenario():
    told = {(kind, effect) for kind, effects in REQUIRED_RIGHTS.items() for effect in effects}
    assert {(each.kind, each.effect) for each in SCENARIOS} == told
    assert {*REQUIRED_RIGHTS} == {*ListKind}


@pytest.mark.parametrize("scenario", sampled(SCENARIOS, every=5), ids=lambda each: each.name)
def test_without_a_right_that_it_takes_nothing_of_a_list_happens(scenario, uploaded, clerk):
    """At the click, and also if the right goes only before a worker writes."""
    needed = {"apply_upload", *scenario.rights}
    before = everything()

    def brought():
        upload = uploaded(scenario.text, kind=scenario.kind, **scenario.choices)
        assert upload.preview["effects"].get(scenario.effect), upload.preview
        assert upload.preview["counts"]["rejected"] == 0
        return upload

    upload = brought()
    for each in needed:
        may(clerk, *({*ALL_RIGHTS} - {each}))
        with pytest.raises(actions.NotAllowed, match=re.escape(rights.right_in_words(each))):
            actions.apply_upload(upload=upload, by=fresh(clerk), all_or_nothing=False)
        upload.refresh_from_db()
        assert upload.state == Upload.State.READY
        assert everything() == before
    for each in needed:
        late = brought()
        may(clerk, *ALL_RIGHTS)
        actions.apply_upload(upload=late, by=fresh(clerk), all_or_nothing=False)
        may(clerk, *({*ALL_RIGHTS} - {each}))
        worked(late)
        assert late.state == Upload.State.FAILED
        assert rights.right_in_words(each) in late.error
        assert "clerk@example.com" in late.error
        assert everything() == before
        assert not UploadChange.objects.exists()


@pytest.mark.parametrize("scenario", sampled(SCENARIOS, every=5), ids=lambda each: each.name)
def test_with_the_rights_that_it_takes_and_no_other_a_list_is_applied(scenario, applied, clerk):
    """So the table asks for no right too many. Taking it back takes each of them again."""
    needed = {"apply_upload", *scenario.rights}
    may(clerk, *needed)
    upload = applied(scenario.text, kind=scenario.kind, applier=fresh(clerk), **scenario.choices)
    assert (upload.state, upload.error) == (Upload.State.APPLIED, "")
    assert scenario.has_happened()

    process_waiting_deliveries()
    done = everything()
    for each in needed:
        may(clerk, *(needed - {each}))
        with pytest.raises(actions.NotAllowed, match=re.escape(rights.right_in_words(each))):
            actions.undo_upload(upload=upload, by=fresh(clerk))
        may(clerk, *needed)
        actions.undo_upload(upload=upload, by=fresh(clerk))
        may(clerk, *(needed - {each}))
        worked(upload)
        assert upload.state == Upload.State.FAILED
        assert rights.right_in_words(each) in upload.error
        assert everything() == done
    may(clerk, *needed)
    actions.undo_upload(upload=upload, by=fresh(clerk))
    worked(upload)
    assert (upload.state, upload.error) == (Upload.State.UNDONE, "")
    assert not scenario.has_happened()


@pytest.mark.parametrize("loss", ["deleted", "inactive", "no staff"])
def test_who_is_no_staff_any_more_applies_nothing(uploaded, clerk, loss):
    upload = uploaded(SCENARIOS[0].text)
    before = everything()
    actions.apply_upload(upload=upload, by=fresh(clerk), all_or_nothing=True)
    if loss == "deleted":
        clerk.delete()
    else:
        field = "is_active" if loss == "inactive" else "is_staff"
        User.objects.filter(pk=clerk.pk).update(**{field: False})
    worked(upload)

    assert upload.state == Upload.State.FAILED
    assert not Credential.objects.filter(name="Bills").exists()
    kept = {"revcred.Credential", "revcred.ExternalKey", "revcred.Membership"}
    now = everything()
    assert {each: now[each] for each in kept} == {each: before[each] for each in kept}


def test_rights_that_go_in_the_middle_stop_a_list_there(uploaded, clerk, monkeypatch):
    """All or nothing is taken back by itself, by nobody's rights."""
    monkeypatch.setattr(applying, "MIN_ROWS_PER_CHUNK", 1)
    monkeypatch.setattr(applying, "MAX_ROWS_PER_CHUNK", 1)
    text = rows("customer,name,key", *(f"acme,Bills {n},key-of-bills-{n}" for n in range(3)))

    def lose(upload):
        if upload.state == Upload.State.APPLYING:
            may(clerk, "apply_upload")

    for whole, left in ((False, 1), (True, 0)):
        may(clerk, *ALL_RIGHTS)
        upload = uploaded(text)
        actions.apply_upload(upload=upload, by=fresh(clerk), all_or_nothing=whole)
        process_waiting_uploads(on_progress=lose)
        upload.refresh_from_db()
        assert upload.state == Upload.State.FAILED
        assert "Issue credentials" in upload.error
        assert Credential.objects.filter(name__startswith="Bills").count() == left
        Credential.objects.filter(name__startswith="Bills").delete()


@pytest.mark.parametrize("kind", ListKind)
def test_a_list_touches_no_login(applied, kind):
    """An address in a list is a subscriber's. No login gets another, and none is linked."""
    boss = factories.a_user("boss@example.com", is_staff=True, is_superuser=True)
    text = {
        ListKind.CREDENTIALS: "customer,name,key,holders\n"
        "acme,Bills,key-of-bills,new@example.com|ada@example.com\n"
        "acme,Bosses,key-of-bosses,boss@example.com\n",
        ListKind.CUSTOMERS: "external_key,name,email_domains\nacme,Acme,example.com\n",
        ListKind.SUBSCRIBERS: "email,name,external_key,customer,role\n"
        "boss@example.com,Boss,u-1,acme,owner\nada@example.com,Ada,u-2,acme,owner\n"
        "other@example.com,Ada,u-3,acme,owner\n",
        ListKind.SUBSCRIPTIONS: "external_key,customer,product\nnew,acme,tiles\n",
        ListKind.PRODUCTS: "external_key,name,sources\nnew,boss@example.com,north\n",
        ListKind.SOURCES: "external_key,name,path\nnew,boss@example.com,/new\n",
        ListKind.GATEWAYS: "name,kind\nboss@example.com,kong\n",
        ListKind.USAGE: "transaction_id,occurred_at,gateway,key\n"
        f"one,{timezone.now().isoformat()},edge,boss@example.com\n",
    }[kind]
    factories.an_admin()

    def logins():
        return (
            [*User.objects.order_by("pk").values()],
            [*EmailAddress.objects.order_by("pk").values()],
            [*Subscriber.objects.exclude(user=None).order_by("pk").values_list("email", "user")],
        )

    before = logins()
    applied(text, kind=kind, subscribers="create", people_of_others="join")

    assert logins() == before
    assert not Subscriber.objects.filter(user=boss).exists()


@pytest.mark.parametrize("scenario", sampled(SCENARIOS, every=5), ids=lambda each: each.name)
def test_the_importer_may_do_with_lists_what_the_role_says(scenario, uploaded):
    """Everything a list does, but for owners, other roles, and what is sold and measured."""
    importer = factories.a_user("importer@example.com", is_staff=True)
    roles.sync_roles()
    importer.groups.add(Group.objects.get(name="Importer"))
    upload = uploaded(scenario.text, kind=scenario.kind, **scenario.choices)
    missing = rights.missing_rights_to_apply(upload, fresh(importer))
    others = {RowEffect.JOIN_AS_OWNER, RowEffect.CHANGE_ROLE, RowEffect.ADD_PRODUCT}
    expected = others & {scenario.effect}
    own_rights = {ListKind.PRODUCTS, ListKind.SOURCES, ListKind.GATEWAYS, ListKind.USAGE}
    if scenario.kind in own_rights:
        expected = {name for name, count in upload.preview["effects"].items() if count}
    assert {each.effect for each in missing} == expected


def test_a_list_that_was_checked_before_rights_were_counted_is_not_applied(uploaded, clerk):
    upload = uploaded(SCENARIOS[0].text)
    actions.apply_upload(upload=upload, by=fresh(clerk), all_or_nothing=False)
    upload.preview.pop("effects")
    Upload.objects.filter(pk=upload.pk).update(preview=upload.preview)
    worked(upload)
    assert upload.state == Upload.State.FAILED
    assert "earlier version" in upload.error
    assert not UploadChange.objects.exists()


@pytest.mark.parametrize("scenario", sampled(SCENARIOS, every=5), ids=lambda each: each.name)
def test_what_was_applied_before_rights_were_counted_takes_them_to_be_undone(
    scenario, applied, clerk
):
    """By the kinds of things it changed, since the rows' effects are not known any more."""
    upload = applied(scenario.text, kind=scenario.kind, **scenario.choices)
    upload.preview.pop("effects")
    upload.save()
    may(clerk, "apply_upload")
    with pytest.raises(actions.NotAllowed):
        actions.undo_upload(upload=upload, by=fresh(clerk))
    may(clerk, *ALL_RIGHTS)
    actions.undo_upload(upload=upload, by=fresh(clerk))
