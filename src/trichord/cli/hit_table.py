"""The hits of a search as a table in the terminal."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from trichord.types import FoundText, Hit
from trichord.types.files import exists


def reranked(hits: Sequence[Hit]) -> bool:
    """Whether a fusion ordered the hits."""
    return any(hit.reranked is not None for hit in hits)


def hit_table(hits: Sequence[Hit], title: str | None = None) -> Table:
    """A table of hits, best first, with a title where several queries have one each."""
    by_fusion = reranked(hits)
    known = any(hit.chance is not None for hit in hits)
    notes = ["score = visual + audio, in standard deviations of an unrelated moment's score"]
    if known:
        notes.append("chance: how likely the best of so many unrelated moments scores as high")
    elif hits:
        notes.append("no chances: they are measured when 'trichord index' is run again")
    if by_fusion:
        notes.append("where there is a score of the fusion, it decides the order")
    shown = Table(title=None if title is None else escape(title), caption="\n".join(notes))
    columns = ["#", *(["fusion"] if by_fusion else []), "score", "visual", "audio"]
    for name in columns + ["chance"] * known:
        shown.add_column(name, justify="right")
    shown.add_column("when")
    shown.add_column("file", overflow="fold")
    for place, hit in enumerate(hits, start=1):
        numbers = [hit.score, hit.visual, hit.audio]
        shares = ([hit.reranked] if by_fusion else []) + numbers
        parts = ["–" if share is None else f"{share:+.2f}" for share in shares]
        parts += [_percent(hit.chance)] * known
        when = f"{hit.start:.1f}–{hit.end:.1f} s"
        weak = hit.weak and not (place > 1 and hits[place - 2].weak)
        if weak and place > 1:
            shown.add_section()
        style = "dim" if hit.weak else None
        said = [_said(text) for text in hit.texts]
        file = "\n".join([escape(hit.moment.file) + _marks(hit), *said])
        shown.add_row(str(place), *parts, when, file, style=style)
    return shown


def _said(text: FoundText) -> str:
    """A line that was said or shown, with the words that were found, each with its time."""
    found = ", ".join(f"{word} {start:.1f} s" for word, start in text.words)
    kind = "said" if text.kind == "speech" else "shown"
    return escape(f'  {kind}: "{text.text}" ({found or "by its meaning"})')


def _percent(chance: float | None) -> str:
    if chance is None:
        return "–"
    return "< 1 %" if chance < 0.01 else f"{chance:.0%}".replace("%", " %")


def _marks(hit: Hit) -> str:
    """What a row says beside the file."""
    marks = [f"+{len(hit.more)} more"] if hit.more else []
    marks += ["to be avoided"] if hit.demoted else ["weak"] if hit.weak else []
    marks += ["missing"] if not exists(hit.moment.file) else []
    return f" ({', '.join(marks)})" if marks else ""
