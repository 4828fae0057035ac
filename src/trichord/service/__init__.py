"""The HTTP service: search, media and thumbnails of a collection, for the page and for programs."""

from trichord.service.server import serve

__all__ = ["serve"]
