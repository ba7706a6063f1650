"""Errors of the launcher."""


class LaunchError(Exception):
    """The command cannot go on; the message says why, in a sentence for its user."""


class StopRequestedError(Exception):
    """A stop was requested by Ctrl-C or by a signal."""
