"""Search: moments of files, a collection of their vectors, and what is found in it."""
