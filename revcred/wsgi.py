"""The WSGI application: everything is loaded before the first request."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "revcred.settings")

django_application = get_wsgi_application()

from django.urls import get_resolver  # noqa: E402 - settings and models are loaded only now
from django.utils.module_loading import import_string  # noqa: E402

from revcred.runtime import logs, preflight, telemetry  # noqa: E402
from revcred.uploads.housekeeping import delete_abandoned_files_at_start  # noqa: E402

logs.log_threads()
preflight.check_at_start()
telemetry.start_telemetry("web")
# A process that died while it received an upload left a file with keys in clear.
delete_abandoned_files_at_start()
# Imports the module of every page now, so that no request waits for it.
get_resolver().url_patterns  # noqa: B018
application = import_string("metering.api.concurrency.ConcurrencyLimiter")(django_application)
