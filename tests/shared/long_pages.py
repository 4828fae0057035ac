"""Pages of the documentation that take too long to be typed in every run of the tests."""

TUTORIAL = "docs/tutorial.md"
LONG = (
    "docs/world.md",
    "docs/how-to/captions.md",
    "docs/how-to/clip4vla.md",
    "docs/how-to/export.md",
    "docs/how-to/object-storage.md",
    "docs/how-to/own-clips.md",
    "docs/how-to/probes.md",
)
"""Typed by `make torture` on small worlds; the tutorial at its true sizes."""
