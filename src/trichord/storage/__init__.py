"""Storage of tables and files: a folder or a bucket behind one interface, and Lance tables in it."""

from trichord.storage.storage import Storage

__all__ = ["Storage"]
