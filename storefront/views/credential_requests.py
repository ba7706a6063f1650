"""Pages on which subscribers issue credentials, or request them."""

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods

from revcred.actions import credential_requests
from revcred.models import Credential, CredentialRequest
from storefront.access import SignedInRequest, never_cached, sign_in_required
from storefront.request_forms import NewCredentialForm


@never_cached
@require_http_methods(["GET", "HEAD", "POST"])
@sign_in_required
def new_credential_page(request: SignedInRequest) -> HttpResponse:
    """Ask for a new credential, tell what will happen, and do it."""
    offered = credential_requests.offered_subscriptions(request.user)
    data = request.POST if request.method == "POST" else None
    form = NewCredentialForm(data, offered=offered)
    is_confirming = False
    if data is not None and "back" not in data and form.is_valid():
        if not form.cleaned_data["confirmed"]:
            is_confirming = True
        elif made := form.perform(request.user):
            return _to_what_was_made(request, made)
    products = {each.product_id: each.product for each in offered}
    context = {
        "form": form,
        "is_confirming": is_confirming,
        "is_offered": bool(products),
        "described": [product for product in products.values() if product.description],
    }
    return render(request, "storefront/new_credential.html", context)


def _to_what_was_made(
    request: SignedInRequest, made: Credential | CredentialRequest
) -> HttpResponse:
    if isinstance(made, Credential):
        messages.success(request, gettext("“%(made)s” was issued.") % {"made": made})
        address = reverse("storefront:credential", args=[made.pk])
        return HttpResponseRedirect(f"{address}?new={made.keys.latest('pk').pk}")
    messages.success(
        request,
        gettext("You have requested “%(made)s”. You get a mail once it is decided.")
        % {"made": made},
    )
    return HttpResponseRedirect(reverse("storefront:credentials"))


@require_http_methods(["POST"])
@sign_in_required
def withdraw_request(request: SignedInRequest, number: int) -> HttpResponse:
    """Withdraw one's own request, or one of a customer that one owns."""
    visible = CredentialRequest.objects.visible_to(request.user)
    found = get_object_or_404(visible.select_related("customer", "subscription"), pk=number)
    try:
        credential_requests.withdraw_request(request=found, by=request.user)
    except credential_requests.AlreadyDecided:
        messages.warning(
            request,
            gettext("The request for “%(found)s” has been decided already.") % {"found": found},
        )
    else:
        messages.success(
            request, gettext("The request for “%(found)s” was withdrawn.") % {"found": found}
        )
    return HttpResponseRedirect(reverse("storefront:credentials"))
