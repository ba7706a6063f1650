"""The project's own, with this app in it and its one address. Celery's are in `celery.py`."""

from revcred.settings import *  # noqa: F403 - what it is: the same settings, and these
from revcred.settings import INSTALLED_APPS, REST_FRAMEWORK

INSTALLED_APPS = [*INSTALLED_APPS, "bench.textbook.apps.TextbookConfig"]
ROOT_URLCONF = "bench.textbook.urls"
REST_FRAMEWORK = {
    name: value for name, value in REST_FRAMEWORK.items() if name != "EXCEPTION_HANDLER"
}
