"""ASGI application of the fast door, an optional server beside the web processes.

Run it with `granian metering.asgi:application --interface asgi`, and let the proxy send it what
gateways post to /v1/transactions.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "revcred.settings")
django.setup()

from metering.api.fast_door import FastDoor  # noqa: E402 - settings and models are loaded only now
from revcred.runtime import logs, preflight  # noqa: E402

logs.log_threads()
preflight.check_at_start()
application = FastDoor(ThreadPoolExecutor(1, "inbox"))
