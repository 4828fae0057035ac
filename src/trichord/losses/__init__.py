"""Losses: InfoNCE between and within modalities, the caption loss, and the objective that combines them."""
