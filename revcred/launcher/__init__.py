"""Runs all of revcred on one machine: stores and processes, with nothing to install.

It imports neither Django nor the rest of revcred, for it works before those are configured.
"""

from revcred.launcher.stores import running_stores

__all__ = ["running_stores"]
