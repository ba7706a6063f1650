"""Bodies of the API for uploads: what is posted and what is answered. OpenAPI is made of them."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from django.utils import timezone
from msgspec import UNSET, Meta, UnsetType

from revcred.models import Upload, User
from revcred.uploads import rights
from revcred.uploads.actions import UploadChoices
from revcred.uploads.columns import ListKind
from revcred.uploads.lanes import uploads_before
from revcred.uploads.plans.plan_subscriptions import DEFAULT_KEY_PATTERN, MAX_PATTERN_CHARACTERS
from revcred.uploads.problems import RowProblem
from revcred.uploads.reading import DELIMITER_TITLES, KNOWN_ENCODINGS
from revcred.uploads.steps import progress_of

MAX_ROW_ERRORS = 10_000  # rows in one answer
MAX_UPLOADS = 100  # in one answer
MAX_ROW_NUMBER = 2**63 - 1

RejectOrCreate = Literal["reject", "create"]
EncodingName = Annotated[
    str,
    Meta(
        description="For CSV, if it is not recognised.",
        extra_json_schema={"enum": [*KNOWN_ENCODINGS]},
    ),
]
Delimiter = Annotated[
    str,
    Meta(
        description="For CSV, if it is not recognised.",
        extra_json_schema={"enum": [*DELIMITER_TITLES]},
    ),
]
HeaderRow = Annotated[
    int,
    Meta(
        ge=0,
        le=1_000_000,
        description="The row that names the columns, for CSV and XLSX; 0 lets it be recognised.",
    ),
]
FixedValues = Annotated[
    dict[str, str],
    Meta(description="Values that every row has, for columns that the file does not have."),
]
IsoMoment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
RowCounts = dict[str, int]  # by action, effect or kind of thing


# --- What is posted -------------------------------------------------------------------------------


# Unknown fields are errors: a misspelt choice must not silently mean "reject".
class ChoicesBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Choices on rows that name unknown things, or things of other customers."""

    customers: Annotated[
        RejectOrCreate, Meta(description="For rows that name an unknown customer.")
    ] = "reject"
    subscribers: Annotated[
        RejectOrCreate, Meta(description="For rows that name an unknown holder.")
    ] = "reject"
    subscriptions: Annotated[
        RejectOrCreate, Meta(description="For rows that name an unknown subscription.")
    ] = "reject"
    product: Annotated[
        str,
        Meta(description="The external key of the product of subscriptions that are created."),
    ] = ""
    plans: Annotated[
        RejectOrCreate,
        Meta(description="For rows with a plan that is no product: `create` makes it one."),
    ] = "reject"
    plan_keys: Annotated[
        str,
        Meta(
            description="Pattern of the external keys of new subscriptions of plans. Equal ones "
            "get a number.",
            max_length=MAX_PATTERN_CHARACTERS,
        ),
    ] = DEFAULT_KEY_PATTERN
    plan_separator: Annotated[
        Literal["none", "comma", "semicolon", "slash"],
        Meta(description="What separates several plans in a cell, besides `|`."),
    ] = "none"
    missing_keys: Annotated[
        Literal["reject", "generate"],
        Meta(description="For new credentials without a key: `generate` makes one for each."),
    ] = "reject"
    inactive: Annotated[
        Literal["reject", "keep"],
        Meta(
            description="For new credentials that are suspended, revoked or expired: `keep` brings "
            "them in this state."
        ),
    ] = "reject"
    states: Annotated[
        str,
        Meta(description="States of further words: `ruht = suspended, frei = active`."),
    ] = ""
    duplicates: Annotated[
        Literal["reject", "first", "last"],
        Meta(
            description="For several rows with one key, or one name at a customer: the row that is "
            "kept."
        ),
    ] = "reject"
    day_order: Annotated[
        Literal["ask", "day_first", "month_first"],
        Meta(
            description="Of dates that can be read two ways, such as 03/04/2027: `ask` rejects "
            "them."
        ),
    ] = "ask"
    time_zone: Annotated[
        str,
        Meta(description="Of moments without an offset, such as `Europe/Berlin`."),
    ] = "UTC"
    keys_of_others: Annotated[
        Literal["reject", "take_over"], Meta(description="For rows with a key of another customer.")
    ] = "reject"
    people_of_others: Annotated[
        Literal["reject", "join"],
        Meta(
            description="For rows that would make people of another customer members of this one."
        ),
    ] = "reject"
    revoked_keys: Annotated[
        Literal["reject", "use_again"],
        Meta(
            description="For rows with a key of a revoked credential. If it is used again, it "
            "counts from now on, or from `key_active_from`."
        ),
    ] = "reject"

    def choices(self) -> UploadChoices:
        return UploadChoices(
            **{name: getattr(self, name) for name in ChoicesBody.__struct_fields__}
        )


class NewUploadFields(ChoicesBody, forbid_unknown_fields=True, kw_only=True):
    """Fields beside a file: of the form, or of the query if the body is the file."""

    kind: ListKind = ListKind.CREDENTIALS
    name: Annotated[str, Meta(description="The name of the file.")] = ""
    # JSON, because a form has no nested fields.
    fixed_values: Annotated[
        str,
        Meta(description='Values that every row has, by column, as JSON: `{"customer": "acme"}`.'),
    ] = "{}"
    encoding: EncodingName | None = None
    delimiter: Delimiter | None = None
    like: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=MAX_ROW_NUMBER,
                description="The id of an upload, such as the one whose rejected rows you have"
                " corrected: the list is checked with its kind, columns, values and choices.",
            ),
        ]
        | None
    ) = None
    header_row: HeaderRow | None = None
    sha256: Annotated[
        str,
        Meta(
            pattern=r"^([0-9a-fA-F]{64})?$",
            description="Of the file, in hexadecimal digits: a list that was cut off on the way is "
            "rejected. Required if the body has no `Content-Length`.",
        ),
    ] = ""

    def settings_sent(self) -> list[str]:
        """Return the names of the settings that are not those which fields have by default."""
        default = NewUploadFields()
        return [
            name
            for name in self.__struct_fields__
            if name not in NOT_SETTINGS and getattr(self, name) != getattr(default, name)
        ]


NOT_SETTINGS = ("name", "sha256", "like")  # of NewUploadFields


class CheckBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Settings for another check; None keeps a setting."""

    columns: (
        Annotated[
            dict[str, str | None],
            Meta(description="The column for each header of the file; null leaves it out."),
        ]
        | None
    ) = None
    fixed_values: FixedValues | None = None
    choices: ChoicesBody | None = None
    encoding: EncodingName | None = None
    delimiter: Delimiter | None = None
    header_row: HeaderRow | None = None


class ApplyBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The rows to apply: `good`, all but rejected ones; or `all`, and none if one cannot be."""

    rows: Literal["good", "all"]


class UndoRequestBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How to undo: by default only if nothing depends on the upload."""

    keep_depended: Annotated[
        bool, Meta(description="Undo all changes but those that something depends on.")
    ] = False


class UploadsQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The part of the uploads that is asked for."""

    before: (
        Annotated[
            int, Meta(ge=1, le=MAX_ROW_NUMBER, description="The upload before which to begin.")
        ]
        | None
    ) = None
    most: Annotated[
        int, Meta(ge=1, le=MAX_UPLOADS, description="The number of uploads at most.")
    ] = 50


class RowErrorsQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The part of the rejected rows that is asked for."""

    after: Annotated[
        int, Meta(ge=0, le=MAX_ROW_NUMBER, description="The row after which to begin.")
    ] = 0
    most: Annotated[
        int, Meta(ge=1, le=MAX_ROW_ERRORS, description="The number of rows at most.")
    ] = 1_000


# --- What is answered -----------------------------------------------------------------------------


class ColumnOfHeader(msgspec.Struct):
    """A header of the file and the column it is mapped to."""

    header: str
    column: str | None


class ProgressBody(msgspec.Struct, kw_only=True):
    """How far checking, applying or undoing has come."""

    step: Annotated[
        str | None, Meta(description="The step of it in words; null while it waits for its turn.")
    ]
    waiting_for: Annotated[int, Meta(description="The number of uploads that come before it.")]
    done: int
    of: int | None
    fraction: Annotated[
        float | None, Meta(description="Of the step; null where nothing is counted.")
    ]
    rows_a_second: int
    seconds_left: Annotated[
        float | None, Meta(description="Until the upload is ready, applied or undone.")
    ]


class UndoObstacleBody(msgspec.Struct, kw_only=True):
    """A reason why changes cannot be undone."""

    reason: str
    count: int
    first: Annotated[list[str], Meta(description="Names of the first things it concerns.")]


class UndoBody(msgspec.Struct, kw_only=True):
    """What undoing does, as of `at`, or has done."""

    at: IsoMoment
    changes: int
    left: Annotated[int, Meta(description="Changes that something depends on.")]
    obstacles: list[UndoObstacleBody]
    kept: Annotated[list[UndoObstacleBody], Meta(description="What was left while undoing.")] = []


class LackingRights(msgspec.Struct, kw_only=True):
    """An effect of some rows that the token's user lacks rights for."""

    effect: str
    rights: list[str]
    rows: int
    message: str


class PreviewMember(msgspec.Struct, kw_only=True):
    """A person who would become a member of a customer."""

    email: str
    domain: str
    customer: str
    role: str
    rows: int
    is_rejected: Annotated[bool, Meta(description="With the present choices.")]
    is_of_another: bool
    belongs_to: list[str]


class PreviewMembers(msgspec.Struct, kw_only=True):
    """People who would become members, those of other customers first."""

    count: int | UnsetType = UNSET
    of_others: int | UnsetType = UNSET
    people: list[PreviewMember] | UnsetType = UNSET


class ValueChange(msgspec.Struct):
    """A value of a row before and after."""

    column: str
    old: Any
    new: Any


class ExampleRow(msgspec.Struct):
    """One of the first rows with an action."""

    row: int
    title: str
    values: list[ValueChange]


class RejectionReason(msgspec.Struct):
    """A reason for which rows are rejected."""

    column: str
    message: str
    rows: int


class WaitingForCustomer(msgspec.Struct):
    """Transactions in quarantine that would be one customer's."""

    customer: str | None
    transactions: int


class PreviewClaim(msgspec.Struct):
    """Transactions in quarantine that would be attributed."""

    transactions: int
    since: IsoMoment | None
    customers: list[WaitingForCustomer]


class ChargedToBody(msgspec.Struct, kw_only=True):
    """The subscription that calls are charged to, or the reason why they have no owner."""

    customer: str
    subscription: str
    subscription_id: int | None
    credential: str
    reason: str


class CallMovementBody(msgspec.Struct, kw_only=True):
    """Calls that would move."""

    before: ChargedToBody
    after: ChargedToBody
    calls: int
    first: IsoMoment
    last: IsoMoment


class PreviewMoves(msgspec.Struct, kw_only=True):
    """Counted calls that applying the list would move, as of `at`.

    If `counted` is false, `why` gives the reason: `long` (trying out the list takes too long) or
    `busy` (somebody was changing the same things).
    """

    counted: bool
    at: IsoMoment
    why: str | UnsetType = UNSET
    calls: int | UnsetType = UNSET
    is_complete: bool | UnsetType = UNSET
    since: IsoMoment | UnsetType | None = UNSET
    movements: list[CallMovementBody] | UnsetType = UNSET
    more: int | UnsetType = UNSET
    names: list[dict[str, Any]] | UnsetType = UNSET
    more_names: int | UnsetType = UNSET


class UploadWarning(msgspec.Struct, kw_only=True):
    """Something that rows would do and that nobody may overlook, though it is no fault."""

    code: str
    count: int
    message: str
    examples: list[str]


class NewSubscription(msgspec.Struct, kw_only=True):
    """A subscription that would be created for a customer and a plan.

    `product` is null if the product is created, too. `is_numbered`: others have the external key
    that the pattern gives.
    """

    customer: str
    plan: str
    external_key: str
    product: str | None
    is_numbered: bool


class NewSubscriptions(msgspec.Struct, kw_only=True):
    """The number of new subscriptions of plans, and the first of them, numbered ones first."""

    count: int = 0
    first: list[NewSubscription] = []


class CallsOfMonth(msgspec.Struct, kw_only=True):
    """Calls that a list of usage brings to a customer in a month, or that would wait."""

    customer: Annotated[str | None, Meta(description="Null if they would wait in quarantine.")]
    reason: Annotated[str | None, Meta(description="Why they would wait, for people.")]
    month: Annotated[str, Meta(description="In UTC, such as 2026-11.")]
    rows: int
    calls: float


class CallsOfList(msgspec.Struct, kw_only=True):
    """Calls that a list of usage brings."""

    rows: int
    waiting: Annotated[int, Meta(description="Rows that would wait in quarantine.")]
    months: list[CallsOfMonth]
    more: Annotated[int, Meta(description="Number of further customers and months.")]


class PreviewBody(msgspec.Struct, kw_only=True):
    """The effects that applying would have: counts, and examples of rows."""

    counts: RowCounts
    also_creates: RowCounts
    effects: Annotated[
        RowCounts, Meta(description="Rows by effect. Each effect takes rights of its own.")
    ]
    lacking: Annotated[
        list[LackingRights], Meta(description="Effects that the token's user lacks rights for.")
    ]
    members: PreviewMembers
    examples: dict[str, list[ExampleRow]]
    reasons: list[RejectionReason]
    claim: Annotated[
        PreviewClaim | None, Meta(description="Null if lists of this kind cannot have any.")
    ]
    warnings: list[UploadWarning]
    new_subscriptions: NewSubscriptions
    moves: PreviewMoves | None
    calls: Annotated[CallsOfList | None, Meta(description="Null if it is no list of usage.")]


class UploadBody(msgspec.Struct, kw_only=True):
    """An upload. The fields are the same in every state: absent things are null."""

    id: int
    kind: ListKind
    name: str
    bytes: int
    sha256: str
    state: Annotated[str, Meta(extra_json_schema={"enum": Upload.State.values})]
    error: str | None
    file_format: Annotated[str | None, Meta(description="How the file was read, for people.")]
    columns: list[ColumnOfHeader]
    fixed_values: FixedValues
    choices: dict[str, str]
    rows: int | None
    progress: ProgressBody | None
    preview: PreviewBody | None
    outcome: RowCounts | None
    undo: Annotated[UndoBody | None, Meta(description="Null if nobody has asked for undoing.")]
    by: str | None
    applied_by: str | None
    created_at: datetime
    file_kept_until: Annotated[datetime | None, Meta(description="Null once the file is deleted.")]
    applied_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, upload: Upload, user: User) -> "UploadBody":
        """Return the upload with the effects that this user lacks rights for."""
        return cls(
            id=upload.pk,
            kind=ListKind(upload.kind),
            name=upload.file_name,
            bytes=upload.size,
            sha256=upload.digest,
            state=upload.state,
            error=upload.error or None,
            file_format=upload.file_format or None,
            columns=[
                ColumnOfHeader(header, upload.mapping.get(str(position)))
                for position, header in enumerate(upload.header)
            ],
            fixed_values=upload.fixed_values,
            choices=upload.choices,
            rows=upload.total,
            progress=_progress_of(upload) if upload.is_under_way else None,
            preview=_preview_of(upload, user) if upload.preview else None,
            outcome=upload.outcome or None,
            undo=(
                msgspec.convert(upload.undo_preview, UndoBody)
                if "at" in upload.undo_preview
                else None
            ),
            by=upload.by.email if upload.by else None,
            applied_by=upload.applied_by.email if upload.applied_by else None,
            created_at=upload.created_at,
            file_kept_until=upload.file_kept_until,
            applied_at=upload.applied_at,
            ended_at=upload.ended_at,
        )


class UploadsBody(msgspec.Struct, kw_only=True):
    """Uploads, the latest first."""

    uploads: list[UploadBody]
    before: Annotated[
        int | None,
        Meta(description="Send it as `before` to get the next ones; null after the last ones."),
    ]


class RowErrorsBody(msgspec.Struct, kw_only=True):
    """Problems of rejected rows. Of a key, `hint` has only the end, of a secret nothing."""

    errors: list[RowProblem]
    after: Annotated[
        int | None,
        Meta(description="Send it as `after` to get the next rows; null after the last ones."),
    ]


def _progress_of(upload: Upload) -> ProgressBody:
    progress = progress_of(upload, timezone.now())
    return ProgressBody(
        step=progress.step or None,
        waiting_for=0 if progress.step else uploads_before(upload).count(),
        done=progress.done,
        of=progress.total,
        fraction=None if progress.fraction is None else round(progress.fraction, 4),
        rows_a_second=round(progress.rate),
        seconds_left=None if progress.left is None else progress.left.total_seconds(),
    )


def _preview_of(upload: Upload, user: User) -> PreviewBody:
    preview, claim = upload.preview, upload.preview["claim"]
    moves = preview.get("moves")
    return PreviewBody(
        counts=preview["counts"],
        also_creates=preview["also_creates"],
        effects=preview.get("effects", {}),
        lacking=[
            LackingRights(
                effect=missing.effect,
                rights=list(missing.rights),
                rows=missing.count,
                message=f"You may not {missing}.",
            )
            for missing in rights.missing_rights_to_apply(upload, user)
        ],
        members=msgspec.convert(preview.get("members", {}), PreviewMembers),
        examples={
            action: [
                ExampleRow(
                    example["row"],
                    example["title"],
                    [ValueChange(*change) for change in example["values"]],
                )
                for example in examples
            ]
            for action, examples in preview["examples"].items()
        },
        reasons=[RejectionReason(*reason) for reason in preview["reasons"]],
        claim=claim
        and PreviewClaim(
            claim["transactions"],
            claim["since"],
            [WaitingForCustomer(*waiting) for waiting in claim["customers"]],
        ),
        warnings=msgspec.convert(preview.get("warnings", []), list[UploadWarning]),
        new_subscriptions=msgspec.convert(preview.get("new_subscriptions", {}), NewSubscriptions),
        moves=moves and msgspec.convert(moves, PreviewMoves),
        calls=preview.get("calls") and msgspec.convert(preview["calls"], CallsOfList),
    )
