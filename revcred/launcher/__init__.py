"""Runs revcred on a laptop: its stores, its processes, and nothing to install or to clean up.

Imports neither Django nor the rest of revcred: it has to work before any of that is configured.
"""

from revcred.launcher.stores import stores

__all__ = ["stores"]
