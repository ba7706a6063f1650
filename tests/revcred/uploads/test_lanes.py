"""Whose turn it is: checks and small lists do not wait for a long one."""

import time
from io import BytesIO
from threading import Event

import pytest

from revcred.models import Upload
from revcred.uploads import actions, applying, lanes, worker
from revcred.uploads.columns import ListKind
from tests import factories
from tests.revcred.uploads.conftest import rows

pytestmark = pytest.mark.django_db(transaction=True)

LONG = lanes.SMALL_LIST_BYTES + 1
WAIT_SECONDS = 30


def received(name, *, size):
    text = rows("customer,name", f"acme,{name}")
    upload = actions.receive_upload(
        kind=ListKind.CREDENTIALS, file=BytesIO(text.encode()), name=name, by=None
    )
    Upload.objects.filter(pk=upload.pk).update(size=size)
    return upload


def states():
    return dict(Upload.objects.order_by("pk").values_list("file_name", "state"))


def test_checks_and_small_lists_do_not_wait_for_a_long_one(uploaded, monkeypatch):
    factories.a_customer("Acme")
    long = uploaded(rows("customer,name", "acme,Long"), name="long")
    Upload.objects.filter(pk=long.pk).update(size=LONG)
    actions.apply_upload(upload=long, by=factories.an_admin(), all_or_nothing=False)
    apply_chunks = applying.apply_chunks

    def apply_last(upload, **how):
        if upload.pk == long.pk:
            for name, size in (("check", LONG), ("small", 1)):  # brought while it is being applied
                received(name, size=size)
            deadline = time.monotonic() + WAIT_SECONDS
            while {*states().values()} != {"applying", "ready"}:
                assert time.monotonic() < deadline, states()
                time.sleep(0.05)
        apply_chunks(upload, **how)

    monkeypatch.setattr(applying, "apply_chunks", apply_last)

    worker.process_in_lanes(stopping=Event())

    assert states() == {"long": "applied", "check": "ready", "small": "ready"}


def test_the_uploads_before_one_are_those_of_its_lane():
    uploads = {
        name: received(name, size=size)
        for name, size in (("a", LONG), ("b", 1), ("c", LONG), ("d", 1), ("e", LONG))
    }
    Upload.objects.filter(file_name="c").update(state=Upload.State.UNDOING)

    def before(name):
        uploads[name].refresh_from_db()
        return [each.file_name for each in lanes.uploads_before(uploads[name])]

    assert {name: before(name) for name in uploads} == {
        "a": [],
        "b": [],
        "c": [],
        "d": ["b"],
        "e": ["a"],
    }
