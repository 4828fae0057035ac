"""Models: encoders with a shared embedding space, fusions, captioning."""
