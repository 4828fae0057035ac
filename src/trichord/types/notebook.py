"""HTML that notebooks show: plain tables. All text is escaped; nothing is run or fetched."""

from collections.abc import Iterable, Mapping
from html import escape


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def cell(value: object, tag: str = "td") -> str:
    """A cell of a table, aligned to the left: notebooks align to the right."""
    text = value if isinstance(value, Html) else escape(str(value))
    return f'<{tag} style="text-align:left">{text}</{tag}>'


def table(rows: Iterable[Iterable[object]], head: Iterable[object] = ()) -> Html:
    """A table.

    Args:
        rows: Its cells: texts, or `Html`.
        head: Titles of the columns; none without any.
    """
    titles = "".join(cell(title, "th") for title in head)
    top = f"<thead><tr>{titles}</tr></thead>" if titles else ""
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return Html(f"<table>{top}<tbody>{body}</tbody></table>")


def facts(title: str, values: Mapping[str, object]) -> Html:
    """A title, and a table of names and values."""
    return Html(f"<b>{escape(title)}</b>{table(values.items())}")
