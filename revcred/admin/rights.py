"""Form fields for roles and single rights, in words and only those that revcred asks for."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from revcred import roles
from revcred.admin_toolkit.generic import ModelAdmin, ModelChoiceIterator, ModelMultipleChoiceField
from revcred.models import User
from revcred.texts import gettext_lazy

OWN_GROUP_EXPLANATION = gettext_lazy("A group of this installation's own.")


class RolesIterator(ModelChoiceIterator):
    """Lists the roles in the order of their table, then other groups by name."""

    def __iter__(self) -> Iterator[Any]:
        # Groups that are no role get a place behind all roles.
        places = {role.name: place for place, role in enumerate(roles.READY_MADE_ROLES)}
        groups = list(self.queryset)
        for group in sorted(groups, key=lambda each: (places.get(each.name, 99), each.name)):
            yield self.choice(group)


class RolesField(ModelMultipleChoiceField):
    """Choice of roles, each with its explanation."""

    iterator = RolesIterator

    def __init__(self) -> None:
        super().__init__(
            Group.objects.all(),
            label=gettext("Roles"),
            required=False,
            widget=forms.CheckboxSelectMultiple,
            help_text=gettext("Several may be chosen: a person may do what any of them allows."),
        )

    def label_from_instance(self, obj: Any) -> SafeString:
        role = roles.ROLES_BY_NAME.get(obj.name)
        explanation = role.explanation if role else OWN_GROUP_EXPLANATION
        return format_html('<strong>{}</strong> <span class="help">{}</span>', obj, explanation)


class RightsIterator(ModelChoiceIterator):
    """Lists the permissions by area, in the order of their table."""

    def __iter__(self) -> Iterator[Any]:
        permissions = {roles.right_name(row): row for row in self.queryset}
        for area, words in roles.RIGHTS_BY_AREA.items():
            yield (
                gettext(area),
                [self.choice(permissions[right]) for right in words if right in permissions],
            )


class RightsField(ModelMultipleChoiceField):
    """Choice of single rights, in words."""

    iterator = RightsIterator

    def __init__(self, label: str) -> None:
        super().__init__(
            roles.offered_permissions(),
            label=label,
            required=False,
            widget=forms.CheckboxSelectMultiple,
        )

    def label_from_instance(self, obj: Any) -> str:
        return roles.RIGHT_LABELS[roles.right_name(obj)]


def rights_in_words(permissions: QuerySet[Permission]) -> str:
    """Return what these permissions allow, without those that have no meaning here."""
    given = {
        roles.right_name(permission) for permission in permissions.select_related("content_type")
    }
    return "; ".join(
        str(words) for right, words in roles.RIGHT_LABELS.items() if right in given
    ) or gettext("none")


class RightsChoiceMixin(ModelAdmin):
    """Offers groups and permissions to those who may give them, and shows them to others."""

    # Field of the model, and the read-only field that stands for it.
    in_words: ClassVar[Mapping[str, str]] = {
        "groups": "its_roles",
        "user_permissions": "its_single_rights",
        "permissions": "its_rights",
    }

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        """Drop Django's button to add another group: groups have a page of their own."""
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name in self.in_words and field is not None:
            # Django wraps the widget to add the button; take the inner one.
            field.widget = getattr(field.widget, "widget", field.widget)
        return field

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        # Rights are chosen as check boxes in words, not in Django's two lists of codenames.
        if db_field.name == "groups":
            return RolesField()
        if db_field.name in ("permissions", "user_permissions"):
            return RightsField("")
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show rights as sentences where they cannot be chosen."""
        if obj is None or self.has_change_permission(request, obj):
            closed = set(self.get_readonly_fields(request, obj))
        else:
            closed = set(self.in_words.values())
        return [
            (title, options | {"fields": [self._shown(each, closed) for each in options["fields"]]})
            for title, options in super().get_fieldsets(request, obj)
        ]

    def _shown(self, name: Any, closed: set[Any]) -> Any:
        return words if (words := self.in_words.get(name)) in closed else name

    def closed(self, fields: Iterable[Any]) -> tuple[Any, ...]:
        """Return the fields, those of rights replaced by their sentences."""
        return tuple(self.in_words.get(field, field) for field in fields)

    @admin.display(description=gettext_lazy("roles"))
    def its_roles(self, user: User) -> str:
        return ", ".join(group.name for group in user.groups.all()) or gettext("none")

    @admin.display(description=gettext_lazy("single rights"))
    def its_single_rights(self, user: User) -> str:
        return rights_in_words(user.user_permissions.all())

    @admin.display(description=gettext_lazy("rights"))
    def its_rights(self, group: Group) -> str:
        return rights_in_words(group.permissions.all())
