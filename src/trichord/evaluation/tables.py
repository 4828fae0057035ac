"""The one style that tables of reports have."""

from rich.box import SIMPLE_HEAD
from rich.table import Table


def plain_table(title: str, caption: str | None = None) -> Table:
    """A table without columns yet; the protocol stands beneath it."""
    return Table(
        title=title,
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
