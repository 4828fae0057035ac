"""Cached trunk features: frozen towers run once per clip, and training does not decode media again."""
