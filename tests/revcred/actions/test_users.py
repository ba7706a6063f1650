"""Nobody touches an equal or somebody above. All pairs of ranks, and each field and action."""

from itertools import product

import pytest
from django.contrib.auth.models import Group, Permission
from django.utils.translation import override

from revcred.actions import users
from revcred.actions.users import AddressOfSubscriber, LoginRank, LoginRankTooHigh
from revcred.models import AuditEvent, User
from tests import factories

pytestmark = pytest.mark.django_db

MAKERS = {
    LoginRank.SUBSCRIBER: lambda: factories.a_subscriber().user,
    LoginRank.STAFF: lambda: factories.a_user(is_staff=True),
    LoginRank.MANAGER: lambda: with_right(factories.a_user(is_staff=True)),
    LoginRank.SUPERUSER: lambda: factories.a_user(is_staff=True, is_superuser=True),
}
PAIRS = [*product(LoginRank, LoginRank)]

VALUES = {
    "name": "Another",
    "is_active": False,
    "is_staff": True,
    "is_superuser": True,
    "groups": lambda: Group.objects.filter(name="Everything"),
    "user_permissions": lambda: Permission.objects.filter(codename="view_user"),
}

# What each rank may set of each other's login. Of an equal or somebody above: nothing.
TABLE = {
    (LoginRank.MANAGER, LoginRank.SUBSCRIBER): {"name", "is_active", "email"},
    (LoginRank.MANAGER, LoginRank.STAFF): {"name", "is_active"},
    (LoginRank.STAFF, LoginRank.SUBSCRIBER): {"name", "is_active", "email"},
    (LoginRank.SUPERUSER, LoginRank.SUBSCRIBER): users.ALL_LOGIN_FIELDS,
    (LoginRank.SUPERUSER, LoginRank.STAFF): users.ALL_LOGIN_FIELDS,
    (LoginRank.SUPERUSER, LoginRank.MANAGER): users.ALL_LOGIN_FIELDS,
}


def with_right(user, codename="change_user"):
    user.user_permissions.add(Permission.objects.get(codename=codename))
    return user


@pytest.fixture
def request_(rf):
    return rf.get("/admin/")


@pytest.fixture(autouse=True)
def _group(db):
    Group.objects.create(name="Everything").permissions.set(Permission.objects.all())


def state_of(user):
    user = User.objects.get(pk=user.pk)
    return (
        {each.attname: getattr(user, each.attname) for each in user._meta.concrete_fields},
        {*user.groups.all()},
        {*user.user_permissions.all()},
    )


@pytest.mark.parametrize("level", LoginRank)
def test_a_rank_is_told(level):
    assert users.rank_of(user=MAKERS[level]()) == level


@pytest.mark.parametrize("codename", users.USER_MANAGEMENT_RIGHTS)
def test_rights_over_users_count_also_through_a_group(codename):
    staff, group = factories.a_user(is_staff=True), Group.objects.create(name="Managers")
    group.permissions.add(Permission.objects.get(codename=codename))
    staff.groups.add(group)

    assert users.rank_of(user=staff) == LoginRank.MANAGER


@pytest.mark.parametrize("level", LoginRank)
def test_who_is_switched_off_keeps_the_rank(level):
    user = MAKERS[level]()
    User.objects.filter(pk=user.pk).update(is_active=False)

    assert users.rank_of(user=user) == level


@pytest.mark.parametrize(("by", "of"), PAIRS)
def test_who_is_below_whom(by, of):
    assert users.is_ranked_below(user=MAKERS[of](), by=MAKERS[by]()) == (of < by)


@pytest.mark.parametrize(("by", "of"), PAIRS)
def test_the_fields_of_a_login_are_for_those_above(by, of):
    fields = users.editable_login_fields(user=MAKERS[of](), by=MAKERS[by]())

    assert fields == TABLE.get((by, of), set())


@pytest.mark.parametrize("field", VALUES)
@pytest.mark.parametrize(("by", "of"), PAIRS)
def test_a_field_that_is_not_for_one_is_not_written(by, of, field, request_):
    user, actor = MAKERS[of](), MAKERS[by]()
    value = VALUES[field]
    value = value() if callable(value) else value
    before = state_of(user)
    allowed = field in TABLE.get((by, of), set())
    refused = (
        LoginRankTooHigh
        if not allowed
        else AddressOfSubscriber
        if of == LoginRank.SUBSCRIBER and field in users.RIGHTS_LOGIN_FIELDS
        else None
    )

    if refused:
        with pytest.raises(refused):
            users.change_login(user=user, values={field: value}, by=actor, request=request_)
        assert state_of(user) == before
    else:
        users.change_login(user=user, values={field: value}, by=actor, request=request_)
        assert field == "is_staff" or state_of(user) != before


@pytest.mark.parametrize("level", LoginRank)
def test_of_the_own_login_nobody_changes_more_than_name_and_address(level):
    user = MAKERS[level]()

    fields = users.editable_login_fields(user=user, by=user)

    assert fields == ({"name", "email"} if level == LoginRank.SUPERUSER else {"name"})


@pytest.mark.parametrize(("by", "of"), PAIRS)
def test_links_for_staff_are_sent_by_superusers(by, of, request_, sent_mail):
    user, actor = MAKERS[of](), MAKERS[by]()
    may = by > of == LoginRank.SUBSCRIBER or by == LoginRank.SUPERUSER > of

    if may:
        users.send_password_link(user=user, by=actor, request=request_)
    else:
        with pytest.raises(LoginRankTooHigh):
            users.send_password_link(user=user, by=actor, request=request_)

    assert [each.to for each in sent_mail()] == ([[user.email]] if may else [])


@pytest.mark.parametrize(("by", "of"), PAIRS)
def test_who_deletes_whom(by, of):
    deletable = users.is_deletable_login(user=MAKERS[of](), by=MAKERS[by]())

    assert deletable == (by > of != LoginRank.SUBSCRIBER)


@pytest.mark.parametrize(
    ("values", "verb", "details"),
    [
        ({"is_superuser": True}, "made_superuser", {"superuser": "no → yes"}),
        ({"is_staff": False}, "rights_changed", {"staff": "yes → no"}),
        ({"is_active": False}, "deactivated", {}),
        ({"groups": VALUES["groups"]}, "rights_changed", {"groups": "+Everything"}),
        (
            {"user_permissions": VALUES["user_permissions"]},
            "rights_changed",
            {"permissions": "+revcred.view_user"},
        ),
    ],
)
def test_each_right_is_on_record_with_what_it_was(values, verb, details, request_):
    user, boss = MAKERS[LoginRank.STAFF](), MAKERS[LoginRank.SUPERUSER]()
    values = {name: each() if callable(each) else each for name, each in values.items()}

    users.change_login(user=user, values=values, by=boss, request=request_)

    event = AuditEvent.objects.about(user).get()
    shown = {name: value for name, value in event.details.items() if name != "undo"}
    assert event.details["undo"].keys() == values.keys()
    assert (event.verb, shown, event.actor, event.address) == (
        verb,
        details,
        boss.email,
        "127.0.0.1",
    )


def test_made_staff_and_activated_are_on_record(request_):
    user, boss = factories.a_user(is_active=False), MAKERS[LoginRank.SUPERUSER]()

    users.change_login(
        user=user, values={"is_staff": True, "is_active": True}, by=boss, request=request_
    )

    verbs = AuditEvent.objects.about(user).values_list("verb", flat=True)
    assert sorted(verbs) == ["activated", "made_staff"]


def test_staff_is_not_added_with_an_address_of_a_subscriber(request_):
    subscriber = factories.a_subscriber()
    subscriber.user.delete()
    new = User(email=subscriber.email.upper(), is_staff=True)

    with pytest.raises(AddressOfSubscriber):
        users.add_login(user=new, by=MAKERS[LoginRank.SUPERUSER](), request=request_)

    assert not User.objects.filter(email__iexact=subscriber.email).exists()


def test_the_operator_at_the_machine_may():
    assert users.is_ranked_below(user=MAKERS[LoginRank.SUPERUSER](), by=None)


# --- What they say --------------------------------------------------------------------------------


def refusals(of=users.LoginActionError):
    """Yield each error that has a sentence of its own, with all that are kinds of it."""
    for error in of.__subclasses__():
        yield from refusals(error)
        if error.sentence:
            yield error


def test_a_refusal_is_in_the_language_of_the_page_wherever_its_sentence_is_shown():
    english = {error: str(error.sentence) for error in refusals()}

    assert users.AddressOfStaff in english
    with override("de"):
        left = [error for error, sentence in english.items() if str(error.sentence) == sentence]
        assert str(users.AddressOfStaff()) == str(users.AddressOfStaff.sentence)
    assert not left
