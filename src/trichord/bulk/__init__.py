"""Bulk work in shards: one idempotent function, run in this process or by Ray Data."""
