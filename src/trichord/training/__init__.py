"""Training: the loop, its state between two steps, and the recipe of the stand-in towers."""
