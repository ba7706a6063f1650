import logging
import signal
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import InterfaceError, OperationalError, close_old_connections, connection
from django.db.models.functions import Now
from django.utils import timezone

from metering import retention as metering_retention
from metering import trial_calls
from metering.attribution import processing, slow_rules
from metering.attribution.discovery import SourceDiscovery
from metering.clock_set_back import bring_forward_waiting_work
from metering.fingerprint_moves import follow_moves, forget_moves
from metering.ledger import daily_usage, gateway_days, partitions
from metering.models import Claim, Delivery, PartialTransaction, SeenTransaction
from metering.pairing import completion
from metering.quarantine import dropping, reattribution
from metering.quarantine import partitions as quarantine_partitions
from metering.verification import refused_calls
from revcred import limits, outbox, retention
from revcred.accounts.sessions import SessionStore
from revcred.actions import call_erasures, sign_ins
from revcred.models import AuditEvent, OutgoingMail
from revcred.runtime import preflight, telemetry
from revcred.runtime.schema_version import is_older_than_database
from revcred.uploads import housekeeping

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
CHORES_INTERVAL_SECONDS = 600.0
ABANDONED_FILES_INTERVAL_SECONDS = 60.0
AUDIT_HEAD_INTERVAL_SECONDS = 60.0
DISCOVERY_INTERVAL_SECONDS = 30.0
SUMMING_INTERVAL_SECONDS = 60.0
BELL_GRACE = timedelta(seconds=1)  # for a worker to take up what a bell announced


class Command(BaseCommand):
    """Does what no worker has taken up, so that attribution goes on without Redis and Celery."""

    help = (
        "Process what waits without a worker, and do periodic chores: create and drop partitions,"
        " forget old transactions, delete expired files."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        preflight.check_at_start()
        telemetry.start_telemetry("clock")
        housekeeping.delete_abandoned_files_at_start()
        stopped = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        # In a thread of its own: attribution must not wait for a slow mail server.
        Thread(target=send_mail_until_stopped, args=(stopped,), name="mail", daemon=True).start()
        Thread(target=keep_retention_until_stopped, args=(stopped,), daemon=True).start()
        Thread(target=sum_up_usage_until_stopped, args=(stopped,), daemon=True).start()
        Thread(target=erase_people_until_stopped, args=(stopped,), daemon=True).start()
        chores_at = discovery_at = files_at = audit_head_at = 0.0
        discovery = SourceDiscovery()
        while not stopped.wait(TICK_SECONDS):
            run_step_safely(bring_forward_waiting_work)
            run_step_safely(sweep_waiting_work)
            if time.monotonic() >= chores_at and run_step_safely(do_chores):
                chores_at = time.monotonic() + CHORES_INTERVAL_SECONDS
            if time.monotonic() >= files_at and run_step_safely(remove_abandoned_upload_files):
                files_at = time.monotonic() + ABANDONED_FILES_INTERVAL_SECONDS
            if time.monotonic() >= audit_head_at and run_step_safely(log_audit_head):
                audit_head_at = time.monotonic() + AUDIT_HEAD_INTERVAL_SECONDS
            if time.monotonic() >= discovery_at and run_step_safely(discovery.look):
                discovery_at = time.monotonic() + DISCOVERY_INTERVAL_SECONDS
                run_step_safely(slow_rules.switch_off_rules_slow_lately)


def run_step_safely(step: Callable[[], object]) -> bool:
    """Run a step, and return False if it failed or has to wait. The clock goes on in any case."""
    try:
        if is_older_than_database():
            return False
        step()
    except (OperationalError, InterfaceError) as error:
        logger.warning("The database is unavailable: %s", type(error).__name__)
        connection.close()
        return False
    except Exception:
        logger.exception("A step of the clock failed.")
        return False
    finally:
        close_old_connections()
    return True


def send_mail_until_stopped(stopped: Event) -> None:
    while not stopped.wait(TICK_SECONDS):
        run_step_safely(sweep_waiting_mail)


def keep_retention_until_stopped(stopped: Event) -> None:
    """Delete what is past its retention or over its cap. A scanner's calls may take minutes."""
    while not stopped.wait(TICK_SECONDS):
        for step in RETENTION_STEPS:
            run_step_safely(step)
        stopped.wait(CHORES_INTERVAL_SECONDS)


def sum_up_usage_until_stopped(stopped: Event) -> None:
    """Sum up days that are over. The first time may take minutes."""
    while not stopped.wait(TICK_SECONDS):
        run_step_safely(sum_up_usage)
        stopped.wait(SUMMING_INTERVAL_SECONDS)


def erase_people_until_stopped(stopped: Event) -> None:
    """Erase people from stored calls. A large ledger takes minutes."""
    while not stopped.wait(TICK_SECONDS):
        run_step_safely(call_erasures.finish_erasures)


def sum_up_usage() -> None:
    """Sum up the days that are over, and those that have changed since."""
    daily_usage.sum_up_days(timezone.now())
    daily_usage.sum_up_stale_days()
    gateway_days.sum_up_gateway_days()


def sweep_waiting_mail() -> None:
    """Send mails that no worker has taken up."""
    if OutgoingMail.objects.waiting().filter(next_try_at__lt=Now() - BELL_GRACE).exists():
        outbox.send_waiting_mail()


def sweep_waiting_work() -> None:
    """Do the waiting work that no worker has taken up within BELL_GRACE."""
    # Pairing first: it puts calls into the inbox.
    if PartialTransaction.objects.filter(next_look_at__lt=Now() - BELL_GRACE).exists():
        while completion.pair_due_partials():
            pass
    if Delivery.objects.filter(next_try_at__lt=Now() - BELL_GRACE).exists():
        processing.process_waiting_deliveries()
    # Claims of the future were made before the database's clock was set back.
    if Claim.objects.open().exclude(created_at__range=(Now() - BELL_GRACE, Now())).exists():
        reattribution.work_through_claims()
    housekeeping.ring_for_waiting_uploads()


def remove_abandoned_upload_files() -> None:
    housekeeping.delete_abandoned_files()


def log_audit_head() -> None:
    """Write the audit's head where the database's owner cannot change it afterwards."""
    logger.info("The audit's head is %s", AuditEvent.objects.head())


# Each works in small transactions.
RETENTION_STEPS: tuple[Callable[[], object], ...] = (
    dropping.drop_old_calls,
    dropping.drop_calls_over_limit,
    metering_retention.delete_idempotent_posts,
    metering_retention.delete_conflicts,
    metering_retention.delete_finished_claims,
    metering_retention.delete_digests_of_deleted_keys,
    metering_retention.drop_undo_data_of_uploads,
    trial_calls.delete_old_trial_calls,
    refused_calls.delete_old_receipts,
    refused_calls.delete_old_counts,
    retention.delete_sessions_over_limit,
)


def do_chores() -> None:
    """Create and drop partitions, and delete what is past its retention."""
    now = timezone.now()
    partitions.ensure_partitions()
    partitions.drop_partitions(before=partitions.first_kept_day(now))
    quarantine_partitions.ensure_partitions()
    quarantine_partitions.drop_old_partitions(now)
    forget_old_transactions(before=now - timedelta(days=settings.SEEN_TRANSACTION_DAYS))
    SessionStore.clear_expired()
    housekeeping.delete_expired_uploads()
    outbox.prune_sent_mail()
    sign_ins.record_counted_attempts()
    limits.prune_expired_counters()
    reattribution.retry_poison_of_other_code()
    if settings.OLD_FINGERPRINT_KEY:
        follow_moves()
    else:
        forget_moves()


def forget_old_transactions(before: datetime) -> None:
    """Forget transactions that are too old for a repeat to be accepted."""
    retention.delete_in_batches(SeenTransaction.objects.filter(received_at__lt=before))
