"""Filters of lists: fields of a form, parameters of an address that holds no key."""

from datetime import UTC, datetime

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db.models import BooleanField, Func, Value
from django.urls import reverse

from revcred.admin_toolkit import filters
from revcred.admin_toolkit.filters import (
    ChoiceFilter,
    FieldFilter,
    LinkedFilter,
    MomentFilter,
    TagFilter,
    parse_moment_in_address,
)
from tests.factories import a_credential, a_customer
from tests.lengths import mostly_long

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a-key-that-somebody-types-1"
OURS = ("revcred", "metering", "auth")
CUSTOMERS = reverse("admin:revcred_customer_changelist")
HOSTILE = ("\0", "9" * 30, "x", "0", "-1", "2026-02-31", "2026-01-01T99:99", "a'\"%;--")


def lists_with_filters():
    for model, its_admin in admin.site._registry.items():
        if model._meta.app_label in OURS:
            yield model, its_admin


def test_every_list_but_the_smallest_has_filters_and_only_of_this_kind():
    without = [model.__name__ for model, page in lists_with_filters() if not page.list_filter]

    # One row, and a handful of rows.
    assert without == ["Appearance", "Group"]
    for _, page in lists_with_filters():
        assert all(issubclass(each, FieldFilter) for each in page.list_filter), page
        names = [each.parameter_name for each in page.list_filter]
        assert len(set(names)) == len(names), page


@pytest.mark.parametrize("text", mostly_long(HOSTILE, quick=2))
def test_no_value_of_an_address_makes_a_list_fail(admin_client, text):
    for model, page in lists_with_filters():
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for each in page.list_filter:
            response = admin_client.get(address, {each.parameter_name: text}, follow=True)
            assert response.status_code == 200, (address, each, text)


@pytest.mark.parametrize("last", [1, pytest.param(None, marks=pytest.mark.long)])
def test_every_choice_and_period_can_be_asked_for(admin_client, rf, admin_user, last):
    """In `make test` the last choice of each filter."""
    request = rf.get("/")
    request.user = admin_user
    asked = 0
    for model, page in lists_with_filters():
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for each in page.list_filter:
            values = ["1"] if issubclass(each, LinkedFilter) else []
            if issubclass(each, ChoiceFilter):
                choices = each(request, {}, model, page).lookup_choices
                values = [str(value) for value, _ in choices]
            elif issubclass(each, MomentFilter):
                values = ["2026-01-01", "2026-01-01 12:30"]
            for value in values[-last:] if last else values:
                response = admin_client.get(address, {each.parameter_name: value}, follow=True)
                assert response.status_code == 200, (address, each, value)
                asked += 1
    assert asked > (80 if last else 150)


def test_what_narrows_a_list_is_said_in_words_and_can_be_taken_away(admin_client):
    a_customer("Acme", tags=["partner"])
    a_customer("Other")

    page = admin_client.get(CUSTOMERS, {"tag": "partner", "created_since": "2020-01-01"})

    assert [each.name for each in page.context["cl"].result_list] == ["Acme"]
    chosen = page.context["cl"].chosen_filters
    assert [(each.title, each.words) for each in chosen] == [
        ("tag", "partner"),
        ("created since", "2020-01-01"),
    ]
    assert chosen[0].url_without == "?created_since=2020-01-01"
    assert "Remove the filter “tag”" in page.content.decode()


def test_a_filter_that_means_nothing_shows_no_rows_and_says_so(admin_client):
    a_customer("Acme")

    page = admin_client.get(CUSTOMERS, {"created_since": "yesterday"})

    assert list(page.context["cl"].result_list) == []
    assert "“yesterday”, which is no day such as 2026-11-30" in page.content.decode()


def test_filters_are_posted_and_become_an_address_without_what_is_empty(admin_client):
    search = reverse("admin:revcred_credential_search")
    typed = {"state": "active", "tag": "", "environment": "staging", "columns": ["name", "tags"]}

    response = admin_client.post(search, typed)

    address = reverse("admin:revcred_credential_changelist")
    assert response.url == f"{address}?state=active&environment=staging&columns=name&columns=tags"


def test_a_key_typed_into_a_filter_gets_into_no_address(admin_client):
    a_credential(key=KEY)

    for text in (KEY, f"Authorization: Bearer {KEY}"):
        response = admin_client.post(
            reverse("admin:revcred_credential_search"), {"environment": text, "tag": "eu"}
        )
        assert KEY not in response.url
        assert response.url.endswith("?tag=eu")


def test_what_may_be_a_key_that_nobody_knows_gets_into_no_address(admin_client):
    a_credential(tags=["production-eu-west-1-partner"])
    search = reverse("admin:revcred_credential_search")

    for text in (
        *("sk_live_5f2b8c1e9d0000", "production-eu-west-1-unknown"),
        "Acme's sk_live_5f2b8c1e9d0000",
    ):
        response = admin_client.post(search, {"tag": text, "state": "active"})
        assert response.url.endswith("?state=active")
    # That of a row is none.
    response = admin_client.post(search, {"tag": "production-eu-west-1-partner"})
    assert response.url.endswith("?tag=production-eu-west-1-partner")


@pytest.mark.parametrize("typed", ["sk_live_5f2b8c1e9d0000", "k3y", "yesterday"])
def test_what_is_no_moment_gets_into_no_address(admin_client, typed):
    search = reverse("admin:revcred_credential_search")

    response = admin_client.post(search, {"unused_since": typed, "state": "active"}, follow=True)

    assert response.redirect_chain[-1][0].endswith("/credential/?state=active")
    page = response.content.decode()
    assert "“Unused since” takes a day such as 2026-11-30" in page
    assert typed not in page


def test_a_filter_that_takes_too_long_finds_nothing(admin_client, monkeypatch):
    monkeypatch.setattr(filters, "MAX_LOOK_MILLISECONDS", 1)
    sleeping = Func(
        Value(1), template="(pg_sleep(%(expressions)s) IS NULL)", output_field=BooleanField()
    )
    monkeypatch.setattr(TagFilter, "narrow", lambda _filter, rows, _text: rows.filter(sleeping))
    a_credential()

    response = admin_client.post(
        reverse("admin:revcred_credential_search"), {"tag": "a-tag-of-one-piece-1"}
    )
    assert response.url == reverse("admin:revcred_credential_changelist")


def test_a_picker_is_offered_only_to_those_who_may_see_what_it_picks(
    client, django_user_model, admin_client
):
    auditor = django_user_model.objects.create_user(
        "auditor@example.com", "a-password-of-length", is_staff=True
    )
    auditor.user_permissions.set(Permission.objects.filter(codename="view_membership"))
    client.force_login(auditor)
    address = reverse("admin:revcred_membership_changelist")

    assert set(client.get(address).context["cl"].filter_form.fields) == {"role"}
    assert {"role", "customer", "subscriber"} == set(
        admin_client.get(address).context["cl"].filter_form.fields
    )


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-30", datetime(2026, 11, 30, tzinfo=UTC)),
        ("2026-11-30 14:05", datetime(2026, 11, 30, 14, 5, tzinfo=UTC)),
        ("2026-11-30 14:05 UTC", datetime(2026, 11, 30, 14, 5, tzinfo=UTC)),
        ("2026-11-30T14:05:06+02:00", datetime(2026, 11, 30, 12, 5, 6, tzinfo=UTC)),
        ("30.11.2026", None),
        ("2026-02-31", None),
        ("", None),
        (None, None),
    ],
)
def test_moments_are_days_or_moments_in_utc(text, moment):
    assert parse_moment_in_address(text) == moment


# --- Filters without an index ---------------------------------------------------------------------


def test_a_list_looks_at_some_rows_where_no_index_serves_its_filter(admin_client, monkeypatch):
    monkeypatch.setattr(filters, "MAX_ROWS_LOOKED_AT", 2)
    customer = a_customer()
    old, middle, new = (a_credential(customer) for _ in range(3))
    url = reverse("admin:revcred_credential_changelist")

    def shown(query):
        changelist = admin_client.get(f"{url}?{query}").context["cl"]
        return [row.pk for row in changelist.result_list], changelist

    found, changelist = shown("never_used=yes")
    seen = changelist.looked_at
    assert (found, seen.rows, seen.are_newest) == ([new.pk, middle.pk], 2, True)
    found, changelist = shown(seen.url_of_older.removeprefix("?"))
    seen = changelist.looked_at
    assert (found, seen.rows, seen.url_of_older) == ([old.pk], 1, "")

    # Beside a filter with an index, and for a file, all rows are looked at.
    assert len(shown(f"never_used=yes&customer={customer.pk}")[0]) == 3
    file = admin_client.post(f"{url}export/", {"format": "csv", "never_used": "yes"})
    assert len(b"".join(file).splitlines()) == 4
    for nonsense in ("", "x", "9" * 30):
        assert shown(f"never_used=yes&older_than={nonsense}")[0] == [new.pk, middle.pk]


def test_every_parameter_that_is_said_to_have_an_index_or_none_is_a_filter():
    for _, page in lists_with_filters():
        names = {each.parameter_name for each in page.list_filter}
        assert page.unindexed_parameters | page.indexed_parameters <= names, page
