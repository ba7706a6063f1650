"""Filters of the list of credentials."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext

from revcred.admin.customers import SubscriberFilter
from revcred.admin_toolkit import search
from revcred.admin_toolkit.filters import (
    ChoiceFilter,
    IsAnyOf,
    LinkedFilter,
    MomentFilter,
    TextFilter,
    YesNoFilter,
    has_any,
    moment_filter,
)
from revcred.models import (
    Assignment,
    Credential,
    ExternalKey,
    Gateway,
    KeyUse,
    Product,
    Subscription,
    Suspension,
)
from revcred.texts import gettext_lazy


def ids_in(credentials: QuerySet[Any], field: str = "credential") -> IsAnyOf:
    """Return the condition that a credential is one of those that the rows name."""
    return IsAnyOf(F("pk"), ArraySubquery(credentials.order_by().values(field)))


class StateFilter(ChoiceFilter):
    """Credentials by the state that their page shows."""

    title, parameter_name, choices_of = gettext_lazy("state"), "state", Credential.State

    def narrow(self, queryset: QuerySet[Any], chosen: str) -> QuerySet[Any]:
        now = timezone.now()
        if chosen == Credential.State.REVOKED:
            return queryset.filter(revoked_at__lte=now)
        standing = queryset.exclude(revoked_at__lte=now)
        if chosen == Credential.State.EXPIRED:
            return standing.filter(expires_at__lte=now)
        suspended = Suspension.objects.at(now)
        unexpired = standing.exclude(expires_at__lte=now)
        if chosen == Credential.State.SUSPENDED:
            # Few among many.
            return unexpired.filter(ids_in(suspended))
        return unexpired.exclude(Exists(suspended.filter(credential=OuterRef("pk"))))


class HolderFilter(SubscriberFilter):
    """Credentials that a subscriber holds."""

    title, parameter_name = gettext_lazy("holder"), "holder"

    def narrow(self, queryset: QuerySet[Any], chosen: int) -> QuerySet[Any]:
        return queryset.filter(holders=chosen)


class AssignedSubscriptionFilter(LinkedFilter):
    """Credentials that are or were assigned to a subscription."""

    title, parameter_name, model = gettext_lazy("subscription"), "subscription", Subscription

    def narrow(self, queryset: QuerySet[Any], chosen: int) -> QuerySet[Any]:
        feeding = Assignment.objects.filter(subscription=chosen)
        return queryset.filter(pk__in=feeding.values("credential"))


class AssignedProductFilter(LinkedFilter):
    """Credentials that are charged to a subscription of a product now."""

    title, parameter_name, model = gettext_lazy("product"), "product", Product

    def narrow(self, queryset: QuerySet[Any], chosen: int) -> QuerySet[Any]:
        charged = Assignment.objects.at(timezone.now()).filter(subscription__product=chosen)
        return queryset.filter(Exists(charged.filter(credential=OuterRef("pk"))))


class BoundGatewayFilter(LinkedFilter):
    """Credentials with a key or alias that counts at one gateway only."""

    title, parameter_name, model = gettext_lazy("has a key only for gateway"), "gateway", Gateway

    def narrow(self, queryset: QuerySet[Any], chosen: int) -> QuerySet[Any]:
        return queryset.filter(ids_in(ExternalKey.objects.filter(gateway=chosen)))


class EnvironmentFilter(TextFilter):
    """Credentials of an environment, spelt just so."""

    title, parameter_name, placeholder = gettext_lazy("environment"), "environment", "production"


class UnusedSinceFilter(MomentFilter):
    """Credentials of which no key has been used since a moment."""

    title, parameter_name = gettext_lazy("unused since"), "unused_since"

    def narrow(self, queryset: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
        used = KeyUse.objects.filter(external_key__credential=OuterRef("pk"))
        return queryset.exclude(has_any(used.filter(last_used_at__gte=moment)))


class NeverUsedFilter(YesNoFilter):
    """Credentials of which no key has ever been used."""

    title, parameter_name = gettext_lazy("never used"), "never_used"

    def condition(self, now: datetime) -> Any:
        return ~has_any(KeyUse.objects.filter(external_key__credential=OuterRef("pk")))


class OldKeyFilter(YesNoFilter):
    """Credentials with an old key that still counts, as during a rotation."""

    title, parameter_name = gettext_lazy("old key still counts"), "old_key"

    def condition(self, now: datetime) -> Any:
        ending = ExternalKey.objects.current(now).filter(active_until__gt=now)
        return Q(ids_in(ending))


class ChargedFilter(YesNoFilter):
    """Credentials that are charged to a subscription that is active now, or to nothing."""

    title, parameter_name = gettext_lazy("charged to a subscription"), "charged"

    def condition(self, now: datetime) -> Any:
        active = Assignment.objects.at(now).filter(subscription__in=Subscription.objects.at(now))
        return has_any(active.filter(credential=OuterRef("pk")))


ExpiresBeforeFilter = moment_filter(
    "expires_before", gettext_lazy("expires before"), "expires_at__lt"
)


class FingerprintFilter(LinkedFilter):
    """Credentials that a search by key found. The URL has the fingerprint, not the key."""

    title, parameter_name = gettext_lazy("key"), "fingerprint"

    def lookups(self, request: HttpRequest, model_admin: Any) -> tuple[()]:
        # It is chosen by the search alone.
        self.may_choose = False
        return ()

    def narrow_by_text(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        key_fingerprint = parse_fingerprint(self.value())
        if key_fingerprint is None:
            return queryset.none()
        return queryset.filter(
            pk__in=search.credentials_with_fingerprint(key_fingerprint).values("pk")
        )

    def in_words(self) -> str:
        return gettext("the key you typed")


def parse_fingerprint(text: str | None) -> UUID | None:
    """Return the fingerprint in a URL, or None."""
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
