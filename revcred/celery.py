"""The Celery application, which refuses to work with wrong settings or a wrong keyring."""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_init
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "revcred.settings")

app = Celery("revcred")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect
def check_before_work(**_: Any) -> None:
    from revcred.runtime import logs, preflight  # noqa: PLC0415 - models are loaded only now

    logs.log_threads()
    try:
        preflight.check_at_start()
    except ImproperlyConfigured as error:
        raise SystemExit(str(error)) from error  # Celery logs any other exception, and goes on
