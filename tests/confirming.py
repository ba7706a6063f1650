"""Say yes to what the administration asks before anything counted moves."""

from collections.abc import Callable
from typing import Any

from revcred import hooks
from revcred.metering_port import Consequences


def asked(response: Any) -> bool:
    """Whether the page asks instead of having done it."""
    return response.status_code == 200 and "carried" in (response.context or {})


def confirm(client: Any, response: Any) -> Any:
    """Post what the page asks about, as its button does."""
    assert asked(response)
    typed: dict[str, list[str]] = {}
    for name, value in response.context["carried"]:
        typed.setdefault(name, []).append(value)
    return client.post(response.request["PATH_INFO"], typed)


def post(client: Any, address: str, typed: dict[str, Any]) -> Any:
    """Post it, and say yes if that is asked."""
    response = client.post(address, typed)
    return confirm(client, response) if asked(response) else response


def consequences_of(action: Callable[[], Any]) -> Consequences:
    """Return what the action would move, and take it back."""
    return hooks.try_out(action, keep=lambda _, __: False).consequences
