"""Room for uploaded files: of one person, of all, and on the disk."""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.urls import reverse

from revcred.actions import tokens
from revcred.models import Upload, UserToken
from revcred.uploads import actions, files
from revcred.uploads.columns import ListKind
from tests import factories

LIST = b"customer,name\nacme,Orders\n"  # 26 bytes
ADD = reverse("admin:revcred_upload_add")

pytestmark = pytest.mark.django_db


def receive(by, content=LIST, **announced):
    return actions.receive_upload(
        kind=ListKind.CREDENTIALS, file=BytesIO(content), name="x.csv", by=by, **announced
    )


@pytest.fixture
def boss():
    return factories.an_admin()


def test_one_person_has_so_many_bytes_until_an_upload_ends(
    boss, settings, django_capture_on_commit_callbacks
):
    settings.UPLOAD_BYTES_PER_USER = 60
    first = receive(boss)
    receive(boss)

    with pytest.raises(actions.NoRoom, match="The files of your uploads may have"):
        receive(boss)
    receive(factories.a_user(is_staff=True))
    receive(None)
    Upload.objects.update(state=Upload.State.READY)
    with django_capture_on_commit_callbacks(execute=True):
        actions.cancel_upload(upload=first, by=boss)
    receive(boss)


def test_all_have_so_many_bytes_together(boss, settings):
    receive(None)
    settings.UPLOAD_BYTES = 50

    for announced in ({}, {"announced_bytes": len(LIST)}):
        with pytest.raises(actions.NoRoom, match="The files of all uploads"):
            receive(boss, **announced)
    assert len([*files.stored_files()]) == 1


def test_a_part_of_the_disk_stays_free(boss, settings):
    settings.UPLOAD_FREE_PERCENT = 101

    with pytest.raises(actions.NoRoom, match="The disk is too full"):
        receive(boss)


@pytest.mark.django_db(transaction=True)
def test_of_files_at_once_no_more_are_taken(boss, settings):
    settings.UPLOAD_BYTES_PER_USER = 60

    def one(_):
        try:
            receive(boss)
        except actions.NoRoom:
            return 0
        finally:
            connection.close()
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(one, range(6))) == 2


def test_the_page_says_it_before_and_after_it_reads(client, boss, settings, tmp_path):
    client.force_login(boss)
    settings.UPLOAD_BYTES_PER_USER = 10
    answer = client.post(ADD, {"file": SimpleUploadedFile("x.csv", LIST)})

    assert "The files of your uploads may have" in answer.content.decode()
    assert not Upload.objects.exists()
    assert client.get(ADD).status_code == 200


def test_scripts_are_told(client, boss, settings):
    settings.UPLOAD_BYTES_PER_USER = 10
    scopes = UserToken.Scope.values
    _, token = tokens.issue_user_token(user=boss, name="A script", scopes=scopes, by=boss)
    answer = client.post(
        "/v1/uploads", LIST, content_type="text/csv", headers={"authorization": f"Bearer {token}"}
    )

    assert (answer.status_code, answer.json()["code"]) == (507, "no_room")
    assert "Apply or cancel one that waits" in answer.json()["message"]
