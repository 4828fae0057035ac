"""Training: the loop, and its state between two steps."""
