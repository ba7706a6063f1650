class LaunchError(Exception):
    """Says, in a sentence for whoever typed the command, why it cannot go on."""


class StopRequestedError(Exception):
    """Ctrl-C, or a signal that means the same."""
