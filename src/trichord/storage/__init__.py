"""Where tables and files last: a folder or a bucket, by the same words, and Lance tables in them."""

from trichord.storage.storage import Storage

__all__ = ["Storage"]
