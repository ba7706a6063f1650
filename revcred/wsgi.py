import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "revcred.settings")

application = get_wsgi_application()

from revcred import preflight  # noqa: E402 - models are loaded only now

preflight.check_at_start()
