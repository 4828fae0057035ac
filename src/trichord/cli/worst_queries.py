"""The page of `trichord evaluate --worst`: the queries of a run whose right clip stands lowest."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trichord.evaluation.query_ranks import query_texts
from trichord.evaluation.retrieval import Answered
from trichord.types import Clip, Moment
from trichord.types.files import write_atomically

if TYPE_CHECKING:
    from trichord.cli.measurement import Measured
    from trichord.media import Decoder

HITS = 4
"""Clips shown of those that stand before the right one."""
LONGEST = 400
"""Letters of a transcript."""
SIDE = 270
"""Short side of decoded frames: a thumbnail is 400 pixels long at most, so 16:9 is not enlarged."""
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem;
  color: #1d1f23; background: #f2f0ea }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2.5rem } h3 { margin: 0; font-size: 1rem }
article { background: #fff; border-radius: 8px; padding: 1rem; margin: 1rem 0 }
.clips { display: flex; flex-wrap: wrap; gap: 12px; align-items: start } figure { margin: 0; width: 195px }
.picture, .wave { width: 195px; background: #22252b center / contain no-repeat }
.picture { height: 110px } .wave { height: 40px; background-size: 100% 100% }
.none { color: #c9cbd0; font-size: 12px; padding: 4px; box-sizing: border-box; overflow: hidden }
.right { outline: 3px solid #2f855a; outline-offset: 2px }
p, figcaption { color: #5c5f67; overflow-wrap: anywhere } figcaption { font-size: 12px }
"""
# No script may run and nothing is loaded, whatever captions and names of files hold.
HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
"""


@dataclass(frozen=True, slots=True)
class _Poor:
    """A query, by number, and the clips that are shown of it, by row: the right one, and hits before it."""

    number: int
    right: int
    before: list[tuple[int, float]]


def write_worst(
    path: Path, measured: "Measured", clips: Sequence[Clip], count: int, decoder: "Decoder"
) -> None:
    """Write the page as one HTML file, without scripts.

    Args:
        path: The file.
        measured: A run's report, and its answers with their first hits.
        clips: Those that were measured.
        count: Queries of each task at most.
        decoder: Reads the media; a missing file has no picture.

    Raises:
        UserError: The file cannot be written.
    """
    known = {clip.id: clip for clip in clips}
    own = [known[name] for name in measured.vectors.ids]
    worst = {
        one.task.name: (one, _worst(one, measured, count))
        for one in measured.answered
        if isinstance(one, Answered)
    }
    shown = sorted(
        {
            row
            for _, some in worst.values()
            for poor in some
            for row in (poor.right, *(row for row, _ in poor.before))
        }
    )
    style, labels = _images([own[row] for row in shown], decoder)
    page = _Page(measured, own, dict(zip(shown, labels, strict=True)))
    parts = [HEAD, f"<title>{escape(measured.report.title)}: worst queries</title>"]
    parts += [f"<style>{STYLE}{style}</style>", f"<h1>{escape(measured.report.title)}</h1>"]
    parts.append(f"<p>Worst queries of each task. {escape(measured.report.protocol.line())}</p>")
    for one, some in worst.values():
        parts += page.section(one, some)
    write_atomically(path, "\n".join([*parts, "</html>", ""]))


def _worst(one: Answered, measured: "Measured", count: int) -> list[_Poor]:
    """The queries of a task with the highest ranks; none of rank 1."""
    assert one.hits is not None
    rank = one.ranks.rank(measured.report.protocol.ties)
    order = np.argsort(-rank, kind="stable")[:count]
    found: list[_Poor] = []
    for number in order[rank[order] > 1].tolist():
        others = int(one.ranks.better[number] + one.ranks.tied[number])
        hits = zip(one.hits.items[number].tolist(), one.hits.scores[number].tolist(), strict=True)
        before = [(int(one.clips[i]), score) for i, score in hits if i != one.right[number]]
        right = int(one.clips[one.right[number]])
        found.append(_Poor(number, right, before[: min(others, HITS)]))
    return found


def _images(clips: Sequence[Clip], decoder: "Decoder") -> tuple[str, list[tuple[str, str]]]:
    """A style sheet with a picture and a waveform of each clip, once; and why either is missing."""
    from trichord.media.plan import DecodePlan, FramePlan
    from trichord.search.reading import decode_moments
    from trichord.search.thumbnails import thumbnail_of
    from trichord.search.waveform import RATE

    frames = FramePlan(rule="uniform", count=1, short_side=SIDE)
    # A moment without length is decoded to the end of its file.
    moments = [
        Moment(file=clip.path, start=clip.start, end=clip.start if clip.end is None else clip.end)
        for clip in clips
    ]
    rules: list[str] = []
    labels: list[tuple[str, str]] = []
    decoded = decode_moments(moments, decoder, DecodePlan(frames=frames, rates=(RATE,)))
    for number, one in enumerate(decoded):
        bare = replace(one, frames=None, preview=None)
        pictures = {"p": None if one.frames is None else thumbnail_of(one), "w": thumbnail_of(bare)}
        for letter, content in pictures.items():
            if content:
                data = base64.b64encode(content).decode()
                rules.append(
                    f".{letter}{number} {{ background-image: url(data:image/webp;base64,{data}) }}"
                )
        why = "" if one.status == "ok" else f" ({one.label})"
        labels.append(
            (
                "" if pictures["p"] else f"no picture{why}",
                "" if pictures["w"] else f"no sound{why}",
            )
        )
    return "\n".join(rules), labels


@dataclass(frozen=True, slots=True)
class _Page:
    """What sections are written of: the report, all clips by row, and what is missing of those shown."""

    measured: "Measured"
    clips: Sequence[Clip]
    missing: dict[int, tuple[str, str]]

    def section(self, one: Answered, worst: Sequence[_Poor]) -> Iterator[str]:
        """A task with its worst queries."""
        texts = query_texts(one, self.measured.vectors)
        rank = one.ranks.rank(self.measured.report.protocol.ties)
        yield f"<h2>{escape(one.task.name)}: {len(worst)} of {len(rank)} queries</h2>"
        if not worst:
            yield "<p>The right clip of every query stands first.</p>"
        for poor in worst:
            asked = f"“{texts[poor.number]}”" if texts else f"the sound of {self._id(poor.right)}"
            tied = int(one.ranks.tied[poor.number])
            place = f"rank {rank[poor.number]:g} of {len(one.clips)}" + f", {tied} tied" * bool(
                tied
            )
            yield f"<article><h3>{escape(asked)}</h3><p>{place}</p><div class=clips>"
            yield self._figure(poor.right, "right clip", f" {self._said(poor.right)}", "right")
            for row, score in poor.before:
                kind = one.task.query
                captions = [c.text for c in self.clips[row].captions if c.kind == kind]
                about = f" “{captions[0]}”" if captions else ""
                yield self._figure(row, f"scores {score:.3f}", about)
            yield "</div></article>"

    def _id(self, row: int) -> str:
        return self.clips[row].id

    def _figure(self, row: int, heading: str, text: str, kind: str = "hit") -> str:
        number = list(self.missing).index(row)
        no_picture, no_sound = map(escape, self.missing[row])
        name = escape(self._id(row))
        return (
            f'<figure class="{kind}">'
            f'<div class="picture p{number} none" role=img aria-label="{name}">{no_picture}</div>'
            f'<div class="wave w{number} none" role=img aria-label="waveform">{no_sound}</div>'
            f"<figcaption><b>{heading}</b> {name}{escape(text)}</figcaption></figure>"
        )

    def _said(self, row: int) -> str:
        """What is said in a clip, and whose sound was lent to it."""
        donor = self.measured.report.silent.get(self._id(row))
        lent = f"with the sound of {donor}. " if donor else ""
        said = transcript_of(self.clips[row])
        return lent + (f"Said: {said}" if said else "")


def transcript_of(clip: Clip) -> str:
    """What is said in a clip: its speech captions, or a transcript or subtitles beside its file."""
    from trichord.speech.sidecars import read_sidecar
    from trichord.speech.transcription import transcript_in

    said = " ".join(one.text for one in clip.captions if one.source == "speech")
    file = Path(clip.path)
    if not said and file.is_file():
        transcript, remarks = transcript_in(file.parent, file), list[str]()
        if transcript is None:
            transcript, remarks = read_sidecar(file)
        end = clip.end if clip.end is not None else float("inf")
        segments = transcript.segments if transcript else ()
        said = " ".join(one.text for one in segments if one.start < end and one.end > clip.start)
        said = said or ("; ".join(remarks) if transcript is None else "")
    said = " ".join(said.split())
    return said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
