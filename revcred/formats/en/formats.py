"""Moments as one sorts and compares them, wherever a page doesn't say how to show them."""

DATE_FORMAT = "Y-m-d"
DATETIME_FORMAT = "Y-m-d H:i"
