"""The fast door as a server of its own, beside the web, which needs none of it.

`granian metering.asgi:application --interface asgi`; the proxy sends what is posted to it here.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "revcred.settings")
django.setup()

from metering.api.fast_door import FastDoor  # noqa: E402 - settings and models are loaded only now
from revcred.runtime import preflight  # noqa: E402

preflight.check_at_start()
application = FastDoor(ThreadPoolExecutor(1, "inbox"))
