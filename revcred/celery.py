"""The Celery application, which refuses to work with wrong settings or a wrong keyring."""

import os
from pathlib import Path
from typing import Any

from celery import Celery, bootsteps
from celery.signals import task_postrun, task_prerun, worker_init, worker_process_init
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "revcred.settings")

HEARTBEAT_SECONDS = 10.0

app = Celery("revcred")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


# A task is rung for by many requests at once, so it has an id of its own.
# Celery itself would close the connection around every task; see CELERY_DB_REUSE_MAX.
@task_prerun.connect
def _replace_lost_connection(task: Any, **_: Any) -> None:
    from django.db import close_old_connections  # noqa: PLC0415 - settings are ready only now

    # A task that is called in place belongs to its caller's transaction.
    if not task.request.is_eager:
        close_old_connections()


@task_prerun.connect
def _begin_task(task_id: str, task: Any, **_: Any) -> None:
    from revcred.request_id import begin_task  # noqa: PLC0415 - Django's settings are ready only now
    from revcred.runtime.telemetry import begin_task_span  # noqa: PLC0415 - likewise

    begin_task(task_id)
    begin_task_span(task.name, task_id)


@task_postrun.connect
def _end_task(**_: Any) -> None:
    from revcred.request_id import end_task  # noqa: PLC0415 - likewise
    from revcred.runtime.telemetry import end_task_span  # noqa: PLC0415 - likewise

    end_task_span()
    end_task()


@worker_process_init.connect
def _start_telemetry(**_: Any) -> None:
    from revcred.runtime.telemetry import start_telemetry  # noqa: PLC0415 - likewise

    start_telemetry("worker")


class Heartbeat(bootsteps.StartStopStep):
    """Touches a file while the worker's event loop runs and is connected to the broker.

    A consumer is started anew after each loss of the connection, and so is this.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        if path := settings.WORKER_HEARTBEAT_FILE:
            Path(path).touch()
            parent.timer.call_repeatedly(HEARTBEAT_SECONDS, Path(path).touch)


app.steps["consumer"].add(Heartbeat)


@worker_init.connect
def check_before_work(**_: Any) -> None:
    from revcred.runtime import logs, preflight  # noqa: PLC0415 - models are loaded only now

    logs.log_threads()
    try:
        preflight.check_at_start()
    except ImproperlyConfigured as error:
        raise SystemExit(str(error)) from error  # Celery logs any other exception, and goes on
