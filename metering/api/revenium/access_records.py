"""Log records of OTLP that are a gateway's own log of calls: its format reads them.

Envoy and Traefik send attributes, a collector that tails a file sends lines as bodies. Both are
read as `/v1/lines` reads the same line, so that what counts does not depend on the way it came.
"""

from typing import Any

from metering.api import facts
from metering.api.decoding import ItemRejected
from metering.api.dialects import GatewayPost
from metering.api.line_formats.lines import Record, RecordPlace
from metering.api.lines import LinesReader
from metering.api.revenium.calls_in_logs import says_that_it_is_a_call
from metering.api.revenium.log_records import ParsedLogRecord
from metering.api.revenium.record_facts import content_digest, moment_of_record
from revcred.models import Gateway


def has_log_of_calls(gateway: Gateway) -> bool:
    """Return True if a format was chosen for the gateway, or if its kind has one."""
    return bool(gateway.line_format) or gateway.kind != Gateway.Kind.OTHER


class AccessRecordReader:
    """A reader of the log records of one post that are lines of the gateway's log."""

    def __init__(self, post: GatewayPost) -> None:
        """Prepare to read. Raises MalformedRequest if the gateway's format does not exist."""
        self.lines = LinesReader.for_post(post)
        self._arrived_at = post.now

    def read(self, index: int, record: ParsedLogRecord) -> bool:
        """Return True if the record at this position in the body is a line, which is read then.

        Raises BodyTooLarge.
        """
        if says_that_it_is_a_call(record):
            return False
        try:
            moment = moment_of_record(record, self._arrived_at)
        except ItemRejected:
            return False
        found = self._records_in(record)
        for line, line_text in found:
            before = len(self.lines.calls)
            self.lines.read_record(index, line, RecordPlace(line_text, None, moment))
            for call in self.lines.calls[before:]:
                call.undated = not record.at and call.occurred_at == moment
        return bool(found)

    def _records_in(self, record: ParsedLogRecord) -> list[tuple[Record, str]]:
        line_format = self.lines.line_format
        lines = self._records_in_body(record.body)
        calls = [(each, text) for each, text in lines if line_format.is_of_call(each)]
        if calls or line_format.definition.lines != "json":
            return calls
        of_body = record.body if isinstance(record.body, dict) else {}
        for members in (dict(record.attributes), of_body):
            if line_format.is_of_call(members):
                return [(facts.replace_nul(members), content_digest(record))]
        return []

    def _records_in_body(self, body: Any) -> list[tuple[Record, str]]:
        if not isinstance(body, str):
            return []
        try:
            return self.lines.line_format.records_in(body.rstrip("\r\n"))
        except ItemRejected:
            return []  # a text for people, of which there are more
