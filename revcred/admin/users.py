"""Admin pages of logins and groups. `revcred.actions.users` decides who may see and change what."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.translation import gettext, ngettext

from revcred import roles
from revcred.actions import addresses, second_factors, sessions, users
from revcred.admin.customers import (
    CancelAddressChangeForm,
    LoginErrorMessagesMixin,
    pending_address_in_words,
    tell_confirmation_sent,
)
from revcred.admin.people import PersonPagesMixin
from revcred.admin.rights import OWN_GROUP_EXPLANATION, RightsChoiceMixin
from revcred.admin_toolkit import confirmation, generic
from revcred.admin_toolkit.action_pages import ActionForm
from revcred.admin_toolkit.audited import AuditedModelAdmin
from revcred.admin_toolkit.datetime_field import KeepsMicrosecondsForm
from revcred.admin_toolkit.filters import ChoiceFilter, MomentFilter, YesNoFilter, moment_filter
from revcred.admin_toolkit.lists import rows_starting_with
from revcred.models import Session, Subscriber, User
from revcred.texts import gettext_lazy, grouped, number_of
from revcred.time_zones import moment_text, moment_with_zone


class NewUserForm(generic.ModelForm):
    """A new login has no password: its owner chooses one, by a link that is sent."""

    class Meta:
        model = User
        fields = ("email", "name", "is_staff")

    def clean_email(self) -> str:
        email = str(self.cleaned_data["email"]).lower()
        if not users.may_be_staff(user=None, email=email):
            raise forms.ValidationError(users.AddressOfSubscriber.sentence)
        return email


class UserForm(KeepsMicrosecondsForm):
    """Checks a changed login by the rules of the actions."""

    actor: User

    def clean_email(self) -> str:
        email = str(self.cleaned_data["email"]).lower()
        if "email" in self.changed_data:
            try:
                addresses.check_address_change(user=self.instance, email=email, by=self.actor)
            except users.LoginActionError as error:
                raise forms.ValidationError(str(error)) from error
        return email

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        changed = users.RIGHTS_LOGIN_FIELDS.intersection(self.changed_data)
        gets_rights = any(data.get(name) for name in changed)
        if gets_rights and not users.may_be_staff(user=self.instance, email=self.instance.email):
            raise forms.ValidationError(users.AddressOfSubscriber.sentence)
        return data


class PasswordLinkForm(ActionForm):
    """Asks before a link for a new password is sent."""

    title = gettext_lazy("Send a password link")
    button = gettext_lazy("Send the link")
    explanation = gettext_lazy(
        "Sends this person an e-mail with a link to choose a new password. The present"
        " password works until then. Nobody else can set it."
    )
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        users.LoginRankTooHigh: (None, users.LoginRankTooHigh.sentence),
    }

    def perform(self, by: User) -> str:
        users.send_password_link(user=self.target, by=by, request=self.request)
        return gettext("A link was sent to %(email)s.") % {"email": self.target.email}


class ResetSecondFactorForm(ActionForm):
    """Asks how it is known who asked for the reset."""

    title = gettext_lazy("Reset the second factor")
    button = gettext_lazy("Reset")
    is_destructive = True
    explanation = gettext_lazy(
        "For somebody who lost phone or passkey and has no recovery code. Make sure that"
        " you are talking to that person. Apps, passkeys and recovery codes are removed."
        " The person is signed out everywhere, gets an e-mail, and sets up a new second"
        " factor at next sign-in."
    )
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        users.LoginRankTooHigh: (
            None,
            gettext_lazy("Only a superuser may do this, and not to a superuser."),
        ),
        second_factors.NoSecondFactor: (
            None,
            gettext_lazy("This person has no second factor: nothing was reset."),
        ),
    }

    reason = forms.CharField(
        max_length=200,
        help_text=gettext_lazy("How you know who asked. It is recorded, and part of the e-mail."),
    )

    def perform(self, by: User) -> str:
        second_factors.reset_second_factor(
            user=self.target, by=by, reason=self.cleaned_data["reason"]
        )
        return gettext("The second factor of %(target)s was reset.") % {"target": self.target}


class EndSessionsForm(ActionForm):
    """Asks which sessions of the person end."""

    title = gettext_lazy("End sessions")
    button = gettext_lazy("End the chosen sessions")
    explanation = gettext_lazy(
        "The person has to sign in again in these browsers. Tokens for scripts stay valid."
    )
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        users.LoginRankTooHigh: (None, users.LoginRankTooHigh.sentence),
    }

    sessions = forms.ModelMultipleChoiceField(
        Session.objects.none(), widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["sessions"]
        field.queryset = Session.objects.valid().filter(user=self.target)
        field.label_from_instance = _session_in_words

    def perform(self, by: User) -> str:
        chosen = self.cleaned_data["sessions"]
        for session in chosen:
            sessions.end_session(session=session, user=self.target, by=by)
        return gettext("%(sessions)s of %(target)s ended.") % {
            "sessions": number_of(len(chosen), "%(count)s session", "%(count)s sessions"),
            "target": self.target,
        }


class SignOutEverywhereForm(ActionForm):
    """Asks before all sessions of the person end."""

    title = gettext_lazy("Sign out everywhere")
    button = gettext_lazy("Sign out everywhere")
    is_destructive = True
    explanation = gettext_lazy(
        "Ends all sessions of this person and revokes all tokens for scripts. The person"
        " can sign in again: deactivate the login if nobody should."
    )
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        users.LoginRankTooHigh: (None, users.LoginRankTooHigh.sentence),
    }

    def perform(self, by: User) -> str:
        sessions.sign_out_everywhere(user=self.target, by=by)
        return gettext("%(target)s is signed out everywhere.") % {"target": self.target}


def _session_in_words(session: Session) -> str:
    return gettext(
        "%(browser_in_words)s, from %(address)s, since %(moment)s, last used %(moment_2)s"
    ) % {
        "browser_in_words": session.browser_in_words,
        "address": session.address or gettext("an unknown address"),
        "moment": moment_text(session.created_at),
        "moment_2": moment_with_zone(session.last_seen_at),
    }


class FlagFilter(YesNoFilter):
    """Users by a flag, whose field has the name of the parameter."""

    def condition(self, now: datetime) -> Q:
        return Q((str(self.parameter_name), True))


class IsStaffFilter(FlagFilter):
    title, parameter_name = gettext_lazy("staff"), "is_staff"


class IsSuperuserFilter(FlagFilter):
    title, parameter_name = gettext_lazy("superuser"), "is_superuser"


class IsActiveFilter(FlagFilter):
    title, parameter_name = gettext_lazy("active"), "is_active"


class GroupFilter(ChoiceFilter):
    """Users of a role or group."""

    title, parameter_name = gettext_lazy("role or group"), "group"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(pk), name) for pk, name in Group.objects.values_list("pk", "name")]

    def narrow(self, queryset: QuerySet[Any], chosen: str) -> QuerySet[Any]:
        return queryset.filter(groups=int(chosen))


SignedInSinceFilter = moment_filter(
    "signed_in_since", gettext_lazy("signed in since"), "last_login__gte"
)


class NotSignedInSinceFilter(MomentFilter):
    """Users who have not signed in since a moment, or never."""

    title, parameter_name = gettext_lazy("not signed in since"), "not_signed_in_since"

    def narrow(self, queryset: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
        return queryset.exclude(last_login__gte=moment)


@admin.register(User)
class UserAdmin(RightsChoiceMixin, LoginErrorMessagesMixin, PersonPagesMixin, generic.UserAdmin):
    """Logins of staff and subscribers."""

    form = UserForm
    add_form = NewUserForm
    list_display = ("email", "name", "is_staff", "is_superuser", "is_active", "last_login")
    list_filter = (
        IsStaffFilter,
        IsSuperuserFilter,
        IsActiveFilter,
        GroupFilter,
        SignedInSinceFilter,
        NotSignedInSinceFilter,
    )
    more_columns = ("date_joined",)
    search_fields = ("email", "name")
    search_help_text = gettext_lazy("The beginning of an e-mail address.")
    ordering = ("email",)
    change_form_template = "admin/revcred/user/change_form.html"
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("email", "new_address", "name", "second_factor", "sessions")}),
        (
            gettext_lazy("Permissions"),
            {"fields": ("is_active", "is_staff", "is_superuser", "groups")},
        ),
        (
            gettext_lazy("Single rights"),
            {"classes": ("collapse",), "fields": ("user_permissions",)},
        ),
        (gettext_lazy("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets: Any = ((None, {"classes": ("wide",), "fields": ("email", "name", "is_staff")}),)
    action_forms: ClassVar[Mapping[str, type[ActionForm]]] = {
        "password-link": PasswordLinkForm,
        "cancel-address": CancelAddressChangeForm,
        "reset-second-factor": ResetSecondFactorForm,
        "end-sessions": EndSessionsForm,
        "sign-out-everywhere": SignOutEverywhereForm,
        **PersonPagesMixin.person_forms,
    }

    def get_urls(self) -> list[Any]:
        """Drop Django's page on which one sets somebody else's password."""
        return [url for url in super().get_urls() if url.name != "auth_user_password_change"]

    def action_page(
        self, request: HttpRequest, form_class: type[ActionForm], target: Any = None
    ) -> HttpResponse:
        by: Any = request.user
        if form_class is PasswordLinkForm and not users.may_send_password_link(user=target, by=by):
            raise PermissionDenied
        is_reset = form_class is ResetSecondFactorForm
        if is_reset and not users.is_superuser_above(user=target, by=by):
            raise PermissionDenied
        # Ranks count for actions as they do for the form.
        if not self.has_change_permission(request, target):
            raise PermissionDenied
        return super().action_page(request, form_class, target)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        user = self.get_object(request, unquote(object_id))
        by: Any = request.user
        # Buttons are shown only where the action would be allowed.
        may = user and self.may_perform(request, PasswordLinkForm)
        context = {
            "may_send_link": may and users.may_send_password_link(user=user, by=by),
            "has_sessions": user and Session.objects.valid().filter(user=user).exists(),
            "may_reset_second_factor": user and users.is_superuser_above(user=user, by=by),
        }
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))

    @admin.display(description=gettext_lazy("new address"))
    def new_address(self, user: User) -> str:
        return pending_address_in_words(user)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        if obj is None:
            return ()
        by: Any = request.user
        # Fields this user may not change are shown as text.
        closed = users.ALL_LOGIN_FIELDS - users.editable_login_fields(user=obj, by=by)
        return self.closed(
            (
                "new_address",
                "second_factor",
                "sessions",
                "last_login",
                "date_joined",
                *sorted(closed),
            )
        )

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        by: Any = request.user
        may = super().has_change_permission(request, obj)
        return may and (obj is None or bool(users.editable_login_fields(user=obj, by=by)))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        by: Any = request.user
        may = super().has_delete_permission(request, obj)
        return may and (obj is None or users.is_deletable_login(user=obj, by=by))

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        form: Any = super().get_form(request, obj, **kwargs)
        form.actor = request.user  # the rules depend on who asks
        return form

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:  # noqa: FBT001
        """Save every change through the actions, which record each kind of it."""
        by: Any = request.user
        if not change:
            users.add_login(user=obj, by=by, request=request)
            return
        # Only what was changed: an unchanged field must not be checked as a grant of rights.
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        email = values.pop("email", None)
        if email is not None:  # before rights, which may rank the login above the actor
            asked = addresses.request_address_change(user=obj, email=email, by=by, request=request)
            tell_confirmation_sent(request, asked)
        if values:
            users.change_login(user=obj, values=values, by=by, request=request)
        obj.refresh_from_db()
        # The actions have recorded everything but the name.
        form.changed_data[:] = [name for name in form.changed_data if name == "name"]

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001
        """Do nothing: groups and permissions have been saved with the rest."""

    def effects(self, form: Any, formsets: Any) -> list[confirmation.Effect]:
        """Return how far the login reaches from now on."""
        # Compared here: saving has emptied the form's own list of changes.
        before = form.initial
        if not before.get("email"):
            return []  # a new login has neither a password nor rights
        changed = {
            name: form.cleaned_data[name]
            for name in form.fields
            if name in users.RIGHTS_LOGIN_FIELDS | {"is_active"}
            and _comparable_form_value(form.cleaned_data.get(name))
            != _comparable_form_value(before.get(name))
        }
        return (
            [confirmation.Effect(_login_change_in_words(form.instance, changed))] if changed else []
        )

    def effects_of_deletion(self, obj: User) -> list[confirmation.Effect]:
        return [
            confirmation.Effect(
                gettext("%(obj)s can no longer sign in. %(login_use)s")
                % {"obj": obj, "login_use": _login_use_in_words(obj)}
            )
        ]

    @admin.display(description=gettext_lazy("second factor"))
    def second_factor(self, user: User) -> str:
        return ", ".join(map(gettext, second_factors.factor_names(user=user))) or gettext("none")

    @admin.display(description=gettext_lazy("sessions"))
    def sessions(self, user: User) -> str:
        found = Session.objects.valid().filter(user=user)
        return format_html_join(
            "", "{}<br>", ([_session_in_words(session)] for session in found)
        ) or gettext("none")

    def search_queries(self, term: str) -> list[QuerySet[Any]]:
        return [rows_starting_with(User.objects.all(), "email", term).values("pk")]


def _comparable_form_value(value: Any) -> Any:
    """Return True for a set flag, sorted ids for chosen rows, and None for nothing."""
    if value is None or isinstance(value, bool):
        return bool(value) or None
    return sorted(getattr(each, "pk", each) for each in value) or None


def _login_change_in_words(user: User, changed: Mapping[str, Any]) -> str:
    """Return sentences on signing in and rights, as far as they change, and on the login's use."""
    sentences = []
    if "is_active" in changed:
        sentence = (
            gettext("%(user)s can sign in again from now on.")
            if changed["is_active"]
            else gettext("%(user)s can no longer sign in from now on.")
        )
        sentences.append(sentence % {"user": user})
    if changed.keys() & users.RIGHTS_LOGIN_FIELDS:
        rights = number_of(len(user.get_all_permissions()), "%(count)s right", "%(count)s rights")
        if user.is_superuser:
            sentence = (
                gettext("From now on, %(user)s is staff and has %(rights)s and may do everything.")
                if user.is_staff
                else gettext(
                    "From now on, %(user)s is not staff and has %(rights)s and may do everything."
                )
            )
        elif user.is_staff:
            sentence = gettext("From now on, %(user)s is staff and has %(rights)s.")
        else:
            sentence = gettext("From now on, %(user)s is not staff and has %(rights)s.")
        sentences.append(sentence % {"user": user, "rights": rights})
    return " ".join([*sentences, _login_use_in_words(user)])


def _login_use_in_words(user: User) -> str:
    """Return a sentence on the tokens, customers and credentials of a login."""
    tokens = user.tokens.filter(revoked_at=None).count()
    subscriber = Subscriber.objects.of(user).first()
    held = subscriber.credentials.filter(revoked_at=None).count() if subscriber else 0
    customers = subscriber.memberships.count() if subscriber else 0
    return gettext(
        "The login has %(tokens)s, belongs to %(customers)s and holds %(credentials)s."
    ) % {
        "tokens": number_of(tokens, "%(count)s valid token", "%(count)s valid tokens"),
        "customers": number_of(customers, "%(count)s customer", "%(count)s customers"),
        "credentials": number_of(held, "%(count)s credential", "%(count)s credentials"),
    }


class GroupForm(generic.ModelForm):
    """Rejects names of roles."""

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if name in roles.ROLES_BY_NAME:
            message = gettext("A role has this name. Choose another for a group of your own.")
            raise forms.ValidationError(message)
        return name


# Django registers groups with a page that knows neither roles nor the audit.
admin.site.unregister(Group)  # as Django registers it


@admin.register(Group)
class GroupAdmin(RightsChoiceMixin, AuditedModelAdmin, generic.GroupAdmin):
    """Groups of rights. Only superusers change them, and nobody changes a role."""

    form = GroupForm
    list_display = ("name", "explanation")
    fields = ("name", "permissions")
    search_help_text = gettext_lazy("The beginning of a name.")

    @admin.display(description=gettext_lazy("what it is for"))
    def explanation(self, group: Group) -> str:
        role = roles.ROLES_BY_NAME.get(group.name)
        return role.explanation if role else OWN_GROUP_EXPLANATION

    def has_add_permission(self, request: HttpRequest) -> bool:
        return _is_superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return _is_superuser(request) and not _is_role(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return _is_superuser(request) and not _is_role(obj)

    def get_fields(self, request: HttpRequest, obj: Group | None = None) -> Any:
        return ("name", "explanation", "permissions") if _is_role(obj) else self.fields

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001
        by: Any = request.user
        # Read before the save, to record what was added and removed.
        before = users.permission_names(of=form.instance)
        super().save_related(request, form, formsets, change)
        users.record_group_change(group=form.instance, before=before, by=by, request=request)

    def delete_model(self, request: HttpRequest, obj: Group) -> None:
        by: Any = request.user
        users.delete_group(group=obj, by=by)

    def effects(self, form: Any, formsets: Any) -> list[confirmation.Effect]:
        if "permissions" not in form.changed_data or not form.initial.get("name"):
            return []
        logins = User.objects.filter(groups=form.instance).count()
        rights = number_of(
            form.cleaned_data["permissions"].count(), "%(count)s right", "%(count)s rights"
        )
        sentence = ngettext(
            "%(count)s login of “%(group)s” has %(rights)s through this group from now on.",
            "%(count)s logins of “%(group)s” have %(rights)s through this group from now on.",
            logins,
        )
        values = {"count": grouped(logins), "group": form.instance, "rights": rights}
        return [confirmation.Effect(sentence % values)]

    def effects_of_deletion(self, obj: Group) -> list[confirmation.Effect]:
        logins = User.objects.filter(groups=obj).count()
        sentence = ngettext(
            "%(count)s login of “%(group)s” has no rights through this group any more.",
            "%(count)s logins of “%(group)s” have no rights through this group any more.",
            logins,
        )
        return [confirmation.Effect(sentence % {"count": grouped(logins), "group": obj})]

    def search_queries(self, term: str) -> list[QuerySet[Any]]:
        return [Group.objects.filter(name__istartswith=term).values("pk")]


def _is_role(group: Group | None) -> bool:
    return group is not None and group.name in roles.ROLES_BY_NAME


def _is_superuser(request: HttpRequest) -> bool:
    user: Any = request.user
    return bool(user.is_active and user.is_superuser)
