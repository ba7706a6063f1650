"""Formats of lines: how the logs of a gateway are read. Each is data, built in or an admin's own.

`definition` says what a format may say, `compiled` makes a reader of it, `lines` splits what was
posted, `built_in` has the formats of known gateways.
"""
