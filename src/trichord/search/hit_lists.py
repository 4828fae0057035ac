"""Lists of hits for other programs: CSV, EDL (CMX 3600), OpenTimelineIO, subtitles; and moments in JSON."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from trichord.speech.transcript import SpokenSegment
from trichord.types import Hit, Moment, UserError
from trichord.types.files import exists

ListFormat = Literal["table", "json", "csv", "edl", "otio", "vtt", "srt"]
COLUMNS = (
    "query", "rank", "file", "start", "end", "score", "visual", "audio", "chance", "weak", "demoted",
    "reranked", "more", "caption", "tags", "texts",
)  # fmt: skip
MOST_EVENTS = 999
"""Events of an EDL: their numbers have three digits."""
STILL_SECONDS = 5.0
"""How long a still picture is shown: its moment has no length."""
FIRST = 3600
"""Seconds at which an edited sequence begins, by custom."""


def to_csv(found: Sequence[tuple[str, Sequence[Hit]]]) -> str:
    """One line for each hit of each query; `more` is a number, tags are separated by semicolons."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for title, hits in found:
        for rank, hit in enumerate(hits, start=1):
            fields = {**asdict(hit), **asdict(hit.moment), "query": title, "rank": rank}
            fields |= {"start": hit.start, "end": hit.end, "more": len(hit.more)}
            fields |= {"tags": ";".join(hit.tags), "texts": " / ".join(t.text for t in hit.texts)}
            lines.writerow(["" if fields[name] is None else fields[name] for name in COLUMNS])
    return text.getvalue()


def to_json_lines(found: Sequence[tuple[str, Sequence[Hit]]]) -> str:
    """One JSON object for each query, with `query` and `hits`."""
    objects = ({"query": title, "hits": list(map(to_fields, hits))} for title, hits in found)
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects)


def to_fields(hit: Hit) -> dict[str, Any]:
    """A hit for JSON; `missing` says whether its file is not there, `start` and `end` what to play."""
    played = {"start": hit.start, "end": hit.end}
    return asdict(hit) | played | {"missing": not exists(hit.moment.file)}


def to_edl(hits: Sequence[Hit], title: str, fps: int) -> str:
    """An edit decision list, without drop frames.

    Raises:
        UserError: There are too many hits.
    """
    if len(hits) > MOST_EVENTS:
        raise UserError(
            f"An EDL has at most {MOST_EVENTS} events, not {len(hits)}: lower --k, or use "
            "--format otio."
        )
    lines = [f"TITLE: {_one_line(title)}", "FCM: NON-DROP FRAME", ""]
    recorded = FIRST * fps
    for number, hit in enumerate(hits, start=1):
        first, length = _frames(hit, fps)
        kind = "A" if hit.visual is None else "V" if hit.audio is None else "B"
        spans = (first, first + length, recorded, recorded + length)
        times = " ".join(_timecode(frame, fps) for frame in spans)
        lines.append(f"{number:03}  AX       {kind:<5} C        {times}")
        lines.append(f"* FROM CLIP NAME: {_one_line(Path(hit.moment.file).name)}")
        lines.append(f"* SOURCE FILE: {_one_line(hit.moment.file)}")
        lines.append(f"* COMMENT: SCORE {hit.score:+.2f}")
        recorded += length
    return "\n".join(lines) + "\n"


def to_otio(hits: Sequence[Hit], title: str, fps: int) -> str:
    """A timeline of OpenTimelineIO: hits one after another, what is seen and what is heard in two tracks.

    A hit without one of them has a gap in its track, so that the tracks stay together.
    """
    tracks = [
        _otio(
            "Track",
            name=kind,
            kind=kind,
            children=[
                _gap(hit, fps) if share is None else _clip(hit, fps)
                for hit, share in zip(hits, shares, strict=True)
            ],
        )
        for kind, shares in (
            ("Video", [hit.visual for hit in hits]),
            ("Audio", [hit.audio for hit in hits]),
        )
        if any(share is not None for share in shares)
    ]
    for track in tracks:
        track |= {"source_range": None, "effects": [], "markers": []}
    stack = _otio("Stack", name="tracks", children=tracks)
    stack |= {"source_range": None, "effects": [], "markers": []}
    timeline = _otio("Timeline", name=title, global_start_time=None, tracks=stack)
    return json.dumps(timeline, indent=2, ensure_ascii=False) + "\n"


def to_cues(
    hits: Sequence[Hit], lines_of: Callable[[str], Sequence[SpokenSegment]]
) -> list[tuple[float, float, str]]:
    """What is said in hits, as subtitles of them one after another, from 0: start, end and text.

    Args:
        hits: As an EDL has them.
        lines_of: What is said in a file.
    """
    cues: list[tuple[float, float, str]] = []
    begin = 0.0
    for hit in hits:
        start, end = hit.start, _end(hit)
        for line in lines_of(hit.moment.file):
            first, last = max(start, line.start), min(end, line.end)
            if first < last:
                cues.append((begin + first - start, begin + last - start, line.text))
        begin += end - start
    return cues


def moments_in(text: str, name: str) -> list[Moment]:
    """The moments of hits as `trichord search --format json` prints them, for one query or several.

    Raises:
        UserError: It has none, or is something else.
    """
    try:
        moments = [_moment(hit) for one in _values(text) for hit in _hits_in(one)]
    except (ValueError, TypeError, KeyError):
        moments = []
    if not moments:
        raise UserError(f"{name} has no hits: give what 'trichord search --format json' prints.")
    return moments


def _values(text: str) -> list[Any]:
    """One JSON value, or one on each line."""
    try:
        return [json.loads(text)]
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def _hits_in(value: Any) -> list[Any]:
    return value if isinstance(value, list) else value["hits"]


def _moment(hit: Any) -> Moment:
    """What to play of a hit: from the words that were found on, if there are some."""
    fields = hit["moment"] | {name: hit[name] for name in ("start", "end") if name in hit}
    file, start, end = fields["file"], 0.0 + fields["start"], 0.0 + fields["end"]
    if not (isinstance(file, str) and file and "\0" not in file and 0 <= start <= end < math.inf):
        raise ValueError("no moment of a file")
    return Moment(file=file, start=start, end=end)


def _frames(hit: Hit, fps: int) -> tuple[int, int]:
    """First frame and number of frames."""
    first = round(hit.start * fps)
    return first, max(1, round(_end(hit) * fps) - first)


def _end(hit: Hit) -> float:
    """Where a hit stops; a still picture is shown for a while."""
    return hit.end if hit.end > hit.start else hit.start + STILL_SECONDS


def _timecode(frame: int, fps: int) -> str:
    seconds, frames = divmod(frame, fps)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frames:02}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _gap(hit: Hit, fps: int) -> dict[str, Any]:
    length = _frames(hit, fps)[1]
    return {
        **_otio("Gap", name=""),
        "source_range": _range(0, length, fps),
        "effects": [],
        "markers": [],
    }


def _clip(hit: Hit, fps: int) -> dict[str, Any]:
    moment, (first, length) = hit.moment, _frames(hit, fps)
    numbers = {"score": hit.score, "chance": hit.chance, "weak": hit.weak}
    file = Path(moment.file)
    url = file.as_uri() if file.is_absolute() else moment.file
    return {
        **_otio("Clip", name=file.name),
        "metadata": {"trichord": numbers},
        "source_range": _range(first, length, fps),
        "media_reference": _otio("ExternalReference", target_url=url, available_range=None),
        "effects": [],
        "markers": [],
    }


def _range(first: int, length: int, fps: int) -> dict[str, Any]:
    times = {"start_time": _time(first, fps), "duration": _time(length, fps)}
    return {"OTIO_SCHEMA": "TimeRange.1", **times}


def _time(frames: int, fps: int) -> dict[str, Any]:
    return {"OTIO_SCHEMA": "RationalTime.1", "rate": float(fps), "value": float(frames)}


def _otio(schema: str, **fields: Any) -> dict[str, Any]:
    """An object of a schema in its first version, which all versions of OpenTimelineIO read."""
    return {"OTIO_SCHEMA": f"{schema}.1", "metadata": {}, **fields}
