"""The command line: one verb a function; a run directory or a collection is all that later verbs need."""

from trichord.cli.main import main

__all__ = ["main"]
