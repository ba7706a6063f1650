"""What pages of actions share: they ask for the password where needed, and say what was done."""

from dataclasses import dataclass

from django.core.exceptions import PermissionDenied

from revcred.accounts.second_factor import was_confirmed_lately
from revcred.actions.own_credentials import NotAllowed
from storefront.access import SignedInRequest, confirm_password
from storefront.action_forms import ActionForm
from storefront.forms import ConfirmPasswordForm


@dataclass(frozen=True)
class ActionAttempt:
    """What became of a request to a page of an action.

    `sentence`: what was done, empty if nothing was. `password`: the form that asks for it, or None
    if it need not be asked for.
    """

    sentence: str
    password: ConfirmPasswordForm | None
    status: int


def attempt_action(
    request: SignedInRequest, form: ActionForm, *, is_final: bool = True
) -> ActionAttempt:
    """Perform a posted action, if its form is valid and the password is right.

    `is_final`: False for the first of two steps, which only shows what the second will do. Raises
    PermissionDenied if the role was changed while the page was open.
    """
    is_posted = is_final and request.method == "POST"
    is_asked = form.is_confirmed_by_password and not was_confirmed_lately(request)
    data = request.POST if is_posted else None
    password = ConfirmPasswordForm(data, user=request.user) if is_asked else None
    if not is_posted or not form.is_valid():
        return ActionAttempt("", password, 200)
    if not confirm_password(request, password):
        return ActionAttempt("", password, 403)
    try:
        return ActionAttempt(form.try_action(request.user), password, 200)
    except NotAllowed:
        raise PermissionDenied from None
