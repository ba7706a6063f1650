"""What the progress of an upload says, from the first second on."""

from datetime import timedelta

import pytest
from django.utils import timezone

from revcred.models import Upload
from revcred.uploads import actions, applying, checking, steps
from revcred.uploads.steps import STEP_TEXTS, UploadStep
from tests import factories
from tests.revcred.uploads.conftest import rows, worked

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timezone.now()


def an_upload(state=Upload.State.APPLYING, **fields):
    return Upload.objects.create(
        **{"kind": "credentials", "file_name": "a", "size": 1, "digest": "", "state": state}
        | {"total": 1_000, "to_do": 1_000}
        | fields
    )


def test_it_waits_for_its_turn_before_the_first_step():
    told = steps.progress_of(an_upload(), NOW)

    assert (told.step, told.fraction, told.left) == ("", None, None)


def test_the_rate_is_that_of_the_step_and_what_comes_later_is_counted_in():
    an_upload(Upload.State.APPLIED, step_seconds={"writing": 5.0, "finishing": 4.0})
    upload = an_upload(
        step=UploadStep.WRITING,
        began_at=NOW - timedelta(seconds=10),
        done_before=100,
        done=300,
        fraction=0.3,
    )

    told = steps.progress_of(upload, NOW)

    assert (told.step, told.number, told.steps) == ("Writing the rows", 2, 3)
    assert (told.done, told.total, told.fraction, told.rate) == (300, 1_000, 0.3, 20.0)
    # 700 rows at 20 a second, and to finish as long as the latest list of the kind took
    assert told.left == timedelta(seconds=35 + 4)


def test_where_nothing_is_counted_the_latest_lists_tell_how_long_it_takes():
    an_upload(Upload.State.APPLIED, step_seconds={"creating": 20.0, "writing": 8, "finishing": 2})
    upload = an_upload(step=UploadStep.CREATING, began_at=NOW - timedelta(seconds=5))

    assert steps.progress_of(upload, NOW).fraction is None
    assert steps.progress_of(upload, NOW).left == timedelta(seconds=15 + 8 + 2)
    # It takes longer than ever: nobody can tell any more.
    assert steps.progress_of(upload, NOW + timedelta(seconds=20)).left is None


def test_while_rows_are_read_the_share_of_the_file_lets_expect_their_number():
    an_upload(Upload.State.READY, step_seconds={"planning": 1.0, "trying": 2.0})
    upload = an_upload(
        Upload.State.CHECKING,
        total=None,
        to_do=None,
        step=UploadStep.READING,
        began_at=NOW - timedelta(seconds=1),
        done=500,
        fraction=0.25,
    )

    told = steps.progress_of(upload, NOW)

    assert (told.total, told.fraction, told.rate) == (None, 0.25, 500.0)
    assert told.left == timedelta(seconds=3 + 2 * 1 + 2 * 2)  # of 2,000 rows


def test_every_step_is_named_while_it_lasts(uploaded, monkeypatch):
    seen = []

    def noted(upload, step, **how):
        begin(upload, step, **how)
        seen.append(steps.progress_of(upload, timezone.now()).step)

    begin = steps.begin_step
    for module in (checking, applying):
        monkeypatch.setattr(module, "begin_step", noted)
    factories.a_customer("Acme")
    upload = uploaded(rows("customer,name", "acme,A"))
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=True)
    worked(upload)

    order = ("READING", "PLANNING", "TRYING", "VERIFYING", "CREATING", "WRITING")
    assert seen == [STEP_TEXTS[UploadStep[name]] for name in order]
    assert {*upload.step_seconds} == {UploadStep[name] for name in (*order, "FINISHING")}
