"""Pages on which subscribers rotate, suspend, resume and revoke their own credentials."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from revcred.actions.permitted_actions import permitted_actions
from revcred.models import Credential, ExternalKey
from storefront.access import (
    SignedInRequest,
    check_may_manage,
    never_cached,
    own_credentials,
    sign_in_required,
)
from storefront.action_forms import OwnActionForm, RotateOwnForm
from storefront.views.confirmed_actions import attempt_action


@never_cached
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters()
@sign_in_required
def action_page(
    request: SignedInRequest,
    credential: int,
    form_class: type[OwnActionForm],
    key: int | None = None,
) -> HttpResponse:
    """On GET tell what the action will do; on POST perform it. Raises PermissionDenied."""
    found = get_object_or_404(
        own_credentials(request.user).select_related("customer"), pk=credential
    )
    if form_class.permitted_as not in permitted_actions(found):
        raise Http404
    its_key = None
    if key is not None:
        keys = found.keys.filter(kind=ExternalKey.Kind.KEY, active_until__isnull=False)
        its_key = get_object_or_404(keys.select_related("credential__customer"), pk=key)
    check_may_manage(request.user, found)
    data = request.POST if request.method == "POST" else None
    form = form_class(data, credential=found, key=its_key)
    attempt = attempt_action(request, form)
    if attempt.sentence:
        messages.success(request, attempt.sentence)
        return HttpResponseRedirect(_address_afterwards(found, form))
    context: dict[str, Any] = {"credential": found, "form": form, "password": attempt.password}
    if form.is_tried_first and not form.problem:
        context["found"] = form.try_first(request.user)
    return render(request, "storefront/action.html", context, status=attempt.status)


def _address_afterwards(credential: Credential, form: OwnActionForm) -> str:
    address = reverse("storefront:credential", args=[credential.pk])
    if isinstance(form, RotateOwnForm) and form.new_key:
        # There the new key is shown, so that neither reload nor Back makes another one.
        return f"{address}?new={form.new_key.pk}"
    return address
