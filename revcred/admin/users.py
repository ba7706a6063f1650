from collections.abc import Mapping
from typing import Any, ClassVar

from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest

from revcred import roles
from revcred.actions import second_factors
from revcred.admin import generic
from revcred.admin.acts import ActForm, WithActs
from revcred.admin.lists import starting_with
from revcred.admin.recorded import Recorded
from revcred.admin.rights import OWN_GROUP, OffersRights
from revcred.models import User


class NewUserForm(generic.NewUserForm):
    class Meta:
        model = User
        fields = ("email", "name", "is_staff")

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()


class UserForm(generic.UserForm):
    class Meta:
        model = User
        fields = "__all__"


class ResetSecondFactorForm(ActForm):
    title = "Reset the second factor"
    button = "Reset"
    grave = True
    explanation = (
        "For somebody whose phone or passkey is lost, and who has no recovery code. Make sure that"
        " you speak with that person. Apps, passkeys and recovery codes are removed, the person is"
        " signed out everywhere, told by mail, and sets up a new second factor at the next sign-in."
    )
    refusals: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        second_factors.NotBelow: (
            None,
            "Only a superuser may do this, and not to a superuser.",
        ),
        second_factors.NoFactor: (None, "This person has no second factor: nothing was reset."),
    }

    reason = forms.CharField(
        max_length=200, help_text="How you know who asked. It is on record, and in the mail."
    )

    def act(self, by: User) -> str:
        second_factors.reset(user=self.target, by=by, reason=self.cleaned_data["reason"])
        return f"The second factor of {self.target} was reset."


@admin.register(User)
class UserAdmin(OffersRights, WithActs, generic.UserAdmin):
    form = UserForm
    add_form = NewUserForm
    list_display = ("email", "name", "is_staff", "is_superuser", "is_active", "last_login")
    list_filter = ("is_staff", "is_active")
    search_fields = ("email", "name")
    search_help_text = "The beginning of an e-mail address."
    ordering = ("email",)
    readonly_fields = ("second_factor", "last_login", "date_joined")
    change_form_template = "admin/revcred/user/change_form.html"
    acts: ClassVar[Mapping[str, type[ActForm]]] = {"reset-second-factor": ResetSecondFactorForm}
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("email", "name", "password", "second_factor")}),
        ("May", {"fields": ("is_active", "is_staff", "is_superuser", "groups")}),
        ("Single rights", {"classes": ("collapse",), "fields": ("user_permissions",)}),
        ("When", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets: Any = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": (
                    "email",
                    "name",
                    "is_staff",
                    "usable_password",
                    "password1",
                    "password2",
                ),
            },
        ),
    )

    @admin.display(description="second factor")
    def second_factor(self, user: User) -> str:
        types = Authenticator.objects.filter(user=user).values_list("type", flat=True)
        return ", ".join(sorted({second_factors.NAMES[each] for each in types})) or "none"

    def may(self, request: HttpRequest, form_class: type[ActForm]) -> bool:
        """Only superusers reset a second factor."""
        return bool(request.user.is_superuser)

    def ways_to_find(self, term: str) -> list[QuerySet[Any]]:
        return [starting_with(User.objects.all(), "email", term).values("pk")]


class GroupForm(generic.ModelForm):
    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if name in roles.BY_NAME:
            message = "A role has this name. Choose another for a group of your own."
            raise forms.ValidationError(message)
        return name


admin.site.unregister(Group)  # as Django registers it


@admin.register(Group)
class GroupAdmin(OffersRights, Recorded, generic.GroupAdmin):
    """Roles are kept as their table has them; other groups are for those who may change them."""

    form = GroupForm
    list_display = ("name", "explanation")
    fields = ("name", "permissions")
    search_help_text = "The beginning of a name."

    @admin.display(description="what it is for")
    def explanation(self, group: Group) -> str:
        role = roles.BY_NAME.get(group.name)
        return role.explanation if role else OWN_GROUP

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return not _is_role(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return not _is_role(obj) and super().has_delete_permission(request, obj)

    def get_fields(self, request: HttpRequest, obj: Group | None = None) -> Any:
        return ("name", "explanation", "permissions") if _is_role(obj) else self.fields

    def ways_to_find(self, term: str) -> list[QuerySet[Any]]:
        return [Group.objects.filter(name__istartswith=term).values("pk")]


def _is_role(group: Group | None) -> bool:
    return group is not None and group.name in roles.BY_NAME
