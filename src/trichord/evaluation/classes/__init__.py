"""Runs as classifiers: linear probes, and classes by prompts alone."""
