"""A package, so that its fixtures can last as long as its tests: a browser started once a worker."""
