"""The generated world: its law, its grammar, its rendering and the best that can be reached on it."""
