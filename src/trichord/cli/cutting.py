"""The command `cut`: hits of a search as media files."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from trichord.cli.console import aside, out
from trichord.cli.text_input import read_input, require_input
from trichord.search.hit_lists import moments_in
from trichord.types import Moment, UserError
from trichord.types.rules import Checked, OutputFolder, Workers, require, require_legal

if TYPE_CHECKING:
    from trichord.media.decoded import Excerpt

SUFFIXES = {
    ".avi", ".flac", ".m4a", ".m4v", ".mkv", ".mov", ".mp3", ".mp4", ".ogg", ".ts", ".wav", ".webm",
}  # fmt: skip
"""Endings whose formats FFmpeg writes; tracks of other files are copied into Matroska."""
SOUNDS = {".aac", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".wma"}
"""Endings of sounds, which are written as WAV if they are encoded again."""
SHOWN = 1e-2
"""Seconds that the span of a copy may differ from the moment without a word."""


@dataclass(frozen=True, kw_only=True)
class CutHits:
    """Write the moments that a search found as media files of their own.

    What is stored is copied: nothing is lost, and a file begins at the last keyframe before its moment. An
    existing file is never replaced. Moments that cannot be cut are counted and named; the exit code is 2
    only if none could be.
    """

    hits: Annotated[
        tyro.conf.Positional[str], tyro.conf.arg(metavar="HITS"), Checked(require_input)
    ]
    """What 'trichord search --format json' printed, or - for standard input."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT"), OutputFolder()]
    """A folder for the files."""
    exact: bool = False
    """Encode again (H.264 and AAC, PCM for sounds), so that files begin and end exactly."""
    workers: Workers = 2
    """Processes that read and write."""


def cut(arguments: list[str]) -> None:
    """`trichord cut HITS OUT`."""
    options = tyro.cli(CutHits, args=arguments, prog="trichord cut")
    require_legal(options)
    moments = moments_in(read_input(options.hits), options.hits)
    targets = _targets(moments, options)
    for target in targets:
        require(not target.exists(), f"{target} exists: name another folder, or delete it.")

    from trichord.media import Decoder
    from trichord.media.pipeline import parallel_map

    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{options.out}: cannot be made: {error.strerror or error}") from error
    with (
        Decoder(workers=options.workers) as decoder,
        tempfile.TemporaryDirectory(prefix=".cut-", dir=options.out) as folder,
    ):

        def write(pair: tuple[Moment, Path]) -> "Excerpt":
            moment, target = pair
            place = Path(folder) / target.name
            span = moment.start, moment.end
            excerpt = decoder.cut(moment.file, span, place, exact=options.exact)
            if excerpt.status == "ok":
                _publish(place, target)
            return excerpt

        pairs = list(zip(moments, targets, strict=True))
        written = parallel_map(write, iter(pairs), options.workers, 2 * options.workers)
        failed = sum(
            not _report(moment, target, excerpt)
            for (moment, target), excerpt in zip(pairs, written, strict=True)
        )
    out.print(f"{options.out}: {len(moments) - failed} written, {failed} not.", markup=False)
    require(failed < len(moments), "none of the moments could be cut: see above.")


def _targets(moments: list[Moment], options: CutHits) -> list[Path]:
    """A name for each moment: its rank, its file, and its start."""
    digits = max(2, len(str(len(moments))))
    names: list[Path] = []
    for rank, moment in enumerate(moments, start=1):
        file = Path(moment.file)
        suffix = file.suffix.lower()
        if moment.end > moment.start:  # not a still picture
            if options.exact:
                suffix = ".wav" if suffix in SOUNDS else ".mp4"
            elif suffix not in SUFFIXES:
                suffix = ".mkv"
        names.append(options.out / f"{rank:0{digits}} {file.stem} {moment.start:g} s{suffix}")
    return names


def _publish(written: Path, target: Path) -> None:
    """Move a file to its place, unless another one is there by now.

    Raises:
        UserError: There is one.
    """
    try:
        target.open("xb").close()  # takes the name, whatever another process does
    except FileExistsError:
        raise UserError(f"{target} exists: name another folder, or delete it.") from None
    written.replace(target)


def _report(moment: Moment, target: Path, excerpt: "Excerpt") -> bool:
    """Say what became of a moment; gives whether it was written."""
    if excerpt.status != "ok":
        reason = f": {excerpt.reason}" if excerpt.reason else ""
        aside.print(f"  {moment.file}: {excerpt.status}{reason}", markup=False, soft_wrap=True)
        return False
    span = f"{excerpt.start:.2f}–{excerpt.end:.2f} s"
    early = moment.start - excerpt.start > SHOWN and not excerpt.encoded
    note = f" (from the keyframe before {moment.start:g} s)" if early else ""
    said = f"{target.name}: {span}{note}" if moment.end > moment.start else target.name
    out.print(f"  {said}", markup=False, soft_wrap=True)
    return True
