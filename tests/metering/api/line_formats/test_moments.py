from datetime import UTC, datetime

import pytest

from metering.api.line_formats.definition import Pointer
from metering.api.line_formats.moments import moment_reader

NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "unit", "microsecond"),
    [
        ("2026-11-16T12:00:00Z", "", 0),
        ("2026-11-16T13:00:00+01:00", "", 0),
        ("2026-11-16T12:00:00.123456789Z", "", 123456),
        ("2026-11-16 12:00:00.5", "", 500000),
        ("16/Nov/2026:13:00:00 +0100", "", 0),
        ("[16/Nov/2026:12:00:00 +0000]", "", 0),
        (1794830400, "", 0),
        ("1794830400.123", "", 123000),
        (1794830400.123456, "", 123456),
        (1794830400123, "", 123000),
        ("1794830400123456", "", 123456),
        (1794830400123456789, "", 123456),
        (1794830400, "s", 0),
        ("1794830400123", "ms", 123000),
        (1794830400123456, "us", 123456),
        ("1794830400123456789", "ns", 123456),
        ("2026/11/16 - 12:00:00", "%Y/%m/%d - %H:%M:%S", 0),
    ],
)
def test_moments_of_logs_are_read(value, unit, microsecond):
    read = moment_reader(Pointer("at", unit=unit), "UTC")

    assert read(value) == NOON.replace(microsecond=microsecond)


def test_a_moment_without_a_zone_is_of_the_formats():
    read = moment_reader(Pointer("at", unit="%Y/%m/%d %H:%M"), "Europe/Berlin")

    assert read("2026/11/16 13:00") == NOON
    assert moment_reader(Pointer("at"), "Europe/Berlin")("2026-11-16T13:00") == NOON


@pytest.mark.parametrize("value", ["soon", "", True, None, [], "nan", "1e400", -1e300, 10**30])
def test_what_is_no_moment_is_an_error(value):
    with pytest.raises((ValueError, OverflowError, TypeError)):
        moment_reader(Pointer("at"), "UTC")(value)


def test_a_unit_takes_numbers_only():
    with pytest.raises(ValueError):  # noqa: PT011 - any
        moment_reader(Pointer("at", unit="ms"), "UTC")("2026-11-16T12:00:00Z")
