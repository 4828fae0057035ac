"""Captions that a run writes: written, scored, reported, compared."""
