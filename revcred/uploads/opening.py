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
from revcred.uploads.columns import ListColumn, ListKind
from revcred.uploads.plans import LIST_PLANS
from revcred.uploads.reading import ListReader, UnreadableFile, open_list

ProgressCallback: TypeAlias = Callable[[Upload], None]


class UploadCancelled(Exception):
    """Somebody asked for it while it was under way."""


@contextmanager
def open_upload(upload: Upload) -> Iterator[ListReader]:
    """Its file. Raises UnreadableFile, also if it is not there."""
    path = files.list_file_path(upload.pk)
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


def mapped_columns(upload: Upload) -> dict[int, ListColumn]:
    named = columns.columns_by_name(ListKind(upload.kind))
    return {int(position): named[name] for position, name in upload.mapping.items()}


def stop_if_asked(upload: Upload) -> None:
    """Raises UploadCancelled."""
    upload.refresh_from_db(fields=["cancel_asked_at"])
    if upload.cancel_asked_at:
        raise UploadCancelled


@contextmanager
def long_statement_cursor() -> Iterator[CursorWrapper]:
    """In one transaction, for statements over all rows of an upload."""
    with atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"SET LOCAL statement_timeout = {int(UPLOAD_STATEMENT_TIMEOUT.total_seconds() * 1000)}"
        )
        cursor.execute(f"SET LOCAL work_mem = '{UPLOAD_WORK_MEM}'")
        cursor.execute(
            "SET LOCAL jit = off; SET LOCAL enable_bitmapscan = off"
        )  # see kinds.credentials.JUDGED
        yield cursor


def plan_arguments(upload: Upload, *, at: datetime) -> dict[str, Any]:
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


def count_also_created(cursor: CursorWrapper, upload: Upload) -> dict[str, int]:
    """How many of what rows name, that is not there yet."""
    counted = {}
    for name, statement in LIST_PLANS[ListKind(upload.kind)].adds.items():
        cursor.execute(
            statement.format(source=applicable_rows(upload)),
            plan_arguments(upload, at=timezone.now()),
        )
        counted[name] = cursor.fetchone()[0]
    return counted


def applicable_rows(upload: Upload, between: str = "true") -> str:
    """The rows that change anything, for a FROM: what they say, and what was found of them."""
    kind = ListKind(upload.kind)
    found = [f"{name} AS known_{name}" for name in ("action", "was", "target_id", "effects")]
    names = ", ".join(
        ["number", "invalid", *staging.staged_column_names(kind), *found, *LIST_PLANS[kind].made]
    )
    return (
        f"(SELECT {names} FROM {staging.staging_table(upload.pk)} "
        f"WHERE action IN ('create', 'update', 'move') AND {between})"
    )


UPLOAD_STATEMENT_TIMEOUT = timedelta(minutes=30)  # for statements over all rows


UPLOAD_WORK_MEM = "64MB"  # that PostgreSQL may sort and hash in, of each
