"""Figures and latest things of a customer, subscriber, product or gateway, for its page.

Each figure leads to the list that it counts. A hub costs a fixed number of queries, each by an
index, and shows only what the user may see in the lists.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import OperationalError, connection, models
from django.db.models import Case, Count, Max, Q, QuerySet, Sum, Value, When
from django.db.transaction import atomic
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from metering import failures
from metering.admin.explanations import link_to
from metering.admin.groups import QuarantineGroup
from metering.customer_calls import (
    SEARCH_LIMIT_MILLISECONDS,
    CallFilter,
    ListedCall,
    SearchTookTooLong,
    list_calls,
)
from metering.inventories.drift import DriftKind, count_drift_lately
from metering.inventories.receiving import latest_inventory
from metering.ledger.daily_usage import ScopedUsage
from metering.ledger.quantities import format_quantity
from metering.ledger.scope import LedgerScope
from metering.models import IntakeStats, Quarantined, QuarantineReason, Transaction
from metering.models.functions import first_id_at
from metering.models.usage import CALLS_ELEMENT
from revcred import hooks
from revcred.admin.credentials import CREDENTIAL_STATE_TONES
from revcred.admin_toolkit.badges import badge
from revcred.metering_port import RECENT_CALLS_DAYS
from revcred.models import (
    AuditEvent,
    Credential,
    Customer,
    ExternalKey,
    Gateway,
    KeyUse,
    Membership,
    Product,
    Subscriber,
    Subscription,
    Suspension,
    User,
)
from revcred.models.credentials import CredentialQuerySet
from revcred.postgresql.statement_timeouts import statement_timeout
from revcred.public_ids import FingerprintOfPublicId
from revcred.time_zones import day_text, moment_text

MAX_ROWS = 8  # of a table
MAX_WAITING_READ = 1_000
MAX_SUBSCRIPTIONS_SUMMED = 1_000  # of a product: about 50 ms for the usage of a week
MAX_SUBSCRIPTIONS_READ = 500  # of a customer, for its calls
MAX_CREDENTIALS_WITH_EVENTS = 200
# A customer may have a hundred thousand credentials: then a page looks at its newest ones.
MAX_CREDENTIALS_COUNTED = 10_000  # by state
MAX_SUBSCRIPTIONS_COUNTED = 10_000  # of a product, by state
MAX_CREDENTIALS_READ = 1_000  # for their last uses, and for what waits under their keys
LATEST_CALLS_PERIOD = timedelta(days=31)
GATEWAY_CALLS_PERIOD = timedelta(days=1)  # a busy gateway's last ones are at the end of its day

Cell = SafeString | str | int | datetime | None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number, and the list that it counts."""

    label: str
    value: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """The first rows of something. `url`: the list with all of them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    url: str = ""
    nothing: str = "None."


@dataclass(frozen=True, kw_only=True)
class Hub:
    """The figures and tables of a page."""

    figures: Sequence[Figure]
    tables: Sequence[Table]


def hub_of(target: models.Model, user: User) -> Hub | None:
    """Return the hub of a thing that has one, with what the user may see."""
    make = HUBS.get(type(target))
    if make is None:
        return None
    found = list(make(target, user))
    return Hub(
        figures=[each for each in found if isinstance(each, Figure)],
        tables=[each for each in found if isinstance(each, Table)],
    )


def _list_url(model: type[models.Model], **query: Any) -> str:
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return f"{address}?{urlencode(query)}" if query else address


def _list_url_of(label: str, **query: Any) -> str:
    return f"{reverse(f'admin:{label}_changelist')}?{urlencode(query)}"


def _figure(label: str, value: int, url: str) -> Figure:
    return Figure(label=label, value=f"{value:,}", url=url)


# --- Parts that several hubs have -----------------------------------------------------------------


def _state_figures(credentials: QuerySet[Credential], **query: Any) -> Iterator[Figure]:
    """Yield how many of the newest credentials are in each state, by one query."""
    now = timezone.now()
    states = Credential.State
    suspended = Suspension.objects.at(now).filter(credential=models.OuterRef("pk"))
    state = Case(
        When(revoked_at__lte=now, then=Value(states.REVOKED)),
        When(expires_at__lte=now, then=Value(states.EXPIRED)),
        When(models.Exists(suspended), then=Value(states.SUSPENDED)),
        default=Value(states.ACTIVE),
    )
    newest = credentials.order_by("-pk").annotate(state=state)[:MAX_CREDENTIALS_COUNTED]
    counts = newest.aggregate(
        **{each.value: Count("pk", filter=Q(state=each.value)) for each in states}
    )
    among = _of_newest(sum(counts.values()), MAX_CREDENTIALS_COUNTED)
    for each in states:
        if counts[each.value] or each == states.ACTIVE:
            label = f"{each.label} credentials{among}"
            yield _figure(label, counts[each.value], _list_url(Credential, state=each, **query))


def _of_newest(found: int, most: int) -> str:
    """Return the words that older rows may be left out, where as many as are read were found."""
    return f", of the newest {most:,}" if found >= most else ""


@dataclass(frozen=True)
class NewestCredentials:
    """The newest credentials of somebody."""

    ids: Sequence[int]

    @property
    def in_words(self) -> str:
        among = _of_newest(len(self.ids), MAX_CREDENTIALS_READ)
        return f"{among} credentials" if among else ""

    @property
    def rows(self) -> CredentialQuerySet:
        return Credential.objects.filter(pk__in=self.ids)


def _newest_of(credentials: QuerySet[Credential]) -> NewestCredentials:
    latest = credentials.order_by("-pk").values_list("pk", flat=True)
    return NewestCredentials(list(latest[:MAX_CREDENTIALS_READ]))


def _credentials_table(credentials: NewestCredentials, url: str) -> Table:
    """Return the credentials that were used last."""
    now = timezone.now()
    uses = KeyUse.objects.filter(external_key__credential__in=credentials.ids)
    used = dict(
        uses.order_by()
        .values_list("external_key__credential")
        .annotate(used=Max("last_used_at"))
        .order_by("-used", "-external_key__credential")[:MAX_ROWS]
    )
    unused = [pk for pk in credentials.ids if pk not in used]
    shown = [*used, *unused][:MAX_ROWS]
    found = Credential.objects.with_suspended(now).select_related("customer").in_bulk(shown)
    rows = []
    for each in (found[pk] for pk in shown if pk in found):
        state = each.state_at(now, suspended=each.suspended)  # type: ignore[attr-defined]
        badge_of_state = badge(state.label.lower(), CREDENTIAL_STATE_TONES[state])
        last = used.get(each.pk) or "never"
        rows.append((link_to(each), link_to(each.customer), badge_of_state, last))
    return Table(
        title=f"Credentials, the last used first{credentials.in_words}",
        columns=("Name", "Customer", "State", "Last used"),
        rows=rows,
        url=url,
        nothing="No credentials. Issue one, so that calls can be charged.",
    )


def _events_table(events: QuerySet[AuditEvent], url: str) -> Table:
    rows = [
        (
            format_html(
                '<a href="{}">{}</a>',
                reverse("admin:revcred_auditevent_change", args=[event.pk]),
                moment_text(event.at),
            ),
            event.get_verb_display(),
            event.target,
            event.actor,
        )
        for event in events.order_by("-pk")[:MAX_ROWS]
    ]
    return Table(
        title="Latest events", columns=("When", "What", "Subject", "By"), rows=rows, url=url
    )


def _events_about(
    rows_by_model: Mapping[type[models.Model], Iterable[int]],
) -> QuerySet[AuditEvent]:
    """Return the events about these rows, by the index of targets."""
    condition = Q()
    for model, numbers in rows_by_model.items():
        condition |= Q(target_type=model._meta.label_lower, target_id__in=list(numbers))
    return AuditEvent.objects.filter(condition)


def _waiting_table(credentials: NewestCredentials) -> Table:
    """Return what waits under keys of these credentials, and why."""
    keys = ExternalKey.objects.filter(credential__in=credentials.ids).order_by()
    public_ids = credentials.rows.order_by().values_list(FingerprintOfPublicId("public_id"))
    # As values: for a subquery PostgreSQL may read the whole quarantine.
    found_by = keys.values_list("fingerprint").union(public_ids, all=True)
    fingerprints = {fingerprint for (fingerprint,) in found_by}
    under_them = Quarantined.objects.filter(released_at=None, fingerprint__in=fingerprints)
    waiting = under_them.of_credentials(credentials.rows)
    found = Counter(
        waiting.order_by().values_list("reason", "gateway", "fingerprint", "hint")[
            :MAX_WAITING_READ
        ]
    )
    gateways = Gateway.objects.in_bulk({gateway for _, gateway, *_ in found})
    rows: list[Sequence[Cell]] = []
    for (reason, gateway, fingerprint, hint), calls in found.most_common(MAX_ROWS):
        group = QuarantineGroup(
            reason=QuarantineReason(reason), fingerprint=fingerprint, gateway_id=gateway, hint=hint
        )
        address = _list_url(Quarantined, group=group.slug)
        why = format_html('<a href="{}">{}</a>', address, group.reason.label)
        is_cut = sum(found.values()) >= MAX_WAITING_READ
        count = f"at least {calls:,}" if is_cut else f"{calls:,}"
        rows.append((why, f"…{hint}", str(gateways.get(gateway, gateway)), count))
    return Table(
        title=f"Waiting in quarantine{credentials.in_words}",
        columns=("Why", "Key", "Gateway", "Calls"),
        rows=rows,
        url=_list_url(Quarantined),
        nothing="Nothing waits under its keys.",
    )


def _calls_table(scope: LedgerScope, url: str) -> Table:
    now = timezone.now()
    wanted = CallFilter(start=now - LATEST_CALLS_PERIOD, end=now + timedelta(days=1), counted=True)
    nothing_uncounted: Any = Quarantined.objects.none()
    nothing = f"No calls in the last {LATEST_CALLS_PERIOD.days} days."
    try:
        calls = list_calls(scope, nothing_uncounted, wanted, after=None, rows=MAX_ROWS)
    except SearchTookTooLong:
        calls, nothing = [], "They were not found in time. The list has them."
    gateways = Gateway.objects.in_bulk({call.gateway_id for call in calls})
    credentials = Credential.objects.in_bulk({call.credential_id for call in calls})
    return Table(
        title="Latest calls",
        columns=("When", "Gateway", "Credential", "Call", "Status", "Counted"),
        rows=[_call_row(call, gateways, credentials) for call in calls],
        url=url,
        nothing=nothing,
    )


def _call_row(
    call: ListedCall, gateways: Mapping[int, Gateway], credentials: Mapping[Any, Credential]
) -> Sequence[Cell]:
    receipt = reverse("admin:metering_transaction_change", args=[call.id])
    when = format_html('<a href="{}">{}</a>', receipt, moment_text(call.occurred_at, seconds=True))
    gateway, credential = gateways.get(call.gateway_id), credentials.get(call.credential_id)
    counted = ", ".join(f"{name} {format_quantity(n)}" for name, n in call.elements.items())
    return (
        *(when, str(gateway or ""), link_to(credential) if credential else None),
        *(f"{call.method} {call.path}".strip(), call.status, counted),
    )


# --- A customer -----------------------------------------------------------------------------------


def _customer_hub(customer: Customer, user: User) -> Iterator[Figure | Table]:
    now = timezone.now()
    mine = {"customer": customer.pk}
    credentials = Credential.objects.filter(customer=customer)
    newest = _newest_of(credentials)
    subscriptions = list(
        Subscription.objects.filter(customer=customer)
        .select_related("product")
        .order_by(models.F("active_until").desc(nulls_first=True), "-pk")[:MAX_SUBSCRIPTIONS_READ]
    )
    numbers = [each.pk for each in subscriptions]
    scope = LedgerScope(customers=[customer.pk], credentials=[], subscriptions=numbers)
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    sees_usage = user.has_perm("metering.view_usage")
    calls = _calls_by_subscription(scope, month, now) if sees_usage else {}
    if user.has_perm("revcred.view_credential"):
        yield from _state_figures(credentials, **mine)
    if user.has_perm("revcred.view_subscription"):
        active = sum(each.is_active_at(now) for each in subscriptions)
        url = _list_url(Subscription, state="active", **mine)
        yield _figure("Active subscriptions", active, url)
    if sees_usage:
        total = int(sum(calls.values()))
        url = _list_url_of(
            "metering_usage", **mine, element=CALLS_ELEMENT, since=f"{month:%Y-%m-%d}"
        )
        yield _figure(gettext("Calls this month"), total, url)
    if user.has_perm("revcred.view_subscription"):
        yield Table(
            title="Subscriptions",
            columns=("Name", "Product", "From", "Until", gettext("Calls this month")),
            rows=[
                (
                    *(link_to(each), link_to(each.product), each.active_from, each.active_until),
                    _against_quota(int(calls.get(each.pk, 0)), each.quota) if sees_usage else None,
                )
                for each in subscriptions[:MAX_ROWS]
            ],
            url=_list_url(Subscription, **mine),
            nothing="No subscriptions. Its calls are charged to nothing.",
        )
    if user.has_perm("revcred.view_membership"):
        yield _people_table(customer)
    if user.has_perm("revcred.view_credential"):
        yield _credentials_table(newest, _list_url(Credential, **mine))
    if user.has_perm("metering.view_quarantined"):
        yield _waiting_table(newest)
    if user.has_perm("metering.view_transaction"):
        yield _calls_table(scope, _list_url_of("metering_transaction", **mine))
    if user.has_perm("revcred.view_auditevent"):
        events = _events_about(
            {
                Customer: [customer.pk],
                Subscription: numbers,
                Credential: newest.ids[:MAX_CREDENTIALS_WITH_EVENTS],
            }
        )
        yield _events_table(events, reverse("admin:revcred_customer_history", args=[customer.pk]))


def _calls_by_subscription(scope: LedgerScope, start: datetime, now: datetime) -> dict[int, Any]:
    # Whole days: the end is not included.
    usage = ScopedUsage(scope, start=start, end=now + timedelta(days=1))
    return usage.by_element_and_party("subscription").get(CALLS_ELEMENT, {})


def _against_quota(calls: int, quota: int | None) -> Cell:
    if quota is None:
        return f"{calls:,}"
    share = f" ({100 * calls // quota} %)" if quota else ""
    text = f"{calls:,} of {quota:,}{share}"
    return badge(text, "warn") if calls > quota else text


def _people_table(customer: Customer) -> Table:
    members = Membership.objects.filter(customer=customer).select_related("subscriber__user")
    return Table(
        title="People",
        columns=("Address", "Name", "Role", "Invitation", "Last sign-in"),
        rows=[
            (
                *(link_to(each.subscriber), each.subscriber.name, each.get_role_display()),
                *(_invitation(each.subscriber), _last_sign_in(each.subscriber)),
            )
            for each in members.order_by("pk")[:MAX_ROWS]
        ],
        url=_list_url(Membership, customer=customer.pk),
        nothing="Nobody belongs to it, so nobody can see its keys.",
    )


def _invitation(subscriber: Subscriber) -> Cell:
    if subscriber.user_id is not None:
        return badge("signs in", "good")
    if subscriber.invited_at:
        return badge(f"invited {day_text(subscriber.invited_at)}", "warn")
    return badge("never invited", "over")


def _last_sign_in(subscriber: Subscriber) -> Cell:
    return (subscriber.user and subscriber.user.last_login) or "never"


# --- A subscriber, a product, a gateway -----------------------------------------------------------


def _subscriber_hub(subscriber: Subscriber, user: User) -> Iterator[Figure | Table]:
    held = Credential.objects.filter(holders=subscriber)
    newest = _newest_of(held)
    if user.has_perm("revcred.view_credential"):
        yield from _state_figures(held, holder=subscriber.pk)
    if user.has_perm("revcred.view_membership"):
        memberships = Membership.objects.filter(subscriber=subscriber).select_related("customer")
        rows = [
            (link_to(each.customer), each.get_role_display()) for each in memberships[:MAX_ROWS]
        ]
        yield Table(
            title="Customers",
            columns=("Name", "Role"),
            rows=rows,
            url=_list_url(Membership, subscriber=subscriber.pk),
            nothing="A member of no customer, so that nothing can be seen there.",
        )
    if user.has_perm("revcred.view_credential"):
        yield _credentials_table(newest, _list_url(Credential, holder=subscriber.pk))
    if user.has_perm("metering.view_quarantined"):
        yield _waiting_table(newest)
    if user.has_perm("revcred.view_auditevent"):
        about: dict[type[models.Model], Iterable[int]] = {Subscriber: [subscriber.pk]}
        if subscriber.user_id:
            about[User] = [subscriber.user_id]
        history = reverse("admin:revcred_subscriber_history", args=[subscriber.pk])
        yield _events_table(_events_about(about), history)


def _product_hub(product: Product, user: User) -> Iterator[Figure | Table]:
    now = timezone.now()
    mine = {"product": product.pk}
    if user.has_perm("revcred.view_subscription"):
        newest = Subscription.objects.filter(product=product).order_by("-pk")
        counts = newest[:MAX_SUBSCRIPTIONS_COUNTED].aggregate(
            active=Count("pk", Q(active_from__lte=now) & ~Q(active_until__lte=now)),
            ended=Count("pk", Q(active_until__lte=now)),
            later=Count("pk", Q(active_from__gt=now)),
        )
        among = _of_newest(sum(counts.values()), MAX_SUBSCRIPTIONS_COUNTED)
        labels = {"active": "Active", "ended": "Ended", "later": "Later"}
        for state, label in labels.items():
            url = _list_url(Subscription, state=state, **mine)
            yield _figure(f"{label} subscriptions{among}", counts[state], url)
    if user.has_perm("metering.view_usage"):
        label = gettext("Calls in the last %(days)s days") % {"days": RECENT_CALLS_DAYS}
        value = _recent_calls_in_words(product)
        since = f"{now - timedelta(days=RECENT_CALLS_DAYS):%Y-%m-%d}"
        url = _list_url_of("metering_usage", **mine, element=CALLS_ELEMENT, since=since)
        yield Figure(label=label, value=value, url=url)
    if user.has_perm("revcred.view_subscription"):
        latest = Subscription.objects.filter(product=product).select_related("customer")
        yield Table(
            title="Latest subscriptions",
            columns=("Name", "Customer", "From", "Until"),
            rows=[
                (link_to(each), link_to(each.customer), each.active_from, each.active_until)
                for each in latest.order_by("-pk")[:MAX_ROWS]
            ],
            url=_list_url(Subscription, **mine),
            nothing="Nobody subscribes to it.",
        )
    if user.has_perm("revcred.view_auditevent"):
        history = reverse("admin:revcred_product_history", args=[product.pk])
        yield _events_table(_events_about({Product: [product.pk]}), history)


def _recent_calls_in_words(product: Product) -> str:
    """Return the calls to a product, unless its subscriptions are too many to sum up for a page."""
    some = Subscription.objects.filter(product=product).values("pk")
    if some[: MAX_SUBSCRIPTIONS_SUMMED + 1].count() > MAX_SUBSCRIPTIONS_SUMMED:
        return "see its usage"
    lately = hooks.recent_calls_of(product=product)
    return f"{lately.calls:,}" if lately.is_complete else f"more than {lately.calls:,}"


def _gateway_hub(gateway: Gateway, user: User) -> Iterator[Figure | Table]:
    mine = {"gateway": gateway.pk}
    since = timezone.now() - timedelta(days=1)
    if user.has_perm("metering.view_intakestats"):
        fields = ("accepted", "attributed", "quarantined", "rejected", "conflicting")
        sums = IntakeStats.objects.filter(gateway=gateway, hour__gte=since).aggregate(
            **{name: Sum(name, default=0) for name in fields}
        )
        hours = _list_url(IntakeStats, **mine, since=f"{since:%Y-%m-%d %H:%M}")
        urls = {
            "attributed": _list_url_of("metering_transaction", **mine),
            "quarantined": _list_url(Quarantined, **mine),
            "rejected": _list_url_of("metering_rejection", **mine),
            "conflicting": _list_url_of("metering_conflict", **mine),
        }
        for name in fields:
            yield _figure(f"{name.capitalize()}, last 24 hours", sums[name], urls.get(name, hours))
    if user.has_perm("metering.view_quarantined"):
        yield _waiting_by_reason_table(gateway)
    if user.has_perm("metering.view_transaction"):
        yield _calls_of_gateway_table(gateway)
    if user.has_perm("revcred.view_credential"):
        keys = ExternalKey.objects.filter(gateway=gateway).values("credential").distinct()
        count = keys[: MAX_CREDENTIALS_COUNTED + 1].count()
        url = _list_url(Credential, **mine)
        label = "Credentials with a key only for it"
        is_cut = count > MAX_CREDENTIALS_COUNTED
        value = f"more than {MAX_CREDENTIALS_COUNTED:,}" if is_cut else f"{count:,}"
        yield Figure(label=label, value=value, url=url)
        yield from _drift_figures(gateway)
    if user.has_perm("revcred.view_auditevent"):
        history = reverse("admin:revcred_gateway_history", args=[gateway.pk])
        yield _events_table(_events_about({Gateway: [gateway.pk]}), history)


def _drift_figures(gateway: Gateway) -> Iterator[Figure]:
    """Yield how the keys that the gateway lets in differ from those that are valid here."""
    inventory = latest_inventory(gateway.pk)
    if inventory is None:
        return
    page = reverse("admin:revcred_gateway_drift", args=[gateway.pk])
    try:
        with (
            atomic(),
            connection.cursor() as cursor,
            statement_timeout(cursor, SEARCH_LIMIT_MILLISECONDS),
        ):
            counts = count_drift_lately(inventory)
    except OperationalError as error:
        if not failures.took_too_long(error):
            raise
        yield Figure(label="Keys that it lets in", value="Compare", url=page)
        return
    for kind, count in counts.items():
        if count or kind == DriftKind.WORKS_THERE:
            url = f"{page}?{urlencode({'show': kind.value})}"
            yield _figure(f"Keys: {kind.label[0].lower()}{kind.label[1:]}", count, url)


def _waiting_by_reason_table(gateway: Gateway) -> Table:
    """Return why calls of the gateway wait, counted over its latest ones."""
    since = first_id_at(timezone.now() - LATEST_CALLS_PERIOD)
    waiting = Quarantined.objects.filter(gateway=gateway, released_at=None, pk__gte=since)
    latest = waiting.order_by("-pk").values_list("reason", flat=True)
    reasons = Counter(_quickly_found(latest[:MAX_WAITING_READ]))
    is_cut = sum(reasons.values()) >= MAX_WAITING_READ
    rows: list[Sequence[Cell]] = [
        (
            format_html(
                '<a href="{}">{}</a>',
                _list_url(Quarantined, gateway=gateway.pk, reason=reason),
                QuarantineReason(reason).label,
            ),
            f"{calls:,}",
        )
        for reason, calls in reasons.most_common()
    ]
    return Table(
        title=f"Waiting in quarantine, of the latest {MAX_WAITING_READ:,}"
        if is_cut
        else "Waiting in quarantine",
        columns=("Why", "Calls"),
        rows=rows,
        url=_list_url(Quarantined, gateway=gateway.pk),
        nothing=f"Nothing of the last {LATEST_CALLS_PERIOD.days} days was found.",
    )


def _calls_of_gateway_table(gateway: Gateway) -> Table:
    """Return the calls of the gateway that were attributed last."""
    url = _list_url_of("metering_transaction", gateway=gateway.pk)
    since = timezone.now() - GATEWAY_CALLS_PERIOD
    latest = Transaction.objects.filter(gateway=gateway, sign=1, pk__gte=first_id_at(since))
    latest = latest.select_related("customer", "credential").order_by("-pk")
    calls = _quickly_found(latest[:MAX_ROWS])
    return Table(
        title="Latest calls",
        columns=("When", "Customer", "Credential", "Call", "Status"),
        rows=[
            (
                format_html(
                    '<a href="{}">{}</a>',
                    reverse("admin:metering_transaction_change", args=[call.pk]),
                    moment_text(call.occurred_at, seconds=True),
                ),
                *(str(call.customer), link_to(call.credential) if call.credential else None),
                *(f"{call.method} {call.path}".strip(), call.status),
            )
            for call in calls
        ],
        url=url,
        nothing="No calls of the last 24 hours were found.",
    )


def _quickly_found(rows: QuerySet[Any, Any]) -> list[Any]:
    """Return the rows, or none if PostgreSQL takes long, such as among many of other gateways."""
    try:
        with (
            atomic(),
            connection.cursor() as cursor,
            statement_timeout(cursor, SEARCH_LIMIT_MILLISECONDS),
        ):
            return list(rows)
    except OperationalError as error:
        if not failures.took_too_long(error):
            raise
        return []


HUBS: Mapping[type[models.Model], Callable[[Any, User], Iterator[Figure | Table]]] = {
    Customer: _customer_hub,
    Subscriber: _subscriber_hub,
    Product: _product_hub,
    Gateway: _gateway_hub,
}
