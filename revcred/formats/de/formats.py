"""German formats. What has no name here is Django's."""

DATE_FORMAT = "j. N Y"
DATETIME_FORMAT = "j. N Y, H:i"
# Browsers send and expect dates in this form, whatever they show.
DATE_INPUT_FORMATS = ["%Y-%m-%d", "%d.%m.%Y"]

SHORT_DAY = "j. N Y"
SHORT_MOMENT = "j. N Y, H:i"
SHORT_MOMENT_SECONDS = "j. N Y, H:i:s"
LONG_DAY = "j. F Y"
LONG_DAY_WITHOUT_YEAR = "j. F"
LONG_DAY_OF_MONTH = "j."
LONG_MOMENT_SECONDS = "j. F Y, H:i:s"
MONTH_AND_YEAR = "F Y"
WEEKDAY = "D, j. N"
WEEKDAY_AND_YEAR = "D, j. N Y"
WEEKDAY_AND_TIME = "D, j. N, H:i"
TIME_OF_DAY = "H:i"
