from typing import Any

from django.apps import AppConfig
from django.apps import apps as registry
from django.db import connection
from django.db.models.signals import post_migrate, post_save
from django.db.transaction import on_commit


class MeteringConfig(AppConfig):
    """The app metering. The core does not import it, and reaches it by a port."""

    name = "metering"

    def ready(self) -> None:
        # Not above: these modules import models, which Django has loaded only now.
        from metering.agent.pages import AGENT_DIGEST_PATH, AGENT_PATH
        from metering.api.registered_doors import DOORS, announce_doors
        from metering.api.verification.answering import AUTH_PATH, SIGNING_KEYS_PATH
        from metering.port import Metering
        from metering.usage_lists.plan import UNDO_USAGE, USAGE_PLAN
        from revcred.metering_port import connect_metering
        from revcred.runtime.program_paths import accept_any_host, add_program_paths
        from revcred.texts import translate_derived_names
        from revcred.uploads.plans import connect_usage_lists

        translate_derived_names(self.get_models())
        connect_metering(Metering())
        connect_usage_lists(USAGE_PLAN, UNDO_USAGE)
        announce_doors(DOORS)
        accept_any_host(AUTH_PATH)
        handed_out = frozenset({AGENT_PATH, AGENT_DIGEST_PATH})
        add_program_paths(addresses=handed_out, prefixes=())
        add_program_paths(addresses=frozenset({SIGNING_KEYS_PATH}), prefixes=())
        accept_any_host(SIGNING_KEYS_PATH)
        post_migrate.connect(_ensure_partitions, sender=self)
        post_save.connect(_ensure_partitions_of_gateway, sender="revcred.Gateway")


def _ensure_partitions_of_gateway(*, instance: Any, **_: Any) -> None:
    """Make ledger partitions for older calls that a gateway may send from now on."""
    from metering.ledger import partitions

    # At once, and not when the clock next makes partitions: the first old call may come now.
    if instance.accepted_days is not None:
        on_commit(partitions.ensure_partitions)


def _ensure_partitions(*, apps: Any = registry, **_: Any) -> None:
    from metering.ledger import partitions
    from metering.quarantine import partitions as quarantine_partitions

    gateway = apps.get_model("revcred", "Gateway")
    # A database migrated back to before this column cannot say how old a call may be.
    if any(field.name == "accepted_days" for field in gateway._meta.fields):
        partitions.ensure_partitions()
    # Nor is the quarantine of an earlier one partitioned.
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('metering_quarantined_default') IS NOT NULL")
        (is_partitioned,) = cursor.fetchone()
    if is_partitioned:
        quarantine_partitions.ensure_partitions()
