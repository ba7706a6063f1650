"""Roles are as their table has them, after every migrate."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth import get_permission_codename
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import connection
from django.urls import reverse

from revcred import roles
from revcred.admin_toolkit.action_pages import ActionPagesMixin
from tests import factories

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).parents[2]
migration = import_module("revcred.migrations.0021_roles_and_second_factor")


@pytest.fixture(autouse=True)
def _as_migrate_leaves_them(db):
    roles.sync_roles()  # tests that commit leave no row behind


def rights_of(group):
    return {roles.right_name(each) for each in group.permissions.select_related("content_type")}


@pytest.mark.parametrize("role", roles.READY_MADE_ROLES, ids=lambda role: role.name)
def test_a_role_is_a_group_with_its_rights(role):
    assert rights_of(Group.objects.get(name=role.name)) == role.rights


def test_migrate_sets_right_what_was_changed_and_leaves_other_groups_alone(settings):
    # Another role would have a connection of its own, outside of the test's transaction.
    settings.MIGRATION_DATABASE = connection.settings_dict
    support = Group.objects.get(name="Support")
    support.permissions.set(Permission.objects.filter(codename="add_user"))
    Group.objects.filter(name="Auditor").delete()
    own = Group.objects.create(name="Night shift")
    own.permissions.set(Permission.objects.filter(codename="add_user"))

    call_command("migrate", verbosity=0)

    assert rights_of(support) == roles.ROLES_BY_NAME["Support"].rights
    assert rights_of(Group.objects.get(name="Auditor")) == roles.ROLES_BY_NAME["Auditor"].rights
    assert rights_of(own) == {"revcred.add_user"}


def test_a_group_that_had_a_roles_name_keeps_its_people_under_another():
    group = Group.objects.get(name="Support")
    person = factories.a_user(is_staff=True)
    group.user_set.add(person)

    with connection.schema_editor() as editor:
        migration.make_room_for_roles(apps, editor)

    assert [each.name for each in person.groups.all()] == ["Support (own)"]


def test_whoever_could_invite_still_can():
    change = Permission.objects.get(codename="change_subscriber")
    person, group = factories.a_user(), Group.objects.create(name="Night shift")
    person.user_permissions.add(change)
    group.permissions.add(change)

    with connection.schema_editor() as editor:
        migration.let_those_invite_who_could(apps, editor)

    invite = "revcred.invite_subscriber"
    assert invite in {roles.right_name(each) for each in person.user_permissions.all()}
    assert invite in rights_of(group)


def test_the_migration_names_the_roles_there_are():
    assert set(roles.ROLES_BY_NAME) <= set(migration.ROLES)


def test_the_auditor_changes_nothing_and_support_no_address_role_or_key():
    auditor = roles.ROLES_BY_NAME["Auditor"].rights
    assert {right.partition(".")[2].partition("_")[0] for right in auditor} == {"view"}
    support = roles.ROLES_BY_NAME["Support"].rights
    others = {right for right in support if "view_" not in right}
    assert others == {"revcred.invite_subscriber", "revcred.look_as_subscriber"}


def test_every_page_that_can_be_seen_is_seen_by_the_auditor():
    seen = {
        f"{model._meta.app_label}.view_{model._meta.model_name}" for model in admin.site._registry
    }

    assert seen <= roles.ROLES_BY_NAME["Auditor"].rights


# --- How they are offered -------------------------------------------------------------------------


@pytest.fixture
def person():
    return factories.a_user(is_staff=True)


def test_the_form_offers_roles_with_their_sentence_and_rights_in_words(admin_client, person):
    Group.objects.create(name="Night shift")

    page = admin_client.get(reverse("admin:revcred_user_change", args=[person.pk]))

    text = page.content.decode()
    for role in roles.READY_MADE_ROLES:
        assert f"<strong>{role.name}</strong>" in text
        assert str(role.explanation) in text
    assert "Night shift" in text
    for word in ("Can add", "content type", "email confirmation", "crontab"):
        assert word not in text
    form = page.context["adminform"].form
    choices = form.fields["user_permissions"].choices
    assert [area for area, _ in choices] == list(roles.RIGHTS_BY_AREA)
    assert sum(len(list(of_area)) for _, of_area in choices) == len(roles.RIGHT_LABELS)


def test_a_role_is_read_only_and_its_name_is_taken(admin_client):
    group = Group.objects.get(name="Support")
    url = reverse("admin:auth_group_change", args=[group.pk])

    page = admin_client.get(url).content.decode()
    answer = admin_client.post(url, {"name": "Renamed", "permissions": []})
    delete = admin_client.post(reverse("admin:auth_group_delete", args=[group.pk]), {"post": "yes"})
    taken = admin_client.post(reverse("admin:auth_group_add"), {"name": "Support"})

    assert str(roles.ROLES_BY_NAME["Support"].explanation) in page
    assert "See customers; " in page
    assert (answer.status_code, delete.status_code) == (403, 403)
    assert "A role has this name" in taken.content.decode()
    assert Group.objects.get(name="Support") == group


def test_a_group_of_ones_own_may_have_any_single_right(admin_client):
    wanted = list(roles.offered_permissions().values_list("pk", flat=True))

    admin_client.post(
        reverse("admin:auth_group_add"), {"name": "Night shift", "permissions": wanted}
    )

    assert rights_of(Group.objects.get(name="Night shift")) == set(roles.RIGHT_LABELS)


def test_rights_that_mean_nothing_here_are_not_given(admin_client):
    other = Permission.objects.get(codename="add_contenttype")

    answer = admin_client.post(
        reverse("admin:auth_group_add"), {"name": "Night shift", "permissions": [other.pk]}
    )

    assert "is not one of the available choices" in answer.content.decode()


# --- No right is left out -------------------------------------------------------------------------


def test_every_right_that_code_names_is_offered():
    named = {
        right
        for package in ("revcred", "metering", "storefront")
        for path in (ROOT / package).rglob("*.py")
        if path.parent.name != "migrations"
        for right in re.findall(r"\b((?:revcred|metering|auth)\.[a-z]+_[a-z]+)\"", path.read_text())
        if right.partition(".")[2].startswith(("add_", "change_", "delete_", "view_", "apply_"))
    }

    assert named - set(roles.RIGHT_LABELS) == set()


def test_every_action_asks_for_a_right_that_is_offered():
    asked = {
        f"{model._meta.app_label}.{get_permission_codename(form.permission, model._meta)}"
        for model, its_admin in admin.site._registry.items()
        for form in getattr(its_admin, "action_forms", {}).values()
        if type(its_admin).may_perform is ActionPagesMixin.may_perform
    }

    assert asked
    assert asked - set(roles.RIGHT_LABELS) == set()
