from typing import Any

from django.apps import AppConfig
from django.apps import apps as registry
from django.db.models.signals import post_migrate


class MeteringConfig(AppConfig):
    name = "metering"

    def ready(self) -> None:
        # Models can be imported only now.
        from metering.consequences import count
        from metering.quarantine.hooks import expect, used, used_lately, waiting_for
        from revcred.hooks import (
            consequences_asked,
            lately_asked,
            link_changed,
            use_asked,
            waiting_asked,
        )

        link_changed.connect(expect)
        waiting_asked.connect(waiting_for)
        use_asked.connect(used)
        lately_asked.connect(used_lately)
        consequences_asked.connect(count)
        post_migrate.connect(_ensure_partitions, sender=self)


def _ensure_partitions(*, apps: Any = registry, **_: Any) -> None:
    from metering.ledger import partitions

    gateway = apps.get_model("revcred", "Gateway")
    # Of a database that was taken back to before gateways had an age of their own, nothing.
    if any(field.name == "accepted_days" for field in gateway._meta.fields):
        partitions.ensure()
