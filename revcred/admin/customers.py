"""Admin pages of customers, subscribers and memberships."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from allauth.account.adapter import get_adapter
from django import forms
from django.contrib import admin, messages
from django.db.models import OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext

from revcred import hooks
from revcred.accounts import looking
from revcred.actions import (
    addresses,
    company_sign_ins,
    memberships,
    subscribers,
    teams,
    users,
)
from revcred.actions.looking import NobodySignsIn, NotAllowedToLook
from revcred.admin.people import PersonPagesMixin
from revcred.admin.selections import InviteManyForm
from revcred.admin_toolkit import confirmation
from revcred.admin_toolkit.action_pages import ActionForm, ActionPagesMixin, ConcealedField
from revcred.admin_toolkit.audited import AuditedModelAdmin
from revcred.admin_toolkit.datetime_field import KeepsMicrosecondsForm
from revcred.admin_toolkit.filters import (
    ChoiceFilter,
    LinkedFilter,
    TagFilter,
    YesNoFilter,
    has_any,
    moment_filter,
)
from revcred.admin_toolkit.generic import BaseModelAdmin, ModelForm, TabularInline
from revcred.admin_toolkit.pickers import PickersMixin
from revcred.admin_toolkit.renaming import ReattributeRenamedMixin
from revcred.admin_toolkit.search import (
    customer_ids,
    customer_search_queries,
    subscriber_search_queries,
    subscribers_with_email,
)
from revcred.admin_toolkit.selections import SelectionMixin
from revcred.admin_toolkit.site_search import SearchHit, SearchTerm
from revcred.languages import within_sentence
from revcred.models import (
    AddressChange,
    CompanySignIn,
    Credential,
    Customer,
    Membership,
    Product,
    Subscriber,
    Subscription,
    User,
)
from revcred.models.company_sign_ins import MAX_CLIENT_ID_CHARACTERS, MAX_ISSUER_CHARACTERS
from revcred.outbox import absolute_url
from revcred.texts import gettext_lazy, grouped, number_of
from revcred.time_zones import moment_text, moment_with_zone

MAX_INLINE_MEMBERSHIPS = 100


class CustomerFilter(LinkedFilter):
    """Rows of one customer."""

    title, parameter_name, model = gettext_lazy("customer"), "customer", Customer


class SubscriberFilter(LinkedFilter):
    """Rows of one subscriber."""

    title, parameter_name, model = gettext_lazy("subscriber"), "subscriber", Subscriber


class SuspendedFilter(YesNoFilter):
    """Customers that are suspended."""

    title, parameter_name = gettext_lazy("suspended"), "suspended"

    def condition(self, now: datetime) -> Q:
        return Q(suspended_at__isnull=False, suspended_at__lte=now)


class SubscribedProductFilter(LinkedFilter):
    """Customers with a subscription to a product that has not ended."""

    title, parameter_name, model = gettext_lazy("subscribed to"), "product", Product

    def narrow(self, queryset: QuerySet[Any], chosen: int) -> QuerySet[Any]:
        subscriptions = Subscription.objects.not_ended_at(timezone.now()).filter(product=chosen)
        return queryset.filter(pk__in=subscriptions.values("customer"))


class HasCredentialsFilter(YesNoFilter):
    """Customers with a credential that is not revoked."""

    title, parameter_name = gettext_lazy("has credentials"), "credentials"

    def condition(self, now: datetime) -> Q:
        return has_any(Credential.objects.filter(customer=OuterRef("pk"), revoked_at=None))


class InvitationFilter(ChoiceFilter):
    """Subscribers by what has become of their invitation."""

    title, parameter_name = gettext_lazy("invitation"), "invitation"
    CONDITIONS: ClassVar[dict[str, Q]] = {
        "accepted": Q(user__isnull=False),
        "open": Q(user=None, invited_at__isnull=False),
        "none": Q(user=None, invited_at=None),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("accepted", gettext("Signs in")),
            ("open", gettext("Invited, not accepted yet")),
            ("none", gettext("Never invited")),
        ]

    def narrow(self, queryset: QuerySet[Any], chosen: str) -> QuerySet[Any]:
        return queryset.filter(self.CONDITIONS[chosen])


class MemberOfFilter(CustomerFilter):
    """Subscribers who belong to a customer."""

    def narrow(self, queryset: QuerySet[Any], chosen: int) -> QuerySet[Any]:
        members = Membership.objects.filter(customer=chosen)
        return queryset.filter(pk__in=members.values("subscriber"))


class RoleFilter(ChoiceFilter):
    """Memberships of one role."""

    title, parameter_name, choices_of = gettext_lazy("role"), "role", Membership.Role


CreatedSinceFilter = moment_filter(
    "created_since", gettext_lazy("created since"), "created_at__gte"
)
CreatedBeforeFilter = moment_filter(
    "created_before", gettext_lazy("created before"), "created_at__lt"
)


class MembershipForm(ModelForm):
    """Lets only the role of an existing membership change."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is None:
            return
        for name in {"customer", "subscriber"} & self.fields.keys():
            other = getattr(self.instance, name)
            self.fields[name].disabled = True
            # A picker would query its label again for every row.
            self.fields[name].widget = forms.Select(choices=[(other.pk, str(other))])


class RoleChoiceMixin(BaseModelAdmin):
    """Offers the role of owner, who may reveal every key, only to those who may change roles."""

    def formfield_for_choice_field(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        # Otherwise somebody who may add members could make an own login owner of any customer.
        if db_field.name == "role" and not request.user.has_perm("revcred.change_membership"):
            choices = Membership.Role.choices
            kwargs["choices"] = [choice for choice in choices if choice[0] != Membership.Role.OWNER]
        return super().formfield_for_choice_field(db_field, request, **kwargs)


class MembershipInline(RoleChoiceMixin, PickersMixin, TabularInline):
    """Memberships on the page of a customer or subscriber."""

    model = Membership
    form = MembershipForm
    autocomplete_fields = ("customer", "subscriber")
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("customer", "subscriber")


class AuditedMembershipsMixin(AuditedModelAdmin):
    """Records each membership that begins, ends or gets another role as an event of its own."""

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:  # noqa: FBT001
        # Read before the save, which overwrites them.
        old_roles = {
            each.instance.pk: each.initial.get("role")
            for each in formset.forms
            if each.instance.pk is not None
        }
        gone = [each.instance.pk for each in formset.deleted_forms if each.instance.pk is not None]
        ended = list(
            Membership.objects.select_related("customer", "subscriber").filter(pk__in=gone)
        )
        # Before they end, since nobody holds anything afterwards.
        formset.end_effects = [membership_end_effect(membership) for membership in ended]
        for membership in ended:
            teams.end_membership(membership=membership, **_actor_and_address(request))
        super().save_formset(request, form, formset, change)
        for membership in formset.new_objects:
            memberships.announce_new_member(membership=membership, **_actor_and_address(request))
        for membership, _ in formset.changed_objects:
            old = old_roles[membership.pk]
            memberships.record_role_changed(
                membership=membership, old=old, **_actor_and_address(request)
            )


def _actor_and_request(request: HttpRequest) -> dict[str, Any]:
    """Return the arguments that all actions on subscribers take."""
    return {"by": request.user, "request": request}


def _actor_and_address(request: HttpRequest) -> dict[str, Any]:
    """Return keyword arguments of the actions on memberships."""
    address = get_adapter(request).get_client_ip(request)
    return {"by": request.user, "address": address}


def new_role_effect(membership: Membership, old: str | None) -> confirmation.Effect:
    """Return what somebody may see and reveal in a role. `old`: None for a new member."""
    customer, person = membership.customer, membership.subscriber
    count = customer.credentials.filter(revoked_at=None).count()
    held = customer.credentials.filter(revoked_at=None, holders=person).count()
    may = {
        Membership.Role.OWNER: gettext("sees and may reveal all of %(credentials)s")
        % {"credentials": number_of(count, "%(count)s credential", "%(count)s credentials")},
        Membership.Role.MEMBER: gettext("may reveal %(credentials)s of %(count)s")
        % {
            "credentials": number_of(
                held, "%(count)s held credential", "%(count)s held credentials"
            ),
            "count": grouped(count),
        },
        Membership.Role.VIEWER: gettext("sees %(credentials)s of %(count)s and may reveal none")
        % {
            "credentials": number_of(
                held, "%(count)s held credential", "%(count)s held credentials"
            ),
            "count": grouped(count),
        },
    }[Membership.Role(membership.role)]
    label = within_sentence(membership.get_role_display())
    was = (
        gettext(", and was %(role)s before") % {"role": within_sentence(Membership.Role(old).label)}
        if old
        else ""
    )
    return confirmation.Effect(
        gettext("%(person)s is %(label)s of %(customer)s from now on%(was)s: %(may)s.")
        % {"person": person, "label": label, "customer": customer, "was": was, "may": may}
    )


def membership_end_effect(membership: Membership) -> confirmation.Effect:
    """Return what somebody holds and may no longer see once the membership has ended."""
    customer, person = membership.customer, membership.subscriber
    held = customer.credentials.filter(revoked_at=None, holders=person).count()
    return confirmation.Effect(
        gettext(
            "%(person)s no longer belongs to %(customer)s from now on, sees nothing of it, and"
            " is signed out everywhere. The person holds %(credentials)s of it, and none"
            " afterwards. Their keys stay valid: rotate those that the person knows."
        )
        % {
            "person": person,
            "customer": customer,
            "credentials": number_of(held, "%(count)s credential", "%(count)s credentials"),
        }
    )


class MembershipInlineMixin(AuditedMembershipsMixin, ReattributeRenamedMixin):
    """Shows memberships on the page, unless there are too many."""

    def effects(self, form: Any, formsets: Any) -> list[confirmation.Effect]:
        effects = []
        for formset in formsets:
            if formset.model is Membership:
                # The rows have their new roles by now; only the forms still have the old ones.
                old_roles = {row.instance.pk: row.initial.get("role") for row in formset.forms}
                effects += [new_role_effect(added, None) for added in formset.new_objects]
                effects += [
                    new_role_effect(changed, old_roles[changed.pk])
                    for changed, _ in formset.changed_objects
                ]
                effects += formset.end_effects
        return effects

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        if (
            obj
            and obj.memberships.values("pk")[: MAX_INLINE_MEMBERSHIPS + 1].count()
            > MAX_INLINE_MEMBERSHIPS
        ):
            return []
        return [MembershipInline]


def _suspension_effect(customer: Customer) -> confirmation.Effect:
    """Return what suspending or resuming a customer changes, and what goes on."""
    credentials = customer.credentials.filter(revoked_at=None).count()
    now, at = timezone.now(), customer.suspended_at
    active = number_of(
        customer.subscriptions.at(now).count(),
        "%(count)s active subscription",
        "%(count)s active subscriptions",
    )
    figures = gettext("%(credentials)s and %(members)s") % {
        "credentials": number_of(credentials, "%(count)s credential", "%(count)s credentials"),
        "members": number_of(customer.memberships.count(), "%(count)s member", "%(count)s members"),
    }
    if at is None:
        revealing = gettext("From now on keys and secrets are revealed again: %(figures)s.") % {
            "figures": figures
        }
    else:
        revealing = gettext(
            "From %(moment)s on no key or secret of %(customer)s is revealed: %(figures)s."
        ) % {"moment": moment_with_zone(at), "customer": customer, "figures": figures}
    return confirmation.effect(
        gettext(
            "%(revealing)s Calls are not stopped: those to its %(active)s are counted and"
            " charged as before. To stop them, suspend its credentials."
        )
        % {"revealing": revealing, "active": active},
        hooks.recent_calls_of(customer=customer),
    )


class SetCompanySignInForm(ActionForm):
    """Asks for the OpenID Connect provider at which a customer's people sign in."""

    title = gettext_lazy("Company sign-in")
    button = gettext_lazy("Save the company sign-in")
    is_destructive = True
    explanation = gettext_lazy(
        "People of this customer sign in at their company's own OpenID Connect provider."
        " It can sign in as any of them whose address is in the customer's mail domains"
        " and who belongs to no other customer, never as staff. The owners get a mail."
    )
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        company_sign_ins.SuperuserRequired: (None, company_sign_ins.SuperuserRequired.sentence),
        company_sign_ins.DomainsRequired: (None, company_sign_ins.DomainsRequired.sentence),
        company_sign_ins.IssuerNotSecure: ("issuer", company_sign_ins.IssuerNotSecure.sentence),
        company_sign_ins.SecretRequired: (
            "client_secret",
            company_sign_ins.SecretRequired.sentence,
        ),
    }

    issuer = forms.CharField(
        max_length=MAX_ISSUER_CHARACTERS,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        help_text=gettext_lazy(
            "Such as https://login.example.com. Its configuration is at"
            " /.well-known/openid-configuration below it."
        ),
    )
    client_id = forms.CharField(
        label=gettext_lazy("Client ID"), max_length=MAX_CLIENT_ID_CHARACTERS
    )
    client_secret = ConcealedField(
        label=gettext_lazy("Client secret"),
        help_text=gettext_lazy(
            "Kept sealed, and never shown again. Empty: the one that is kept stays."
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        company = CompanySignIn.objects.filter(customer=self.target).first()
        if company:
            self.fields["issuer"].initial = company.issuer
            self.fields["client_id"].initial = company.client_id
        url = absolute_url(reverse("openid_connect_callback", args=[f"company-{self.target.pk}"]))
        self.fields["client_id"].help_text = gettext(
            "Of a client whose redirect address is %(url)s"
        ) % {"url": url}

    def effects(self) -> list[confirmation.Effect]:
        domains = ", ".join(self.target.email_domains) or gettext("no domain")
        members = number_of(
            self.target.memberships.count(), "%(count)s member", "%(count)s members"
        )
        return [
            confirmation.Effect(
                gettext(
                    "Whoever runs %(issuer)s can sign in as %(members)s of %(target)s with"
                    " addresses at %(domains)s. If issuer or client change, everybody is connected"
                    " anew, and whoever was connected is signed out."
                )
                % {
                    "issuer": self.cleaned_data["issuer"],
                    "members": members,
                    "target": self.target,
                    "domains": domains,
                }
            )
        ]

    def perform(self, by: User) -> str:
        company_sign_ins.set_company_sign_in(customer=self.target, by=by, **self.cleaned_data)
        return gettext("People of %(target)s can sign in at their company.") % {
            "target": self.target
        }


class EndCompanySignInForm(ActionForm):
    """Asks before nobody can sign in by the company any more."""

    title = gettext_lazy("End the company sign-in")
    button = gettext_lazy("End the company sign-in")
    is_destructive = True
    explanation = gettext_lazy(
        "Nobody signs in at the company any more. Everybody who did is signed out. People"
        " without a password choose one by mail. The owners get a mail."
    )
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        company_sign_ins.SuperuserRequired: (None, company_sign_ins.SuperuserRequired.sentence),
    }

    def effects(self) -> list[confirmation.Effect]:
        connected = company_sign_ins.count_connected(customer=self.target)
        people = number_of(connected, "%(count)s connected login", "%(count)s connected logins")
        return [
            confirmation.Effect(
                gettext("%(people)s of %(target)s can no longer sign in so.")
                % {"people": people, "target": self.target}
            )
        ]

    def perform(self, by: User) -> str:
        company_sign_ins.end_company_sign_in(customer=self.target, by=by)
        return gettext("People of %(target)s no longer sign in at their company.") % {
            "target": self.target
        }


@admin.register(Customer)
class CustomerAdmin(MembershipInlineMixin, ActionPagesMixin):
    """Customers with their memberships."""

    # Whoever says where people sign in can sign in as them, so only superusers do.
    action_forms: ClassVar[Mapping[str, type[ActionForm]]] = {
        "company-sign-in": SetCompanySignInForm,
        "end-company-sign-in": EndCompanySignInForm,
    }

    list_display = ("name", "external_key", "suspended_at", "created_at")
    unindexed_parameters = frozenset({"credentials"})
    more_columns = ("tags", "email_domains", "metadata")
    list_filter = (
        SuspendedFilter,
        TagFilter,
        SubscribedProductFilter,
        HasCredentialsFilter,
        CreatedSinceFilter,
        CreatedBeforeFilter,
    )
    search_fields = ("name", "external_key")
    search_help_text = gettext_lazy("Words of a name or external key.")
    readonly_fields = ("created_at",)
    change_form_template = "admin/revcred/customer/change_form.html"
    fieldsets: ClassVar[Any] = (
        (
            None,
            {"fields": ("name", "external_key", "email_domains", "tags", "suspended_at", "notes")},
        ),
        # Rarely needed, so folded away.
        (gettext_lazy("More"), {"classes": ("collapse",), "fields": ("metadata", "created_at")}),
    )

    def search_queries(self, term: str) -> list[QuerySet[Any]]:
        return customer_search_queries(term)

    def may_perform(self, request: HttpRequest, form_class: type[ActionForm]) -> bool:
        user: Any = request.user
        return bool(user.is_superuser) and super().may_perform(request, form_class)

    def hit_detail(self, found: Customer) -> str:
        return found.external_key

    def effects(self, form: Any, formsets: Any) -> list[confirmation.Effect]:
        effects = super().effects(form, formsets)
        if form.initial.get("name") and "suspended_at" in form.changed_data:
            effects.append(_suspension_effect(form.instance))
        return effects

    def autocomplete_label(self, found: Customer) -> str:
        return f"{found.name} ({found.external_key})"


class InviteSubscriberForm(ActionForm):
    """Asks before an invitation is sent."""

    title = gettext_lazy("Invite")
    button = gettext_lazy("Send the invitation")
    permission = "invite"
    explanation = gettext_lazy(
        "Sends an e-mail with a link to choose a password and sign in to the storefront."
        " The link works once and for three days; you can send it again. A subscriber who"
        " has a login already gets a link to choose a new password."
    )
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        subscribers.AddressOfAnotherSubscriber: (
            None,
            subscribers.AddressOfAnotherSubscriber.sentence,
        ),
        users.AddressOfStaff: (None, users.AddressOfStaff.sentence),
        users.PersonErased: (None, users.PersonErased.sentence),
    }

    def perform(self, by: User) -> str:
        subscribers.invite_subscriber(subscriber=self.target, by=by, request=self.request)
        return gettext("An invitation was sent to %(user)s.") % {
            "user": self.target.user or self.target.email
        }


class LookForm(ActionForm):
    """Asks before the storefront is shown as the subscriber sees it."""

    title = gettext_lazy("Look as this subscriber does")
    button = gettext_lazy("Look")
    permission = "look_as"
    explanation = gettext_lazy(
        "Shows the storefront as this person sees it, for 30 minutes or until you stop."
        " Nothing can be changed there, and no key or secret is revealed. It is on record,"
        " and the person is not told."
    )
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        NobodySignsIn: (None, gettext_lazy("This subscriber has no login, or one that is off.")),
        NotAllowedToLook: (None, gettext_lazy("You may not look as a subscriber does.")),
    }

    def perform(self, by: User) -> str:
        looking.begin_look(self.request, self.target)
        return gettext("You look as %(target)s does.") % {"target": self.target}


class CancelAddressChangeForm(ActionForm):
    """Asks before a new address that is not confirmed yet is dropped."""

    title = gettext_lazy("Cancel the new address")
    button = gettext_lazy("Cancel the new address")
    explanation = gettext_lazy(
        "The present address stays, and the link that was sent stops working."
    )
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        users.LoginRankTooHigh: (None, users.LoginRankTooHigh.sentence),
        addresses.AddressChangeNotOpen: (
            None,
            gettext_lazy("No new address is waiting for confirmation."),
        ),
    }

    def perform(self, by: User) -> str:
        # The form serves the pages of logins and of subscribers.
        login = self.target if isinstance(self.target, User) else self.target.user
        change = AddressChange.objects.open().filter(user=login).first()
        if change is None:
            raise addresses.AddressChangeNotOpen
        addresses.cancel_address_change(change=change, by=by, request=self.request)
        return gettext("%(new_email)s was cancelled. The address stays %(old_email)s.") % {
            "new_email": change.new_email,
            "old_email": change.old_email,
        }


class SubscriberForm(KeepsMicrosecondsForm):
    """Checks a new address by the rules of the action."""

    actor: User

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].lower()
        if "email" not in self.changed_data:
            return email
        try:
            if self.instance.pk:
                subscribers.check_subscriber_address(
                    subscriber=self.instance, email=email, by=self.actor
                )
            else:
                subscribers.check_login_available(email=email)
        except users.LoginActionError as error:
            raise forms.ValidationError(str(error)) from error
        return email


def pending_address_in_words(login: User | None) -> str:
    """Return which new address waits for confirmation, since when and who asked for it."""
    changes = AddressChange.objects.open().filter(user=login)
    change = changes.select_related("asked_by").first() if login else None
    if change is None:
        return gettext("none")
    return gettext(
        "%(new_email)s, asked for by %(asked_by)s at %(moment)s. It counts once it is"
        " confirmed from there."
    ) % {
        "new_email": change.new_email,
        "asked_by": change.asked_by or gettext("the operator"),
        "moment": moment_text(change.asked_at),
    }


def tell_confirmation_sent(request: HttpRequest, change: AddressChange | None) -> None:
    """Tell that a new address does not count before it is confirmed."""
    if change is None:
        return
    sentence = (
        gettext(
            "A link was sent to %(new)s. Until it is confirmed with it and the password, the"
            " address stays %(old)s, which is told as well."
        )
        if change.needs_password
        else gettext(
            "A link was sent to %(new)s. Until it is confirmed with it, the address stays %(old)s,"
            " which is told as well."
        )
    )
    messages.info(request, sentence % {"new": change.new_email, "old": change.old_email})


class LoginErrorMessagesMixin(AuditedModelAdmin):
    """Shows errors that an action raises only while saving, because another one was quicker."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except users.LoginActionError as error:
            messages.error(request, gettext("%(error)s Nothing was saved.") % {"error": error})
            return HttpResponseRedirect(request.path)


@admin.register(Subscriber)
class SubscriberAdmin(
    SelectionMixin, LoginErrorMessagesMixin, MembershipInlineMixin, PersonPagesMixin
):
    """Subscribers: people at one or several customers."""

    form = SubscriberForm
    list_display = ("email", "name", "external_key", "signs_in", "invited_at", "created_at")
    list_filter = (InvitationFilter, MemberOfFilter, CreatedSinceFilter, CreatedBeforeFilter)
    search_fields = ("email", "name", "external_key")
    search_help_text = gettext_lazy("Words of a name, an e-mail address or an external key.")
    fields = ("email", "new_address", "name", "external_key", "user", "invited_at", "created_at")
    readonly_fields = ("user", "new_address", "invited_at", "created_at")
    list_select_related = ("user",)
    change_form_template = "admin/revcred/subscriber/change_form.html"
    selection_forms: ClassVar[Any] = {"invite": InviteManyForm}
    action_forms: ClassVar[dict[str, type[ActionForm]]] = {
        "invite": InviteSubscriberForm,
        "look": LookForm,
        "cancel-address": CancelAddressChangeForm,
        **PersonPagesMixin.person_forms,
    }

    def action_done(
        self, request: HttpRequest, form: ActionForm, target: Any, sentence: str
    ) -> HttpResponse:
        if isinstance(form, LookForm):
            return HttpResponseRedirect(reverse("storefront:home"))
        return super().action_done(request, form, target, sentence)

    @admin.display(description=gettext_lazy("signs in"), boolean=True)
    def signs_in(self, subscriber: Subscriber) -> bool:
        return subscriber.user_id is not None

    @admin.display(description=gettext_lazy("new address"))
    def new_address(self, subscriber: Subscriber) -> str:
        return pending_address_in_words(subscriber.user)

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        form = super().get_form(request, obj, **kwargs)
        form.actor = request.user
        return form

    def save_model(self, request: HttpRequest, obj: Subscriber, form: Any, change: bool) -> None:  # noqa: FBT001
        email = obj.email
        # An address is not saved with the form: the new one has to be confirmed first.
        is_another = change and "email" in form.changed_data
        if is_another:
            obj.email = form.initial["email"]  # saved by its own action, below
            form.changed_data.remove("email")
        super().save_model(request, obj, form, change)
        if is_another:
            asked = subscribers.change_subscriber_address(
                subscriber=obj, email=email, **_actor_and_request(request)
            )
            tell_confirmation_sent(request, asked)

    def effects_of_deletion(self, obj: Subscriber) -> list[confirmation.Effect]:
        memberships_of_person = obj.memberships.select_related("customer")
        return [membership_end_effect(membership) for membership in memberships_of_person]

    def search_queries(self, term: str) -> list[QuerySet[Any]]:
        return subscriber_search_queries(term)

    def hit_detail(self, found: Subscriber) -> str:
        return found.name

    def autocomplete_label(self, found: Subscriber) -> str:
        return f"{found.name} <{found.email}>" if found.name else found.email


@admin.register(Membership)
class MembershipAdmin(RoleChoiceMixin, AuditedModelAdmin):
    """Memberships by themselves, for customers with too many for one page."""

    form = MembershipForm
    list_display = ("subscriber", "customer", "role")
    list_select_related = ("subscriber", "customer")
    list_filter = (RoleFilter, CustomerFilter, SubscriberFilter)
    autocomplete_fields = ("subscriber", "customer")
    ordering = ("-pk",)
    search_fields = ("subscriber__email",)
    search_help_text = gettext_lazy(
        "A subscriber's whole e-mail address, or words of a customer's name."
    )

    def search_hits(self, request: HttpRequest, term: SearchTerm) -> list[SearchHit]:
        """Return nothing: the customers and subscribers themselves are found."""
        return []

    def search_queries(self, term: str) -> list[QuerySet[Any]]:
        return [
            Membership.objects.filter(subscriber__in=subscribers_with_email(term)).values("pk"),
            Membership.objects.filter(customer__in=customer_ids(term)).values("pk"),
        ]

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:  # noqa: FBT001
        super().save_model(request, obj, form, change)
        if change:
            memberships.record_role_changed(
                membership=obj, old=form.initial["role"], **_actor_and_address(request)
            )
            form.changed_data.clear()  # its role is all that changes, and has its own event
        else:
            memberships.announce_new_member(membership=obj, **_actor_and_address(request))

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        """Do nothing: the membership has been recorded with its role."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:  # type: ignore[override]
        """Do nothing: the end of a membership is recorded by its own action."""

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        teams.end_membership(membership=obj, **_actor_and_address(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        for membership in queryset.select_related("customer", "subscriber"):
            teams.end_membership(membership=membership, **_actor_and_address(request))

    def effects(self, form: Any, formsets: Any) -> list[confirmation.Effect]:
        membership = form.instance
        old = form.initial["role"] if form.initial.get("customer") else None
        return [] if old == membership.role else [new_role_effect(membership, old)]

    def effects_of_deletion(self, obj: Membership) -> list[confirmation.Effect]:
        return [membership_end_effect(obj)]
