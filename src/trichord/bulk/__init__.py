"""Bulk work in shards: one idempotent function, carried out here, by worker processes, or by Ray Data."""
