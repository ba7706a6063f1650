"""The door `/v1/lines`: what a gateway logs, in its own shape, read by the gateway's format."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

import msgspec
from drf_spectacular.utils import OpenApiExample
from msgspec import Meta

from metering.api.acceptance import Acceptance, NothingAccepted, acceptance_of, acceptance_status
from metering.api.decoding import MAX_ITEMS_PER_BODY, ItemRejected
from metering.api.dialects import Answer, Dialect, GatewayPost, ParsedBody
from metering.api.documentation import TRANSACTION_TAGS, DoorDocumentation
from metering.api.line_formats.choosing import UnknownFormat, format_of_gateway
from metering.api.line_formats.compiled import CompiledFormat, content_of_text, id_of_content
from metering.api.line_formats.lines import Record, RecordPlace
from metering.api.line_formats.posted_lines import PlacedLine, PostedLine, split_lines
from metering.api.transactions import AcceptanceWindow
from metering.inbox.calls import Call
from metering.inbox.rejections import ItemRejection, RejectedItem
from revcred.api.errors import BodyTooLarge, MalformedRequest
from revcred.api.schema import ERROR_SCHEMA, json_schema_of

MAX_SHOWN_ID_CHARACTERS = 200
IgnoredLines = Annotated[int, Meta(description="Lines that are no calls, or do not count.")]


class LinesAcceptance(Acceptance, kw_only=True):
    """The answer to lines that were safe on disk before it was answered."""

    ignored: IgnoredLines


class NoLineAccepted(NothingAccepted, kw_only=True):
    """The answer if every line was rejected."""

    ignored: IgnoredLines


class LinesDialect(Dialect):
    """Lines of a gateway's log, or what it posts by itself."""

    item_media_type = "text/plain"
    documented = DoorDocumentation(
        name="post_lines",
        summary="Post lines of a gateway's log",
        tag=TRANSACTION_TAGS[0],
        description=(
            "A JSON array, an object, one line after the other as text or `application/x-ndjson`, "
            "or lines with their place in a file; up to 1,000 and 1 MB, also when inflated from "
            "gzip. The format on the gateway's page says how they are read. A line with an error "
            "is rejected by itself; the answer is 400 if all of them are. A line that is sent "
            "again is counted once."
        ),
        request={
            "application/json": {
                "oneOf": [
                    {"type": "object"},
                    {
                        "type": "array",
                        "items": {"oneOf": [{"type": "object"}, {"type": "string"}]},
                        "minItems": 1,
                        "maxItems": MAX_ITEMS_PER_BODY,
                    },
                ]
            },
            "application/x-ndjson": json_schema_of(PlacedLine),
            "text/plain": {"type": "string"},
        },
        answers={
            202: json_schema_of(LinesAcceptance),
            400: {"anyOf": [json_schema_of(NoLineAccepted), ERROR_SCHEMA]},
        },
        examples=[
            OpenApiExample(
                "A line with its place",
                value={
                    "file": "edge-1-5f0c1d",
                    "at": 18230,
                    "line": '{"id":"9c0e","ts":"1795882668.481","key":"the-callers-own-key",'
                    '"method":"GET","path":"/maps","status":"200"}',
                },
                request_only=True,
            ),
        ],
    )

    def read(self, post: GatewayPost) -> ParsedBody:
        reader = LinesReader.for_post(post)
        for index, line in enumerate(split_lines(post.body, post.media_type)):
            reader.read(index, line)
        return ParsedBody(reader.calls, reader.rejected, passed_over=reader.ignored)

    def answer(self, post: GatewayPost, reading: ParsedBody, delivery: UUID) -> Answer:
        body = acceptance_of(delivery, reading.calls, reading.rejected)
        status = acceptance_status(reading.calls, reading.rejected)
        answer_type = NoLineAccepted if isinstance(body, NothingAccepted) else LinesAcceptance
        fields = msgspec.structs.asdict(body)
        return Answer(status, answer_type(**fields, ignored=reading.passed_over))


@dataclass
class LinesReader:
    """Reads the lines of one post into calls, rejected items and a number of ignored lines."""

    line_format: CompiledFormat
    window: AcceptanceWindow
    calls: list[Call] = field(default_factory=list)
    rejected: list[RejectedItem] = field(default_factory=list)
    ignored: int = 0
    _counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def for_post(cls, post: GatewayPost) -> "LinesReader":
        """Return a reader by the format of the gateway. Raises MalformedRequest."""
        try:
            line_format = format_of_gateway(post.gateway)
        except UnknownFormat as error:
            message = "The gateway's format does not exist. Choose another on its page."
            raise MalformedRequest(message, code="unknown_format") from error
        return cls(line_format, AcceptanceWindow.for_gateway(post.gateway, post.now))

    def read(self, index: int, line: PostedLine | ItemRejected) -> None:
        """Read the line at this position in the body. Raises BodyTooLarge."""
        if isinstance(line, ItemRejected):
            self._reject(index, line, None, None)
            return
        try:
            records = self.line_format.records_in(line.text)
        except ItemRejected as rejection:
            transaction_id = line.line_id or self._id_of_text(line.text)
            self._reject(index, rejection, transaction_id, line.as_posted)
            return
        self.ignored += not records
        for number, (record, text) in enumerate(records):
            line_id = f"{line.line_id}-{number}" if number and line.line_id else line.line_id
            # One of several records of a line cannot be tried again by itself.
            posted = line.as_posted if len(records) == 1 else None
            self.read_record(index, record, RecordPlace(text, line_id), posted)

    def read_record(
        self, index: int, record: Record, place: RecordPlace, posted: str | None = None
    ) -> None:
        """Read one record of the item at this position. Raises BodyTooLarge.

        `posted`: the item as it was sent, if it may be kept to be tried again.
        """
        try:
            call = self.line_format.call_of(record, place, self.window, self._counts)
        except ItemRejected as rejection:
            own_id, _ = self.line_format.id_in(record)
            key, credential = self.line_format.keys_in(record)
            rejection.key = _text_or_none(key if key is not None else credential)
            transaction_id = _text_or_none(own_id) or place.line_id or self._id_of_text(place.text)
            self._reject(index, rejection, transaction_id, posted)
            return
        if call is None:
            self.ignored += 1
        else:
            self.calls.append(call)
            self._check_number()

    def _check_number(self) -> None:
        if len(self.calls) + len(self.rejected) > MAX_ITEMS_PER_BODY:
            message = f"At most {MAX_ITEMS_PER_BODY:,} records at once. Send them in parts."
            raise BodyTooLarge(message, code="too_many")

    def _id_of_text(self, text: str) -> str:
        """Return the id that a record of this text has, or will have once it is accepted."""
        return id_of_content(content_of_text(text), self._counts)

    def _reject(
        self, index: int, rejection: ItemRejected, transaction_id: str | None, posted: str | None
    ) -> None:
        told = ItemRejection(
            index=index,
            transaction_id=transaction_id and transaction_id[:MAX_SHOWN_ID_CHARACTERS],
            field=rejection.field,
            code=rejection.code,
            message=rejection.message,
        )
        self.rejected.append(RejectedItem(told, rejection.key, posted))
        self._check_number()


def _text_or_none(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
