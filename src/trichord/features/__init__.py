"""Cached trunk features: frozen towers are read once, and training never touches media twice."""
