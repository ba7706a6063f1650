"""Seven ways to break the promise, each done to the running application from outside."""

import os

from django.apps import AppConfig

MUTANT = "FAULTS_MUTANT"  # the environment variable that names one


class MutantsConfig(AppConfig):
    name = "bench.faults.mutants"

    def ready(self) -> None:
        from bench.faults.mutants import breaks

        breaks.BREAKS[os.environ[MUTANT]]()
