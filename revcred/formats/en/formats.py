"""Formats of dates wherever a page gives none: sortable, and the same for every reader."""

DATE_FORMAT = "Y-m-d"
DATETIME_FORMAT = "Y-m-d H:i"
