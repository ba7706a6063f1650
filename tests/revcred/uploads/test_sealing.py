"""What is sealed while a list is applied is what was checked, and nothing else."""

import pytest

from revcred.models import Credential, Upload
from revcred.uploads import actions, files
from tests import factories
from tests.revcred.uploads.conftest import rows, worked

pytestmark = pytest.mark.django_db(transaction=True)

LIST = rows("customer,name,key,secret", "acme,Orders,the-key-of-orders,its-secret")


@pytest.mark.parametrize(
    "other",
    [
        LIST.replace("the-key-of-orders", "the-key-of-others"),
        LIST.replace("its-secret", "its-secret,one-more-cell"),
        rows("customer,name,key,secret"),
    ],
    ids=["another key", "a broken row", "no row"],
)
def test_a_file_that_is_not_the_one_that_was_checked_is_not_applied(uploaded, other):
    factories.a_customer("Acme")
    upload = uploaded(LIST)
    files.list_file_path(upload.pk).write_text(other)

    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)
    worked(upload)

    assert upload.state == Upload.State.FAILED
    assert upload.error == "The file is not the one that was checked."
    assert not Credential.objects.exists()
