"""What consoles and notebooks show of objects: a line, or plain HTML.

All text in HTML is escaped; nothing is run, and nothing is fetched.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

from trichord.types import first_line

WIDTH, HEIGHT, MARGIN = 160, 32, 4
"""Of a curve, in pixels."""


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


def one_line(kind: str, name: object, values: Mapping[str, object]) -> str:
    """An object in one line: `Kind('name'; a: 1; b: c)`."""
    parts = [repr(name), *(f"{key}: {value}" for key, value in values.items())]
    return f"{kind}({'; '.join(parts)})"


def readable(read: Callable[[], Mapping[str, object]]) -> Mapping[str, object]:
    """What is read from disk for display, or why it cannot be: a `repr` never raises."""
    try:
        return read()
    except Exception as error:  # whatever is damaged
        return {"error": first_line(error)}


def curve(values: Sequence[float | None], *, lowest: bool = False) -> Html:
    """A line through the values of equal steps, as SVG; empty with fewer than two.

    Args:
        values: None: left out of the line.
        lowest: Mark the lowest value, and not the highest, with a dot.
    """
    known = [(place, value) for place, value in enumerate(values) if value is not None]
    if len(known) < 2:
        return Html()
    low, high = (pick(value for _, value in known) for pick in (min, max))
    across, up = WIDTH / (len(values) - 1), HEIGHT / ((high - low) or 1)
    points = [(MARGIN + place * across, MARGIN + (high - value) * up) for place, value in known]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[[value for _, value in known].index(low if lowest else high)]
    size = f'width="{WIDTH + 2 * MARGIN}" height="{HEIGHT + 2 * MARGIN}"'
    # currentColor: the text's, so that it is seen on a dark page too.
    return Html(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        f'<polyline points="{line}" fill="none" stroke="currentColor"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="currentColor"/></svg>'
    )
