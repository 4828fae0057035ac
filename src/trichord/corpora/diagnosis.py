"""The doctor's diagnosis of a corpus, as a value, as JSON and as tables."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trichord.media.probe import USABLE, Status
from trichord.types import CaptionKind, Source

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """One file: its status and, if it can be read, its content; `clips` is its number of clips.

    `seconds` is 0 for an image, None for a file that cannot be read; `size` is in bytes.
    """

    path: str
    status: Status
    reason: str
    seconds: float | None
    picture: bool
    sound: bool
    size: int
    clips: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How many clips have at least one caption of a kind, and how many captions of it there are."""

    kind: CaptionKind
    source: Source
    clips: int
    captions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Files of the same content, and the splits of their clips."""

    files: tuple[str, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The input of an extraction, and its estimated seconds without decoding."""

    frames: int
    chunks: int
    captions: int
    seconds: float
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionCost:
    """What an option of `trichord index` would read, and its estimated seconds of processor time."""

    option: str
    media: str
    seconds: float
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The result of an examination. `hours` and `silent_share` are of clips whose file can be read.

    `silent_share` is the share of clips without audio (no track, or one of zeros), images left out;
    None if there are only images. `copies` are files of the same content. `leaks` are files, copies
    or single ones, with clips in several splits. `shared_texts` are captions in several splits,
    `outside` the ids of clips that start after the end of their file. `options` are costs of whole files,
    however many clips they have. `notes` are the counts of the folder's reader, and of what it passed
    over.
    """

    files: tuple[FileReport, ...]
    statuses: dict[str, int]
    clips: int
    splits: dict[str, int]
    coverage: tuple[Coverage, ...]
    uncaptioned: int
    copies: tuple[Copies, ...]
    leaks: tuple[Copies, ...]
    shared_texts: tuple[str, ...]
    outside: tuple[str, ...]
    silent_share: float | None
    hours: float
    work: Work
    options: tuple[OptionCost, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """All of it as one JSON object, indented."""
        return json.dumps(asdict(self), indent=2)


def tables(diagnosis: Diagnosis, rows: int = 40) -> "Group":
    """The diagnosis to be printed: files (the unreadable first, at most `rows`), then sums."""
    from rich.console import Group

    parts = [_files(diagnosis.files, rows), _sums(diagnosis)]
    if diagnosis.coverage:
        parts.append(_captions(diagnosis))
    if diagnosis.copies or diagnosis.leaks:
        parts.append(_groups(diagnosis, rows))
    return Group(*parts, *(_plain(f"note: {note}") for note in diagnosis.notes))


def _table(title: str, *columns: str, caption: str | None = None) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _files(files: tuple[FileReport, ...], rows: int) -> "Table":
    shown = sorted(files, key=lambda f: (f.status in USABLE, f.status == "ok"))[:rows]
    hidden = len(files) - len(shown)
    more = f"and {hidden} more; --json has all" if hidden else None
    table = _table("Files", "status", "file", "length", "picture", "sound", "clips", caption=more)
    parents = {str(Path(file.path).parent) for file in files}
    for file in shown:
        length = f"{file.seconds:.1f} s" if file.seconds else "still" if file.picture else ""
        status = f"{file.status}: {file.reason}" if file.reason else file.status
        name = Path(file.path).name if len(parents) == 1 else file.path
        held = ("yes" if file.picture else "no", "yes" if file.sound else "no")
        table.add_row(_plain(status), _plain(name), length, *held, str(file.clips))
    return table


def _sums(diagnosis: Diagnosis) -> "Table":
    work = diagnosis.work
    silent = diagnosis.silent_share
    table = _table("In all", "what", "found", "how it is counted")
    for row in (
        (
            "files",
            _counted(diagnosis.statuses),
            "status after decoding one frame, and sound until it is heard",
        ),
        ("clips", f"{diagnosis.clips} ({_counted(diagnosis.splits)})", "by split"),
        ("hours", f"{diagnosis.hours:.2f}", "spans of clips whose file can be read"),
        (
            "silent share",
            "no clips" if silent is None else f"{silent:.1%}",
            "clips without a track or with one of zeros; stills left out",
        ),
        ("clips outside their file", _named(diagnosis.outside), "start after the file's end"),
        ("clips without captions", str(diagnosis.uncaptioned), "of any kind"),
        ("copies", str(len(diagnosis.copies)), "groups of files alike in size, first and last MiB"),
        ("leaks", str(len(diagnosis.leaks)), "same content, or one file, in several splits"),
        ("captions in several splits", _named(diagnosis.shared_texts), "same text, case apart"),
        (
            "to extract",
            f"{work.frames} frames, {work.chunks} chunks of sound, {work.captions} captions",
            f"about {_duration(work.seconds)} with {work.basis}, decoding left out",
        ),
        *(
            (
                f"with {one.option}",
                one.media,
                f"about {_duration(one.seconds)} of processor time with {one.basis}",
            )
            for one in diagnosis.options
        ),
    ):
        table.add_row(row[0], _plain(row[1]), row[2])
    return table


def _captions(diagnosis: Diagnosis) -> "Table":
    table = _table("Captions", "kind", "source", "clips with one", "captions", "per such clip")
    for part in diagnosis.coverage:
        share = f"{part.clips} ({part.clips / diagnosis.clips:.0%} of all)"
        per_clip = f"{part.captions / part.clips:.2f}"
        table.add_row(part.kind, part.source, share, str(part.captions), per_clip)
    return table


def _groups(diagnosis: Diagnosis, rows: int) -> "Table":
    groups = [*diagnosis.leaks, *(g for g in diagnosis.copies if g not in diagnosis.leaks)]
    hidden = len(groups) - rows
    more = f"and {hidden} more; --json has all" if hidden > 0 else None
    table = _table("Same content", "splits", "files", caption=more)
    for group in groups[:rows]:
        splits = ", ".join(group.splits) + (" (leak)" if len(group.splits) > 1 else "")
        table.add_row(splits, _plain("\n".join(group.files)))
    return table


def _plain(text: str) -> str:
    from rich.markup import escape

    # A file name need not be UTF-8, and may have control characters of terminals.
    readable = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return escape("".join(readable))


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _named(names: Iterable[str]) -> str:
    names = list(names)
    examples = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)}: {examples}" if names else "0"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
