"""Trichord from Python: a model that embeds, and a collection that is searched."""

from trichord.api.conformance import Check, check_encoder

__all__ = ["Check", "check_encoder"]
