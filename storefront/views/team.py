"""Pages on which owners manage the people of their customer."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from revcred.actions import teams
from revcred.models import Credential, Customer, Membership, Subscriber
from storefront.access import SignedInRequest, never_cached, own_team, sign_in_required
from storefront.history import key_history_of
from storefront.team_forms import HoldingsForm, InviteForm, MemberForm, TeamForm
from storefront.views.confirmed_actions import attempt_action

PEOPLE_PER_PAGE = 50
HOLDINGS_PER_PAGE = 20
MAX_PEOPLE_BESIDE = 8  # columns of the table of holders


@require_safe
@sign_in_required
def team_page(request: SignedInRequest) -> HttpResponse:
    """Show the people of a customer to its owners; tell others who their owners are."""
    user, now = request.user, timezone.now()
    memberships = Membership.objects.filter(subscriber__user=user).select_related("customer")
    customer = _chosen_customer(request)
    context: dict[str, Any] = {"memberships": memberships.order_by("customer__name", "pk")}
    if customer is None:
        of_own = Membership.objects.filter(customer__in=memberships.values("customer"))
        owners = of_own.filter(role=Membership.Role.OWNER).select_related("subscriber")
        for each in context["memberships"]:
            each.owners = [owner for owner in owners if owner.customer_id == each.customer_id]
        return render(request, "storefront/team_of_others.html", context)
    held = Count(
        "subscriber__credentials",
        filter=Q(
            subscriber__credentials__customer=customer,
            subscriber__credentials__revoked_at=None,
        ),
        distinct=True,
    )
    people = (
        own_team(user)
        .filter(customer=customer)
        .select_related("subscriber__user")
        .annotate(held=held)
        .order_by("subscriber__email")
    )
    context |= {
        "now": now,
        "customer": customer,
        "owned": Customer.objects.owned_by(user).order_by("name", "pk"),
        "page": Paginator(people, PEOPLE_PER_PAGE).get_page(request.GET.get("page")),
        "invitations_from": now - timedelta(seconds=settings.PASSWORD_RESET_TIMEOUT),
        "key_history": key_history_of(customer, now),
        "is_permitted": teams.ACTION in settings.SUBSCRIBER_ACTIONS,
    }
    return render(request, "storefront/team.html", context)


@never_cached
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters()
@sign_in_required
def invite_page(request: SignedInRequest) -> HttpResponse:
    """Ask whom to invite, and do it."""
    customer = _owned_customer(request)
    data = request.POST if request.method == "POST" else None
    return _answer(request, InviteForm(data, customer=customer, request=request))


@never_cached
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters()
@sign_in_required
def member_page(
    request: SignedInRequest, membership: int, form_class: type[MemberForm]
) -> HttpResponse:
    """On GET tell what the action on a member will do; on POST perform it."""
    team = own_team(request.user).select_related("customer", "subscriber__user")
    found = get_object_or_404(team, pk=membership)
    _check_permitted()
    data = request.POST if request.method == "POST" else None
    return _answer(request, form_class(data, membership=found, request=request))


@never_cached
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters()
@sign_in_required
def holders_page(request: SignedInRequest) -> HttpResponse:
    """Show credentials beside people, and change who holds which after a confirmation."""
    customer = _owned_customer(request)
    of_customer = Credential.objects.filter(customer=customer, revoked_at=None)
    if chosen := request.GET.get("credential", ""):
        try:
            of_customer = of_customer.filter(pk=chosen)
        except ValueError:
            raise Http404 from None
    rows = of_customer.order_by("name", "pk").prefetch_related("holders")
    page = Paginator(rows, HOLDINGS_PER_PAGE).get_page(request.GET.get("page"))
    everybody = Subscriber.objects.filter(memberships__customer=customer).order_by("email")
    people = Paginator(everybody, MAX_PEOPLE_BESIDE).get_page(request.GET.get("people"))
    boxes = {
        f"{credential.pk}-{holder.pk}" for credential in page for holder in credential.holders.all()
    }
    data = None
    if request.method == "POST":
        data = request.POST.copy()
        # The table sends a field for each box; the page that asks to confirm sends them as one.
        data["held"] = " ".join([*request.POST.getlist("box"), request.POST.get("held", "")])
    form = HoldingsForm(
        data, customer=customer, request=request, shown=list(page), people=list(people)
    )
    if data is not None and form.is_valid() and form.changes:
        return _answer(request, form, is_final="confirmed" in data)
    if data is not None:
        messages.info(request, gettext("No holder was changed."))
        return HttpResponseRedirect(request.get_full_path())
    context = {
        "customer": customer,
        "page": page,
        "people": people,
        "rows": [
            (
                credential,
                [
                    (
                        person,
                        f"{credential.pk}-{person.pk}",
                        f"{credential.pk}-{person.pk}" in boxes,
                    )
                    for person in people
                ],
            )
            for credential in page
        ],
        "was": " ".join(sorted(boxes)),
    }
    return render(request, "storefront/holders.html", context)


def _answer(request: SignedInRequest, form: TeamForm, *, is_final: bool = True) -> HttpResponse:
    """Perform the form's action and lead back to the team, or show the form.

    `is_final`: False only shows what it will do.
    """
    attempt = attempt_action(request, form, is_final=is_final)
    if attempt.sentence:
        messages.success(request, attempt.sentence)
        return HttpResponseRedirect(_address_of(form.customer))
    context = {
        "form": form,
        "password": attempt.password,
        "customer": form.customer,
        "back": _address_of(form.customer),
    }
    return render(request, "storefront/team_action.html", context, status=attempt.status)


def _address_of(customer: Customer) -> str:
    query = urlencode({"customer": customer.pk})
    return f"{reverse('storefront:team')}?{query}"


def _chosen_customer(request: SignedInRequest) -> Customer | None:
    """Return the owned customer that the address names, or the first; None who owns none."""
    owned = Customer.objects.owned_by(request.user).order_by("name", "pk")
    number = request.GET.get("customer", "")
    if not number:
        return owned.first()
    try:
        return get_object_or_404(owned, pk=number)
    except ValueError:
        raise Http404 from None


def _owned_customer(request: SignedInRequest) -> Customer:
    """Return the customer whose team is changed. Raises Http404 who may not."""
    _check_permitted()
    customer = _chosen_customer(request)
    if customer is None:
        raise Http404
    return customer


def _check_permitted() -> None:
    if teams.ACTION not in settings.SUBSCRIBER_ACTIONS:
        raise Http404
