"""Lists as people bring them, and what becomes of them in the worker."""

from io import BytesIO

import pytest

from revcred.uploads import actions
from revcred.uploads.columns import Kind
from revcred.uploads.worker import work
from tests import factories


@pytest.fixture(autouse=True)
def _place(settings, tmp_path):
    settings.UPLOADS_DIR = tmp_path / "uploads"


@pytest.fixture
def uploaded():
    """A list that has been received and checked: `uploaded("customer,name\\nacme,Orders\\n")`."""

    def upload(text, *, kind=Kind.CREDENTIALS, name="list.csv", by=None, for_all=None, **choices):
        made = actions.receive(
            kind=kind,
            file=BytesIO(text.encode()),
            name=name,
            by=by,
            for_all=for_all,
            choices=actions.Choices(**choices),
        )
        return worked(made)

    return upload


def worked(upload):
    """After a worker has done all that waits."""
    work()
    upload.refresh_from_db()
    return upload


@pytest.fixture
def applied(uploaded):
    """A list whose good rows have been applied as well."""

    def apply(text, *, whole=False, applier=None, **how):
        upload = uploaded(text, **how)
        actions.apply(upload=upload, by=applier or factories.an_admin(), whole=whole)
        return worked(upload)

    return apply


@pytest.fixture
def undone():
    def undo(upload):
        actions.undo(upload=upload, by=factories.an_admin())
        return worked(upload)

    return undo


def rows(header, *lines):
    return "\n".join([header, *lines, ""])
