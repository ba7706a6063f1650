"""Lists to upload, and other ways to bring them in. Runs inside `manage.py shell`."""

import csv
import json
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from django.db.transaction import atomic
from django.utils import timezone
from import_export.fields import Field
from import_export.resources import ModelResource
from import_export.widgets import ForeignKeyWidget
from tablib import Dataset

from bench.stack import say
from revcred.fingerprints import fingerprint, hint
from revcred.models import (
    Assignment,
    Credential,
    Customer,
    ExternalKey,
    SealedValue,
    Subscription,
    Upload,
    User,
)
from revcred.uploads import actions
from revcred.uploads.columns import ListKind

AT_ONCE = 1_000


def receive(path: str) -> None:
    """Prints the number of the upload, and when a worker could begin."""
    with Path(path).open("rb") as file:
        upload = actions.receive_upload(
            kind=ListKind.CREDENTIALS, file=file, name=Path(path).name, by=None
        )
    say(json.dumps([upload.pk, time.time()]))


def apply(number: int) -> None:
    """Prints when a worker could begin."""
    admin = User.objects.filter(is_superuser=True)[0]
    actions.apply_upload(upload=Upload.objects.get(pk=number), by=admin, all_or_nothing=False)
    say(json.dumps(time.time()))


def bulk_create(path: str) -> None:
    """Row by row into objects, and these in bulk: what a team would write first."""
    _timed(lambda: _create(path))


def _create(path: str) -> None:
    with Path(path).open(newline="") as file:
        reader = csv.DictReader(file)
        while chunk := list(islice(reader, AT_ONCE)):
            _create_some(chunk)


@atomic
def _create_some(chunk: list[dict[str, str]]) -> None:
    now = timezone.now()
    customers = Customer.objects.in_bulk(
        {row["customer"] for row in chunk}, field_name="external_key"
    )
    named = Subscription.objects.filter(external_key__in={row["subscription"] for row in chunk})
    subscriptions = {each.external_key: each for each in named}
    made = [
        Credential(
            customer=customers[row["customer"]], name=row["name"], environment=row["environment"]
        )
        for row in chunk
    ]
    for each in made:
        each.clean_fields()
    Credential.objects.bulk_create(made)
    keys = [
        ExternalKey(
            credential=credential,
            fingerprint=fingerprint(row["key"]),
            hint=hint(row["key"]),
            active_from=now,
        )
        for credential, row in zip(made, chunk, strict=True)
    ]
    ExternalKey.objects.bulk_create(keys)
    SealedValue.objects.bulk_create(_sealed(keys, chunk))
    Assignment.objects.bulk_create(
        Assignment(
            credential=credential,
            customer=credential.customer,
            subscription=subscriptions[row["subscription"]],
            active_from=now,
        )
        for credential, row in zip(made, chunk, strict=True)
    )


def _sealed(keys: list[ExternalKey], chunk: list[dict[str, str]]) -> Iterator[SealedValue]:
    for key, row in zip(keys, chunk, strict=True):
        sealed = SealedValue(external_key=key)
        sealed.seal(value=row["key"], secret=row["secret"])
        yield sealed


class Listed(ModelResource):  # type: ignore[misc]
    """Of six columns the three that are the credential's own: no key, no secret, no assignment."""

    customer = Field(
        attribute="customer",
        column_name="customer",
        widget=ForeignKeyWidget(Customer, "external_key"),
    )

    class Meta:
        model = Credential
        fields = ("customer", "name", "environment")
        import_id_fields = ("customer", "name")
        use_bulk = True
        batch_size = AT_ONCE


def import_export(path: str, *, dry_run: bool) -> None:
    rows = Dataset().load(Path(path).read_text(), format="csv")
    _timed(lambda: Listed().import_data(rows, dry_run=dry_run, raise_errors=True))


def _timed(bring_in: Callable[[], Any]) -> None:
    """Prints seconds and this process's own CPU seconds."""
    began, spent = time.monotonic(), time.process_time()
    bring_in()
    say(json.dumps([time.monotonic() - began, time.process_time() - spent]))
