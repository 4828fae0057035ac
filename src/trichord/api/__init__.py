"""Trichord from Python: a model that embeds, and a collection that is searched."""
