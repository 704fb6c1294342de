"""The folder for what can be made or fetched again, as everything above takes it."""

from cellmill.compute.folders import cache_folder, locked

__all__ = ["cache_folder", "locked"]
