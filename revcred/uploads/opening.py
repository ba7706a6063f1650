"""Access to an upload's file, rows and statements, shared by checking, applying and undoing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.transaction import atomic
from django.utils import timezone
from django.utils.translation import gettext_noop

from revcred.models import Gateway, Product, Upload
from revcred.uploads import columns, files, staging
from revcred.uploads.columns import ListColumn, ListKind
from revcred.uploads.plans import LIST_PLANS
from revcred.uploads.plans.plan_subscriptions import DEFAULT_KEY_PATTERN, MAX_NUMBERED_KEYS_TRIED
from revcred.uploads.reading import ListReader, UnreadableFile, open_list

UPLOAD_STATEMENT_TIMEOUT = timedelta(minutes=30)  # for statements over all rows of an upload
UPLOAD_WORK_MEM = "64MB"  # for each sort or hash of these statements

ProgressCallback: TypeAlias = Callable[[Upload], None]


class UploadCancelled(Exception):
    """Somebody cancelled the upload while a worker was processing it."""


@contextmanager
def open_upload(upload: Upload) -> Iterator[ListReader]:
    """Open the upload's file. Raises UnreadableFile, also if the file is missing."""
    path = files.list_file_path(upload.pk)
    if not path.exists():
        # The usual reason in production: web and worker run on machines with separate disks.
        message = gettext_noop(
            "The worker cannot find the file. Web and worker must share the directory UPLOADS_DIR."
        )
        raise UnreadableFile(message)
    with open_list(
        path,
        name=upload.file_name,
        encoding=upload.encoding or None,
        delimiter=upload.delimiter or None,
        header_row=upload.header_row,
    ) as read:
        yield read


def mapped_columns(upload: Upload) -> dict[int, ListColumn]:
    """Return revcred's column for each position of the file's header that is mapped."""
    by_name = columns.columns_by_name(ListKind(upload.kind))
    return {int(position): by_name[name] for position, name in upload.mapping.items()}


def stop_if_asked(upload: Upload) -> None:
    """Raises UploadCancelled if somebody has cancelled the upload."""
    upload.refresh_from_db(fields=["cancel_asked_at"])
    if upload.cancel_asked_at:
        raise UploadCancelled


@contextmanager
def long_statement_cursor() -> Iterator[CursorWrapper]:
    """Open a transaction with settings for statements over all rows of an upload."""
    with atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"SET LOCAL statement_timeout = {int(UPLOAD_STATEMENT_TIMEOUT.total_seconds() * 1000)}"
        )
        cursor.execute(f"SET LOCAL work_mem = '{UPLOAD_WORK_MEM}'")
        # Compiling takes longer than it saves. Bitmap scans: see CREDENTIALS_PLAN_QUERY.
        cursor.execute("SET LOCAL jit = off; SET LOCAL enable_bitmapscan = off")
        yield cursor


def plan_arguments(upload: Upload, *, at: datetime) -> dict[str, Any]:
    """Return the parameters of all plans' statements. `at` is the moment they take for now."""
    choices = upload.choices
    named = choices.get("product")
    product = Product.objects.filter(external_key=named).first() if named else None
    return {
        "upload": upload.pk,
        "now": at,
        # New keys count from here on: older transactions are not accepted any more.
        "oldest": Gateway.objects.oldest_accepted_moment(at),
        "create_customers": choices.get("customers") == "create",
        "create_subscribers": choices.get("subscribers") == "create",
        "create_subscriptions": choices.get("subscriptions") == "create",
        "duplicates": choices.get("duplicates") or "reject",
        "generate_keys": choices.get("missing_keys") == "generate",
        "keep_inactive": choices.get("inactive") == "keep",
        "create_plans": choices.get("plans") == "create",
        "plan_keys": choices.get("plan_keys") or DEFAULT_KEY_PATTERN,
        "numbered_keys_tried": MAX_NUMBERED_KEYS_TRIED,
        "take_over": choices.get("keys_of_others") == "take_over",
        "people_of_others": choices.get("people_of_others") == "join",
        "use_again": choices.get("revoked_keys") == "use_again",
        "product": product.pk if product else None,
    }


def count_also_created(cursor: CursorWrapper, upload: Upload) -> dict[str, int]:
    """Return how many things would be created because rows name them, by `rights.EFFECTS_OF_ADDED`.

    Zero where the choices do not allow it.
    """
    counted = {}
    source, arguments = applicable_rows(upload), plan_arguments(upload, at=timezone.now())
    for name, statement in LIST_PLANS[ListKind(upload.kind)].also_created_queries.items():
        cursor.execute(statement.format(source=source), arguments)
        counted[name] = cursor.fetchone()[0]
    return counted


def applicable_rows(upload: Upload, condition: str = "true") -> str:
    """Return a FROM item of the rows that change anything: values, and the plan of the check.

    Columns of the plan have the prefix `known_`, because the rows are planned again.
    """
    kind = ListKind(upload.kind)
    known = [f"{name} AS known_{name}" for name in ("action", "version", "target_id", "effects")]
    names = ", ".join(
        [
            *("number", "invalid"),
            *staging.staged_column_names(kind),
            *(name for name, _ in LIST_PLANS[kind].encoded_columns),
            *known,
            *LIST_PLANS[kind].id_sequences,
            *LIST_PLANS[kind].id_arrays,
        ]
    )
    return (
        f"(SELECT {names} FROM {staging.staging_table(upload.pk)} "
        f"WHERE action IN ('create', 'update', 'move') AND {condition})"
    )
