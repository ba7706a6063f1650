"""Move what is known by fingerprints of OLD_FINGERPRINT_KEY to those of FINGERPRINT_KEY."""

import time
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError
from django.db.transaction import atomic
from django.utils import timezone

from metering.fingerprint_moves import (
    apply_moves,
    follow_moves,
    list_unmoved_fingerprints,
    move_secrets,
    remember_late,
    remember_unmoved,
)
from metering.models import Delivery
from revcred.fingerprint_rotation import REFRESH_SECONDS, sealed_fingerprints
from revcred.models import FingerprintMove, KeyringCheck, Upload

MAX_WAIT_SECONDS = 60.0  # for calls that arrived before a move

Moves = dict[UUID, UUID]


class Command(BaseCommand):
    help = (
        "Move what is known by fingerprints of OLD_FINGERPRINT_KEY to those of FINGERPRINT_KEY. Run"
        " it again after calls have come in, until nothing is left. You can stop it at any time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--most", type=int, default=100, help="How many to list at most.")

    def handle(self, *args: Any, most: int, **options: Any) -> None:
        self._check()
        if not KeyringCheck.uses_new_key():
            since = timezone.now()
            with atomic():
                remember_unmoved()
                KeyringCheck.begin_new_key()
            self.stdout.write("FINGERPRINT_KEY is in use from now on.")
            time.sleep(2 * REFRESH_SECONDS)  # until every process has read that
            remember_late(since)
        self._failed: list[UUID] = []
        moved = 0
        for sealed in sealed_fingerprints():
            with atomic():
                move_secrets(sealed.secrets)
            moved += self._apply(sealed.keys)
            for number in sealed.damaged:
                self.stdout.write(f"No key of FERNET_KEYS opens external key {number}.")
        moved += self._apply(_noted_moves())
        self.stdout.write(f"Moved {moved} fingerprints.")
        self._follow()
        self._list_rest(most)

    def _check(self) -> None:
        if not settings.OLD_FINGERPRINT_KEY:
            message = (
                "Set OLD_FINGERPRINT_KEY to the present key and FINGERPRINT_KEY to a new one,"
                " restart all processes, and run this again."
            )
            raise CommandError(message)
        waiting = Upload.objects.filter(state__in=Upload.WITH_FILE).count()
        if waiting:
            # Their rows were compared under the present fingerprints.
            message = f"{waiting} uploads are open. Apply or cancel them, and run this again."
            raise CommandError(message)

    def _apply(self, moves: Moves) -> int:
        """Apply the moves in one transaction, and return how many; halve them where one fails."""
        if not moves:
            return 0
        try:
            with atomic():
                apply_moves(moves)
        except IntegrityError:
            if len(moves) == 1:
                # The key is known under its new fingerprint as well.
                self._failed += moves
                return 0
            pairs = list(moves.items())
            half = len(pairs) // 2
            return self._apply(dict(pairs[:half])) + self._apply(dict(pairs[half:]))
        return len(moves)

    def _follow(self) -> None:
        """Match again what came under an old fingerprint while that was moved."""
        since, stop_at = timezone.now(), time.monotonic() + MAX_WAIT_SECONDS
        time.sleep(2 * REFRESH_SECONDS)
        while _has_deliveries_before(since) and time.monotonic() < stop_at:
            time.sleep(REFRESH_SECONDS)
        if followed := follow_moves():
            self.stdout.write(f"{followed} waiting calls are matched again.")

    def _list_rest(self, most: int) -> None:
        lines = list_unmoved_fingerprints()
        for line in lines[:most]:
            self.stdout.write(line)
        if lines:
            self.stdout.write(
                f"{len(lines)} could not be moved: revcred has only their fingerprints. Calls and"
                " requests with them tell the new ones; run this again then. Those that are left"
                " when you remove OLD_FINGERPRINT_KEY are unknown afterwards."
            )
        if self._failed:
            message = f"{len(self._failed)} keys are known twice, by old and by new fingerprints."
            raise CommandError(message)
        if not lines:
            self.stdout.write("Done. You can remove OLD_FINGERPRINT_KEY.")


def _noted_moves() -> Moves:
    noted = FingerprintMove.objects.filter(is_applied=False)
    return dict(noted.values_list("old", "new"))


def _has_deliveries_before(moment: datetime) -> bool:
    return Delivery.objects.filter(received_at__lt=moment).exists()
