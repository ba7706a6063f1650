"""Files of lists that a process left which died: keys in clear, gone at once or within minutes."""

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import pytest
from django.conf import settings as project
from django.db import connection, transaction

from metering.management.commands import clock
from revcred.actions import tokens
from revcred.launcher.programs import ProgramFactory
from revcred.models import Upload, UserToken
from revcred.uploads import actions, files
from revcred.uploads.columns import ListKind
from revcred.uploads.housekeeping import delete_abandoned_files
from tests import factories
from tests.revcred.uploads.conftest import worked

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE_SECONDS = 120.0  # the machine may be busy
HEADER = b"customer,name,key\r\n"
ROW = b"acme,Number %09d,key-in-clear-%09d\r\n"
BOUNDARY = "between-the-parts"


def until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def lying_there():
    return [each for each in files.uploads_directory().iterdir() if each.is_file()]


@contextmanager
def web(port):
    """The web program as it runs in production, killed at the end with all of its processes."""
    place, _, query = os.environ["DATABASE_URL"].partition("?")
    name = connection.settings_dict["NAME"]  # that of the tests, on the same server
    environment = os.environ | {
        "DATABASE_URL": f"{place.rpartition('/')[0]}/{name}{'?' if query else ''}{query}",
        "UPLOADS_DIR": str(project.UPLOADS_DIR),
    }
    program = ProgramFactory(environment, Path(project.BASE_DIR)).web(port)
    process = subprocess.Popen(
        program.command,
        cwd=program.directory,
        env=program.environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _answers(process, port))
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(process, port):
    assert process.poll() is None, f"it ended with {process.returncode}"
    try:
        # Its answer is waited for: on a busy machine the first one takes seconds.
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as talk:
            talk.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b"200" in talk.recv(100)
    except OSError:
        return False


def half_a_list(port, token, *, multipart):
    """A connection over which the first megabytes of a list have come, and no more do."""
    kind = f"multipart/form-data; boundary={BOUNDARY}" if multipart else "text/csv"
    part = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="keys.csv"\r\n'
        "Content-Type: text/csv\r\n\r\n"
    )
    rows = HEADER + b"".join(ROW % (n, n) for n in range(100_000))
    head = (
        "POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {10 * len(rows)}\r\n\r\n"
    )
    talk = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    talk.sendall(head.encode() + (part.encode() if multipart else b"") + rows)
    return talk


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize("multipart", [True, False], ids=["form", "body"])
def test_half_a_list_of_a_killed_process_is_gone_at_the_next_start(multipart):
    user = factories.an_admin()
    token = tokens.issue_user_token(user=user, name="", scopes=[UserToken.Scope.CHECK], by=user)[1]
    port = free_port()
    with web(port) as process:
        talk = half_a_list(port, token, multipart=multipart)
        until(lambda: any(b"key-in-clear" in each.read_bytes() for each in lying_there()))
        assert delete_abandoned_files(older_than=0) == 0, "it is still being received"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        talk.close()
    left = lying_there()
    assert any(b"key-in-clear" in each.read_bytes() for each in left)

    with web(free_port()):
        assert lying_there() == []


@pytest.mark.parametrize("multipart", [True, False], ids=["form", "body"])
def test_without_a_start_the_clock_deletes_it_within_minutes(multipart):
    user = factories.an_admin()
    token = tokens.issue_user_token(user=user, name="", scopes=[UserToken.Scope.CHECK], by=user)[1]
    port = free_port()
    with web(port):
        talk = half_a_list(port, token, multipart=multipart)
        until(lambda: any(b"key-in-clear" in each.read_bytes() for each in lying_there()))
    talk.close()

    clock.remove_abandoned_upload_files()
    assert lying_there(), "where locks are not shared it could still be growing"
    for each in lying_there():
        grown_at = time.time() - files.ABANDONED_SECONDS - 1
        os.utime(each, (grown_at, grown_at))
    until(
        lambda: clock.remove_abandoned_upload_files() or not lying_there()
    )  # its locks go as it dies
    assert files.ABANDONED_SECONDS + clock.ABANDONED_FILES_INTERVAL_SECONDS < 5 * 60


# --- Which files are nobody's ---------------------------------------------------------------------


def received(text="customer,name\nnobody,Orders\n"):
    return actions.receive_upload(
        kind=ListKind.CREDENTIALS, file=BytesIO(text.encode()), name="list.csv", by=None
    )


STATES_WITH_FILE = {
    *("checking", "unmapped", "ready", "applying"),
    *("undo_check", "undoing", "failed"),
}


@pytest.mark.parametrize("state", Upload.State.values)
def test_a_file_stays_as_long_as_its_upload_may_need_it(state):
    upload = received()
    Upload.objects.filter(pk=upload.pk).update(state=state)
    is_removed = delete_abandoned_files(older_than=0) == 1
    assert is_removed is (state not in STATES_WITH_FILE)
    assert files.list_file_path(upload.pk).exists() is not is_removed


def test_a_file_whose_upload_was_never_committed_is_gone():
    """The process died between the file's place and the commit."""
    with transaction.atomic():
        path = files.list_file_path(received().pk)
        path_copy = path.read_bytes()
        transaction.set_rollback(True)
    path.write_bytes(path_copy)
    assert delete_abandoned_files(older_than=0) == 1
    assert not path.exists()


def test_refused_rows_stay_and_their_drafts_do_not():
    upload = worked(received())
    files.rejected_file_path(upload.pk).write_text("kept for a day")
    files.rejected_file_path(upload.pk).with_suffix(".rejected.draft").write_text(
        "of a worker that died"
    )
    assert delete_abandoned_files(older_than=0) == 1
    assert files.rejected_file_path(upload.pk).exists()


def test_pages_and_doors_say_how_long_a_file_is_kept(admin_client):
    upload = worked(received("a,b\n1,2\n"))
    assert upload.state == Upload.State.UNMAPPED
    page = admin_client.get(f"/admin/revcred/upload/{upload.pk}/change/").content.decode()
    assert f'kept until <span class="moment">{upload.file_kept_until:%Y-%m-%d %H:%M}' in page
