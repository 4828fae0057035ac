"""Trichord: language, sound and sight in one embedding space. Train it, measure it, search with it."""
