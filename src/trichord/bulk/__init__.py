"""Bulk work in shards: one idempotent function, called in this process or by Ray Data."""
