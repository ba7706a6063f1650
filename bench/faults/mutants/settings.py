"""The application's own settings, and one deliberate break of a promise: see MUTANT in apps.py."""

from revcred.settings import *  # noqa: F403
from revcred.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "bench.faults.mutants.apps.MutantsConfig"]
