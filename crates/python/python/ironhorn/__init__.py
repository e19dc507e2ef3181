"""Ironhorn: a pre-fork WSGI server."""

from ironhorn._ironhorn import __version__

__all__ = ["__version__"]
