"""Makes the three tables: `python -m bench.textbook.tables`. No migration, for nothing is kept."""

import os

import django
from django.apps import apps
from django.db import connection

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "bench.textbook.settings"
    django.setup()
    with connection.schema_editor() as editor:
        for model in apps.get_app_config("textbook").get_models():
            editor.create_model(model)
