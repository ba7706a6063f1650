from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from metering.api.decoding import ItemRejected
from metering.api.line_formats.compiled import CompiledFormat
from metering.api.line_formats.definition import FormatDefinition
from metering.api.line_formats.lines import RecordPlace
from metering.api.transactions import AcceptanceWindow

WINDOW = AcceptanceWindow(
    datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC) + timedelta(hours=1), 365
)


def compiled(**fields):
    definition = FormatDefinition(**{"occurred_at": ("ts",)} | fields)
    return CompiledFormat("trial", 1, definition)


def calls_in(line_format, *lines, line_id=None):
    """Read lines of one post: a call each, None for what does not count, or a rejection."""
    counts = Counter()
    found = []
    for line in lines:
        for record, text in line_format.records_in(line):
            try:
                place = RecordPlace(text, line_id)
                found.append(line_format.call_of(record, place, WINDOW, counts))
            except ItemRejected as rejection:
                found.append(rejection)
    return found


@pytest.fixture
def only_call():
    def only_call(line_format, line, **named):
        (call,) = calls_in(line_format, line, **named)
        if isinstance(call, ItemRejected):
            raise call
        return call

    return only_call
