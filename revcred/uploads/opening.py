"""What checking, applying and undoing share: an open upload, its rows and its cursor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.transaction import atomic
from django.utils import timezone

from revcred.models import Gateway, Product, Upload
from revcred.uploads import columns, files, staging
from revcred.uploads.columns import Column, Kind
from revcred.uploads.plans import MERGES
from revcred.uploads.reading import ListReader, UnreadableFile, open_list

Tell: TypeAlias = Callable[[Upload], None]


class Cancelled(Exception):
    """Somebody asked for it while it was under way."""


@contextmanager
def open_upload(upload: Upload) -> Iterator[ListReader]:
    """Its file. Raises UnreadableFile, also if it is not there."""
    path = files.path_of(upload.pk)
    if not path.exists():
        message = "The file is not where the worker looks for it: UPLOADS_DIR has to be shared."
        raise UnreadableFile(message)
    with open_list(
        path,
        name=upload.file_name,
        encoding=upload.encoding or None,
        delimiter=upload.delimiter or None,
    ) as read:
        yield read


def mapped_of(upload: Upload) -> dict[int, Column]:
    named = columns.named(Kind(upload.kind))
    return {int(position): named[name] for position, name in upload.mapping.items()}


def stop_if_asked(upload: Upload) -> None:
    """Raises Cancelled."""
    upload.refresh_from_db(fields=["cancel_asked_at"])
    if upload.cancel_asked_at:
        raise Cancelled


@contextmanager
def patient_cursor() -> Iterator[CursorWrapper]:
    """In one transaction, for statements over all rows of an upload."""
    with atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {int(LONG.total_seconds() * 1000)}")
        cursor.execute(f"SET LOCAL work_mem = '{MEMORY}'")
        cursor.execute(
            "SET LOCAL jit = off; SET LOCAL enable_bitmapscan = off"
        )  # see kinds.credentials.JUDGED
        yield cursor


def arguments(upload: Upload, *, at: datetime) -> dict[str, Any]:
    """What the statements of every kind may ask for."""
    choices = upload.choices
    product = Product.objects.filter(external_key=choices.get("product", "")).first()
    return {
        "upload": upload.pk,
        "now": at,
        "oldest": at - Gateway.objects.longest_accepted_age(),
        "create_customers": choices.get("customers") == "create",
        "create_subscribers": choices.get("subscribers") == "create",
        "create_subscriptions": choices.get("subscriptions") == "create",
        "take_over": choices.get("keys_of_others") == "take_over",
        "people_of_others": choices.get("people_of_others") == "join",
        "use_again": choices.get("revoked_keys") == "use_again",
        "product": product.pk if product else None,
    }


def count_added(cursor: CursorWrapper, upload: Upload) -> dict[str, int]:
    """How many of what rows name, that is not there yet."""
    counted = {}
    for name, statement in MERGES[Kind(upload.kind)].adds.items():
        cursor.execute(
            statement.format(source=applicable(upload)), arguments(upload, at=timezone.now())
        )
        counted[name] = cursor.fetchone()[0]
    return counted


def applicable(upload: Upload, between: str = "true") -> str:
    """The rows that change anything, for a FROM: what they say, and what was found of them."""
    kind = Kind(upload.kind)
    found = [f"{name} AS known_{name}" for name in ("action", "was", "target_id", "effects")]
    names = ", ".join(["number", "invalid", *staging.facts(kind), *found, *MERGES[kind].made])
    return (
        f"(SELECT {names} FROM {staging.table(upload.pk)} "
        f"WHERE action IN ('create', 'update', 'move') AND {between})"
    )


LONG = timedelta(minutes=30)  # for statements over all rows


MEMORY = "64MB"  # that PostgreSQL may sort and hash in, of each
