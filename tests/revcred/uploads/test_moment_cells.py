"""Moments and durations as other systems write them."""

from zoneinfo import ZoneInfo

import pytest

from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.moment_cells import (
    DayOrder,
    is_time_zone,
    parse_duration,
    parse_moment,
    unit_in_header,
    without_unit,
)

BERLIN, UTC = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")


def parsed(cell, order=DayOrder.ASK, zone=UTC):
    return parse_moment(cell, day_order=order, time_zone=zone).removesuffix("+00:00")


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2027-12-31", "2027-12-31T00:00:00"),
        ("2027/12/31", "2027-12-31T00:00:00"),
        ("2027-12-31 18:30", "2027-12-31T18:30:00"),
        ("2027-12-31T18:30:00Z", "2027-12-31T18:30:00"),
        ("2027-12-31T18:30:00.123456789Z", "2027-12-31T18:30:00.123456"),
        ("2027-12-31T18:30:00+01:00", "2027-12-31T17:30:00"),
        ("2027-12-31 18:30:00 UTC", "2027-12-31T18:30:00"),
        ("31.12.2027", "2027-12-31T00:00:00"),
        ("1.2.2026 10:00", "2026-02-01T10:00:00"),
        ("01.02.2026, 10:00:05 Uhr", "2026-02-01T10:00:05"),
        ("1.2.26", "2026-02-01T00:00:00"),
        ("01.02.26 10:00", "2026-02-01T10:00:00"),
        ("01-Feb-2026", "2026-02-01T00:00:00"),
        ("31/12/2027", "2027-12-31T00:00:00"),
        ("12/31/2027 6:30 PM", "2027-12-31T18:30:00"),
        ("12/31/2027 12:00 AM", "2027-12-31T00:00:00"),
        ("05/05/2027", "2027-05-05T00:00:00"),
        ("31 Dec 2027", "2027-12-31T00:00:00"),
        ("December 31, 2027", "2027-12-31T00:00:00"),
        ("31. Dezember 2027", "2027-12-31T00:00:00"),
        ("3. März 2027 08:00", "2027-03-03T08:00:00"),
        ("Fri, 31 Dec 2027 18:30:00 GMT", "2027-12-31T18:30:00"),
        ("Fri Dec 31 2027 18:30:00 +0100", "2027-12-31T17:30:00"),
        ("Fri Dec 31 2027 18:30:00 GMT+0100 (CET)", "2027-12-31T17:30:00"),
        ("31-DEC-27", "2027-12-31T00:00:00"),
        ("1er août 2027", "2027-08-01T00:00:00"),
        ("3 de mayo de 2027", "2027-05-03T00:00:00"),
        ("3 maart 2027", "2027-03-03T00:00:00"),
        ("20271231", "2027-12-31T00:00:00"),
        ("20271231T183000Z", "2027-12-31T18:30:00"),
        ("1769081929", "2026-01-22T11:38:49"),
        ("1769081929988", "2026-01-22T11:38:49.988000"),
        ("1769081929988000", "2026-01-22T11:38:49.988000"),
        ("1769081929988000001", "2026-01-22T11:38:49.988000"),
        ("1769081929.5", "2026-01-22T11:38:49.500000"),
        ("1769081929,5", "2026-01-22T11:38:49.500000"),
        *((each, "") for each in ("", " ", "-1", "0", "never", "Nie", "null", "unbegrenzt", "-")),
        # What a clock says that nobody has set.
        *((each, "") for each in ("0001-01-01T00:00:00Z", "0000-00-00 00:00:00", "1970-01-01")),
    ],
)
def test_moments_are_read_as_they_are_written(cell, moment):
    assert parsed(cell) == moment


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("03/04/2027", "read two ways"),
        ("3-4-2027", "read two ways"),
        ("31/12/27", "four digits"),
        ("99999999999999999999", "No moment between 1990 and 2200"),
        ("20271331", "not a date"),
        ("46387", "number of a day"),
        ("2027-13-01", "not a date"),
        ("31.02.2027", "not a date"),
        ("soon", "not a date"),
        ("31 Foo 2027", "not a date"),
        ("12/31/2027 13:30 PM", "not a date"),
        ("9999-12-31T23:59:59-14:00", "not a date"),
    ],
)
def test_what_is_no_certain_moment_is_rejected(cell, said):
    with pytest.raises(InvalidCell, match=said):
        parsed(cell)


@pytest.mark.parametrize(
    ("order", "moment"),
    [
        (DayOrder.DAY_FIRST, "2027-04-03T00:00:00"),
        (DayOrder.MONTH_FIRST, "2027-03-04T00:00:00"),
    ],
)
def test_the_order_of_day_and_month_can_be_chosen(order, moment):
    assert parsed("03/04/2027", order) == moment


def test_a_date_of_the_other_order_is_rejected():
    with pytest.raises(InvalidCell, match="no such month"):
        parsed("31/12/2027", DayOrder.MONTH_FIRST)


def test_a_time_zone_is_for_moments_without_an_offset():
    assert parsed("31.12.2027", zone=BERLIN) == "2027-12-30T23:00:00"
    assert parsed("2027-07-01 12:00", zone=BERLIN) == "2027-07-01T10:00:00"
    assert parsed("2027-07-01 12:00Z", zone=BERLIN) == "2027-07-01T12:00:00"
    assert (is_time_zone("Europe/Berlin"), is_time_zone("../x")) == (True, False)


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        *(("3600", "3600"), ("3600.0", "3600"), ("1,5h", "5400"), ("30d", "2592000")),
        *(("2 weeks", "1209600"), ("90 Tage", "7776000"), ("0", ""), ("-1", ""), ("", "")),
        *(("null", ""), ("1h 30m", "5400"), ("1d12h", "129600"), ("P1DT12H", "129600")),
        *(
            ("P30D", "2592000"),
            ("00:30:00", "1800"),
            ("6 months", "15552000"),
            ("2 Jahre", "63072000"),
        ),
        ("1500ms", "1"),
    ],
)
def test_durations_are_seconds_or_have_units(cell, seconds):
    assert parse_duration(cell) == seconds


@pytest.mark.parametrize(
    "cell", ["soon", "-5", "1 fortnight", "9" * 30, "1h 30", "P", "9" * 4000 + "!"]
)
def test_what_is_no_duration_is_rejected(cell):
    with pytest.raises(InvalidCell):
        parse_duration(cell)


@pytest.mark.parametrize(
    ("header", "unit", "rest"),
    [
        *(("ttl_hours", "hours", "ttl"), ("Validity (days)", "days", "Validity")),
        *(("lifetimeSeconds", "seconds", "lifetime"), ("ttl in ms", "ms", "ttl in")),
        *(("time to live", "", "time to live"), ("ttl", "", "ttl")),
    ],
)
def test_a_header_may_name_the_unit_of_its_numbers(header, unit, rest):
    assert (unit_in_header(header), without_unit(header)) == (unit, rest)
    assert parse_duration("2", unit="hours") == "7200"
