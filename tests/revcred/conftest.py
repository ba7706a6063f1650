import logging
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest

from revcred import metering_port
from revcred.metering_port import connect_metering, connected_metering
from revcred.models import CompanySignIn, KeyringCheck, OutgoingMail, SealedValue, UploadChange
from tests.owner import owner_cursor

SEALED = [
    SealedValue._meta.get_field("value"),
    SealedValue._meta.get_field("secret"),
    KeyringCheck._meta.get_field("text"),
    UploadChange._meta.get_field("secret"),
    OutgoingMail._meta.get_field("body"),
    CompanySignIn._meta.get_field("client_secret"),
]


def _forget_derived_keys() -> None:
    """A field derives the keys of its ring once, because in a process they don't change."""
    for field in SEALED:
        for derived in ("fernet", "fernet_keys"):
            field.__dict__.pop(derived, None)


@pytest.fixture
def ring(settings: Any, db: None) -> Iterator[Callable[..., None]]:
    """Exchanges the ring: `ring("new", "old")`."""
    # A thread that keeps fingerprints fresh commits the check beside the transaction of its test.
    with owner_cursor() as cursor:
        cursor.execute("DELETE FROM revcred_keyringcheck")

    def exchange(*keys: str) -> None:
        settings.FERNET_KEYS = list(keys)
        _forget_derived_keys()

    exchange("first")
    yield exchange
    _forget_derived_keys()


@pytest.fixture
def log() -> Iterator[Callable[[], str]]:
    """What the console is told, by the handlers that serve every process."""
    told = StringIO()
    handlers = [
        each
        for name in ("django", None)
        for each in logging.getLogger(name).handlers
        if isinstance(each, logging.StreamHandler) and each.name == "console"
    ]
    streams = [(each, each.setStream(told)) for each in handlers]
    yield told.getvalue
    for handler, stream in streams:
        if stream is not None:
            handler.setStream(stream)


@pytest.fixture
def announced() -> Iterator[list[dict[str, Any]]]:
    """What the core has told metering of assignments that changed."""
    heard: list[dict[str, Any]] = []
    metering = connected_metering()
    assert metering

    class Hearing(type(metering)):  # type: ignore[misc]
        def change_assignments(self, change: metering_port.AssignmentChange) -> Any:
            heard.append(vars(change))
            return super().change_assignments(change)

    connect_metering(Hearing())
    yield heard
    connect_metering(metering)
