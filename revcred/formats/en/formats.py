"""Formats of dates wherever a page gives none: sortable, and the same for every reader.

The others are those of the storefront, which names them: each language has its own.
"""

DATE_FORMAT = "Y-m-d"
DATETIME_FORMAT = "Y-m-d H:i"

SHORT_DAY = "j M Y"
SHORT_MOMENT = "j M Y, H:i"
SHORT_MOMENT_SECONDS = "j M Y, H:i:s"
LONG_DAY = "j F Y"
LONG_DAY_WITHOUT_YEAR = "j F"
LONG_DAY_OF_MONTH = "j"
LONG_MOMENT_SECONDS = "j F Y, H:i:s"
MONTH_AND_YEAR = "F Y"
WEEKDAY = "D j M"
WEEKDAY_AND_YEAR = "D j M Y"
WEEKDAY_AND_TIME = "D j M, H:i"
TIME_OF_DAY = "H:i"
