"""cellmill: microscopy images of any size in, cells out."""

from cellmill.version import __version__

__all__ = ["__version__"]
