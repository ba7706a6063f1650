from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import QuerySet

from revcred.admin import generic
from revcred.admin.lists import starting_with
from revcred.admin.recorded import Recorded
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


@admin.register(User)
class UserAdmin(Recorded, generic.UserAdmin):
    form = UserForm
    add_form = NewUserForm
    list_display = ("email", "name", "is_staff", "is_superuser", "is_active", "last_login")
    list_filter = ("is_staff", "is_active")
    search_fields = ("email", "name")
    search_help_text = "The beginning of an e-mail address."
    ordering = ("email",)
    readonly_fields = ("last_login", "date_joined")
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("email", "name", "password")}),
        (
            "May",
            {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")},
        ),
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

    def ways_to_find(self, term: str) -> list[QuerySet[Any]]:
        return [starting_with(User.objects.all(), "email", term).values("pk")]


admin.site.unregister(Group)  # as Django registers it


@admin.register(Group)
class GroupAdmin(Recorded, generic.GroupAdmin):
    search_help_text = "The beginning of a name."

    def ways_to_find(self, term: str) -> list[QuerySet[Any]]:
        return [Group.objects.filter(name__istartswith=term).values("pk")]
