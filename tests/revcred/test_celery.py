import os
import subprocess
import sys
import time

import psycopg
import pytest
from celery.signals import task_prerun
from django.conf import settings
from django.db import OperationalError, connection

from revcred import celery, tasks
from revcred.launcher.programs import WORKER_ARGUMENTS


def test_a_worker_touches_its_heartbeat_again_and_again(tmp_path):
    heartbeat = tmp_path / "heartbeat"
    # Beats quickly, and takes no bell of other tests.
    quick = (
        "from revcred import celery; celery.HEARTBEAT_SECONDS = 0.1;"
        "from celery.__main__ import main; main()"
    )
    arguments = [*WORKER_ARGUMENTS[WORKER_ARGUMENTS.index("-A") :], "--concurrency", "1"]
    worker = subprocess.Popen(
        [sys.executable, "-c", quick, *arguments, "--queues", "nobodys"],
        cwd=settings.BASE_DIR,
        env=os.environ | {"WORKER_HEARTBEAT_FILE": str(heartbeat)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        beats = set()
        deadline = time.monotonic() + 60
        while len(beats) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
            if heartbeat.exists():
                beats.add(heartbeat.stat().st_mtime_ns)
    finally:
        worker.terminate()
        worker.wait(30)


def test_workers_obey_nobody_who_reaches_the_broker():
    assert celery.app.conf.worker_enable_remote_control is False


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_noticed", [True, False])
def test_a_task_connects_again_after_the_connection_was_lost(is_noticed):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    if is_noticed:
        with pytest.raises(OperationalError):
            tasks.work_on_uploads()

    for task in (tasks.work_on_uploads, tasks.send_mail):
        task_prerun.send(sender=task, task_id="1", task=task)
        task()
