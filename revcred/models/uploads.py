"""Uploaded lists: their state and progress, and everything that they changed."""

from datetime import datetime, timedelta
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_noop

from revcred.client_address import current_address
from revcred.crypto import SealedTextField
from revcred.models.users import User
from revcred.request_id import current_request_id
from revcred.texts import gettext_lazy

FILE_RETENTION = timedelta(days=1)  # from the upload on; files hold keys in clear


def asker(person: str) -> dict[str, str | None]:
    """Return what `asked_from` says of the person who asks in the current request."""
    return {person: current_address(), f"{person}_request": current_request_id()}


class UploadQuerySet(models.QuerySet["Upload"]):
    def waiting(self) -> Self:
        """Return the uploads in a phase that a worker is processing, or has to process."""
        return self.filter(state__in=Upload.UNDER_WAY)


class Upload(models.Model):
    """An uploaded list, from its file to its outcome.

    `preview`, once it is READY:

        counts   rows by action
        also_creates
                 things created because rows name them: customers, subscribers, subscriptions,
                 products, sources
        effects  rows by effect (see `rights.RowEffect`)
        members  new members: `count`, `of_others` (people of other customers), and the first
                 `people`: email, domain, customer, role, rows, is_rejected, is_of_another,
                 belongs_to (names of customers)
        examples the first rows of each action: row, title, values (column, old, new; of keys the
                 hint only), and of a move `from`: a moment, or None for that of applying
        reasons  reasons of rejected rows: column, message, number of rows
        unknown_states
                 words for states that are not known: word, number of rows
        claim    transactions in quarantine that wait for the list: transactions, since, customers
                 (name, number)
        warnings what nobody may overlook: code, count, message, examples
        new_subscriptions
                 of plans: `count`, and the `first`: customer, plan, external_key, product (None if
                 it is new, too), is_numbered
        calls    calls that a list of usage brings, else None: `rows`, `waiting` (rows that would
                 wait in quarantine), `more`, and the first `months`: customer, reason (why they
                 would wait, or None), month, rows, calls
        moves    calls that applying it moves, from where to where (see `uploads.trial`)

    `undo_preview`, once somebody has asked what undoing does, or has asked for undoing:

        from, error
                  the state and error before, which it has again after the answer
        at        the moment of the answer
        changes   number of changes
        left      number of changes that something depends on; undoing leaves these
        obstacles what depends on them: reason, count, first (names of things)
        moves     calls that undoing the others moves, as in `preview`
        keeps     True if it was asked to undo the others and leave these
        kept      what was left while undoing, in the form of `obstacles`

    `findings` of reading it:

        reasons  why a column was recognised, by position
        distinct number of different values in the first rows, by position
        asked    positions that could all be the key, so that somebody has to choose
        hashes   positions of columns that hold hashes of keys
        left_out what the file has and no row is made of, with counts

    `outcome`, from applying on: rows by action; `meanwhile`, rows rejected because they changed
    after the check; things `undone`, and things `kept` because something depended on them.
    """

    class State(models.TextChoices):
        CHECKING = "checking", gettext_lazy("Checking")
        UNMAPPED = "unmapped", gettext_lazy("Columns to be named")
        READY = "ready", gettext_lazy("Ready to apply")
        APPLYING = "applying", gettext_lazy("Applying")
        APPLIED = "applied", gettext_lazy("Applied")
        CANCELLED = "cancelled", gettext_lazy("Cancelled")
        FAILED = "failed", gettext_lazy("Failed")
        UNDO_CHECK = "undo_check", gettext_lazy("Checking what undoing does")
        UNDOING = "undoing", gettext_lazy("Undoing")
        UNDONE = "undone", gettext_lazy("Undone")

    class Action(models.TextChoices):
        """The action that a row asks for."""

        CREATE = "create", gettext_lazy("Create")
        UPDATE = "update", gettext_lazy("Update")
        MOVE = "move", gettext_lazy("Move")
        UNCHANGED = "unchanged", gettext_lazy("Unchanged")
        REJECTED = "rejected", gettext_lazy("Rejected")

    # UNDER_WAY: for a worker. UNDOABLE: if anything was changed. WITH_FILE: their file is kept.
    UNDER_WAY = (State.CHECKING, State.APPLYING, State.UNDO_CHECK, State.UNDOING)
    UNDOABLE = (State.APPLIED, State.CANCELLED, State.FAILED)
    WITH_FILE = (State.CHECKING, State.UNMAPPED, State.READY, State.APPLYING)

    kind = models.CharField(max_length=20, editable=False)
    file_name = models.CharField(max_length=255, editable=False)
    size = models.PositiveBigIntegerField(help_text=gettext_lazy("In bytes."), editable=False)
    digest = models.CharField("SHA-256", max_length=64, editable=False)
    encoding = models.CharField(max_length=20, blank=True, editable=False)
    delimiter = models.CharField(max_length=1, blank=True, editable=False)
    file_format = models.CharField(max_length=200, blank=True, editable=False)
    # The row that names the columns, if somebody chose it.
    header_row = models.PositiveIntegerField(null=True, editable=False)
    header = models.JSONField(default=list, editable=False)
    findings = models.JSONField(default=dict, db_default={}, editable=False)
    sample = models.JSONField(default=list, editable=False)
    mapping = models.JSONField(default=dict, editable=False)
    # Values that every row has, by column.
    fixed_values = models.JSONField(default=dict, editable=False)
    choices = models.JSONField(default=dict, editable=False)
    state = models.CharField(
        max_length=10, choices=State, default=State.CHECKING, editable=False, db_index=True
    )
    error = models.CharField(max_length=1000, blank=True, editable=False)
    preview = models.JSONField(default=dict, editable=False)
    all_or_nothing = models.BooleanField(default=False, editable=False)
    total = models.PositiveBigIntegerField(gettext_lazy("rows"), null=True, editable=False)
    # Progress of the current phase. A new worker continues after the row or change `after`;
    # `done_before` is what was done before the step began, so that the rate is that of the step.
    to_do = models.PositiveBigIntegerField(null=True, editable=False)
    done = models.PositiveBigIntegerField(default=0, editable=False)
    fraction = models.FloatField(default=0, editable=False)
    began_at = models.DateTimeField(null=True, editable=False)
    done_before = models.PositiveBigIntegerField(default=0, editable=False)
    after = models.BigIntegerField(default=0, editable=False)
    tries = models.PositiveSmallIntegerField(default=0, editable=False)
    # The step of the phase (see `uploads.steps`), which began at `began_at`, and what all took.
    step = models.CharField(max_length=20, blank=True, db_default="", editable=False)
    step_seconds = models.JSONField(default=dict, db_default={}, editable=False)
    is_staged = models.BooleanField(default=False, editable=False)
    outcome = models.JSONField(default=dict, editable=False)
    undo_preview = models.JSONField(default=dict, db_default={}, editable=False)
    since = models.DateTimeField(null=True, editable=False)
    by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="uploads", editable=False)
    applied_by = models.ForeignKey(
        User, models.SET_NULL, null=True, related_name="+", editable=False
    )
    cancelled_by = models.ForeignKey(
        User, models.SET_NULL, null=True, related_name="+", editable=False
    )
    undone_by = models.ForeignKey(
        User, models.SET_NULL, null=True, related_name="+", editable=False
    )
    # Where each of these people asked for it: the address, and the id of the request. `asker` makes
    # it.
    asked_from = models.JSONField(default=dict, db_default={}, editable=False)
    cancel_asked_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    applied_at = models.DateTimeField(null=True, editable=False)
    ended_at = models.DateTimeField(null=True, editable=False)
    # From then on it cannot be undone: its changes are being deleted, or were.
    undo_dropped_at = models.DateTimeField(null=True, editable=False)

    objects = UploadQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        # Nobody changes or deletes an upload: it is on record.
        default_permissions = ("add", "view")
        permissions = (
            ("apply_upload", gettext_noop("Can apply, cancel and undo uploads")),
            ("upload_usage", gettext_noop("Can count calls of uploaded lists, and take them back")),
        )

    def __str__(self) -> str:
        return f"{self.file_name} ({self.kind})"

    def request_id_of(self, person: str) -> str:
        """Return the id of the request by which `applied_by`, say, asked; an early one had none."""
        return self.asked_from.get(f"{person}_request") or ""

    @property
    def is_under_way(self) -> bool:
        return self.state in self.UNDER_WAY

    @property
    def may_be_undone(self) -> bool:
        """True if it has ended, and what undoing needs is still there. It may be nothing."""
        return self.state in self.UNDOABLE and self.undo_dropped_at is None

    @property
    def undoable_until(self) -> datetime | None:
        """The moment at which its undo data is dropped; None if it cannot be undone."""
        if not (self.may_be_undone and self.ended_at):
            return None
        return self.ended_at + timedelta(days=settings.UPLOAD_UNDO_DAYS)

    @property
    def file_kept_until(self) -> datetime | None:
        """The moment at which the file is deleted unless that happens earlier; None without one."""
        may_be_read_again = self.state == self.State.FAILED and not self.applied_at
        is_kept = self.state in self.WITH_FILE or may_be_read_again
        return self.created_at + FILE_RETENTION if is_kept else None

    @property
    def took(self) -> timedelta | None:
        """The time from applying until the end."""
        return self.ended_at - self.applied_at if self.ended_at and self.applied_at else None


class UploadChangeQuerySet(models.QuerySet["UploadChange"]):
    def about(self, target: models.Model) -> Self:
        return self.filter(target_type=target._meta.label_lower, target_id=target.pk)


class UploadChange(models.Model):
    """A change that an upload made to one thing: shown in its history, and used to undo it.

    `before` and `after` hold the fields that changed, but no keys or secrets. `undo_data` holds
    what else undo needs: numbers and moments of keys and assignments that began or ended.

    Deleted after UPLOAD_UNDO_DAYS; the audit keeps what was changed.
    """

    upload = models.ForeignKey(
        # Without constraint and index of its own: an upload writes a hundred thousand of them, is
        # never deleted, and the index by upload and id serves.
        Upload,
        models.CASCADE,
        related_name="changes",
        db_constraint=False,
        db_index=False,
    )
    row = models.PositiveBigIntegerField(null=True)
    action = models.CharField(max_length=10, choices=Upload.Action)
    target_type = models.CharField(max_length=100)
    target_id = models.BigIntegerField()
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    undo_data = models.JSONField(null=True)
    # The replaced secret, still sealed for the row of SealedValue that undo puts it back into.
    secret: "models.Field[str | None, str | None]" = SealedTextField(null=True)

    objects = UploadChangeQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        default_permissions = ()
        # One change for each thing and upload, so that undo restores it once.
        constraints = (
            models.UniqueConstraint(
                "target_type", "target_id", "upload", name="uploadchange_of_target"
            ),
            models.CheckConstraint(
                name="uploadchange_changes_something",
                condition=Q(action__in=["create", "update", "move"]),
            ),
        )
        indexes = (models.Index(fields=["upload", "id"], name="uploadchange_by_upload"),)

    def __str__(self) -> str:
        return f"{self.get_action_display()} {self.target_type} {self.target_id}"


class RememberedMapping(models.Model):
    """A mapping that somebody chose with all choices, remembered for files with the same header."""

    signature = models.CharField(max_length=64, primary_key=True)
    mapping = models.JSONField()
    fixed_values = models.JSONField(default=dict, db_default={})
    choices = models.JSONField(default=dict, db_default={})
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.signature
