"""Lists as people bring them, and what becomes of them in the worker."""

from io import BytesIO

import pytest

from revcred.models import Upload
from revcred.uploads import actions
from revcred.uploads.columns import ListKind
from revcred.uploads.worker import process_waiting_uploads
from tests import factories


@pytest.fixture(autouse=True)
def _place(settings, tmp_path):
    settings.UPLOADS_DIR = tmp_path / "uploads"


@pytest.fixture
def uploaded():
    """A list that has been received and checked: `uploaded("customer,name\\nacme,Orders\\n")`."""

    def upload(
        text, *, kind=ListKind.CREDENTIALS, name="list.csv", by=None, fixed_values=None, **choices
    ):
        made = actions.receive_upload(
            kind=kind,
            file=BytesIO(text.encode()),
            name=name,
            by=by,
            fixed_values=fixed_values,
            # Most lists here are about something else, and name no keys.
            choices=actions.UploadChoices(**{"missing_keys": "generate"} | choices),
        )
        return worked(made)

    return upload


def worked(upload):
    """After a worker has done all that waits."""
    process_waiting_uploads()
    upload.refresh_from_db()
    return upload


@pytest.fixture
def applied(uploaded):
    """A list whose good rows have been applied as well."""

    def apply(text, *, whole=False, applier=None, **how):
        upload = uploaded(text, **how)
        actions.apply_upload(
            upload=upload, by=applier or factories.an_admin(), all_or_nothing=whole
        )
        return worked(upload)

    return apply


@pytest.fixture
def undone():
    def undo(upload):
        actions.undo_upload(upload=upload, by=factories.an_admin())
        return worked(upload)

    return undo


def rows(header, *lines):
    return "\n".join([header, *lines, ""])


def counts(upload):
    """Rows of a preview by action, without those of 0."""
    assert upload.state == Upload.State.READY, upload.error
    return {action: count for action, count in upload.preview["counts"].items() if count}


def problems(upload):
    """Problems of rejected rows: row, column, message."""
    found = actions.list_row_problems(upload=upload)
    return [(each.row, each.column, each.message) for each in found]
