"""Somebody uploads lists, applies them, and undoes some, one after the other.

To be imported where the application is configured.
"""

import csv
import io
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.faults.insisting import LOST_ROWS, ask, insist
from bench.faults.world import (
    CUSTOMERS,
    PEOPLE_OF_LIST,
    STANDING_CREDENTIAL,
    SUBSCRIPTIONS,
    UploadedList,
)
from revcred.models import Credential, Customer, Upload, User
from revcred.uploads import actions
from revcred.uploads.columns import ListKind

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

UNDONE_SHARE = 0.5  # of the lists
POLL_SECONDS = 0.2  # seconds
MAX_PHASE_SECONDS = 300.0  # for one phase of a list, however many faults come
LIST_COLUMNS = ("customer", "name", "key", "subscription", "holders", "environment")


class Uploader:
    def __init__(self, chance: random.Random) -> None:
        self.lists: list[UploadedList] = []
        self._chance = chance
        self._admin = User.objects.create_superuser(email="admin@lists.example", password=None)
        customer = Customer.objects.get(external_key="customer-0")
        Credential.objects.create(customer=customer, name=STANDING_CREDENTIAL)

    def upload_until(self, stopped: "Event") -> None:
        """The last list is finished, too."""
        while not stopped.is_set():
            what = UploadedList(len(self.lists), is_undone=self._chance.random() < UNDONE_SHARE)
            try:
                self._upload(what)
            except (*LOST_ROWS, TimeoutError) as problem:
                what = replace(what, problem=f"{what.name}: {problem}")
            self.lists.append(what)

    def _upload(self, what: UploadedList) -> None:
        insist(lambda: _receive(what))
        upload = _when(what, Upload.State.READY)
        insist(
            lambda: actions.apply_upload(upload=upload, by=self._admin, all_or_nothing=False),
            actions.WrongUploadState,
        )
        applied = _when(what, Upload.State.APPLIED)
        if what.is_undone:
            insist(
                lambda: actions.undo_upload(upload=applied, by=self._admin),
                actions.WrongUploadState,
            )
            _when(what, Upload.State.UNDONE)


def _receive(what: UploadedList) -> None:
    """Once: a try whose answer was lost may have done it."""
    if Upload.objects.filter(file_name=what.name).exists():
        return
    actions.receive_upload(
        kind=ListKind.CREDENTIALS,
        file=io.BytesIO(_csv_of(what).encode()),
        name=what.name,
        by=None,
        choices=actions.UploadChoices(subscribers="create"),
    )


def _csv_of(what: UploadedList) -> str:
    customer = f"customer-{what.number % CUSTOMERS}"
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(LIST_COLUMNS)
    rows.writerow(("customer-0", STANDING_CREDENTIAL, "", "", "", what.name))
    for number, name in enumerate(what.credentials()):
        holder = what.people()[number] if number < PEOPLE_OF_LIST else ""
        subscription = f"{customer}-{number % SUBSCRIPTIONS}"
        rows.writerow((customer, name, f"key-of-{name}", subscription, holder, ""))
    return text.getvalue()


def _when(what: UploadedList, state: Upload.State) -> Upload:
    """Wait for a state and return the upload. Raises TimeoutError; DoesNotExist if it was lost."""
    deadline = time.monotonic() + MAX_PHASE_SECONDS
    while True:
        upload = ask(lambda: Upload.objects.get(file_name=what.name))
        if upload.state == state:
            return upload
        if time.monotonic() > deadline:
            message = f"{what.name} is {upload.state} and never {state}: {upload.error}"
            raise TimeoutError(message)
        time.sleep(POLL_SECONDS)
