"""Models: encoders side by side in one space."""
