"""Ways to confirm who asks, for templates."""

from typing import Any

from django import template

from storefront.access import other_confirmations

register = template.Library()


@register.inclusion_tag("storefront/_other_confirmations.html", takes_context=True)
def confirm_another_way(context: dict[str, Any]) -> dict[str, Any]:
    """Offer a passkey or a code in place of the password, to whoever has one."""
    request = context["request"]
    return {"ways": other_confirmations(request), "user": request.user}
