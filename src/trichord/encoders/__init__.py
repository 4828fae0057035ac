"""Encoders: pretrained towers with a head into the shared space."""
