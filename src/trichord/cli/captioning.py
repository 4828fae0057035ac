"""`trichord caption`: what runs say of media files, as lines, JSON, WebVTT, or in an archive."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from trichord.api.captioning import cut_of, decoding_of, weights_of
from trichord.api.model import device_of
from trichord.cli.console import aside, bar, counted, out
from trichord.cli.options import require_unset
from trichord.cli.places import CollectionPlace, RunPlace
from trichord.config import read_experiment
from trichord.search.moments import Hop, Seconds, require_moments
from trichord.types import Clip, Moment, UserError
from trichord.types.decoding import Beams, LengthPenalty, Longest
from trichord.types.rules import (
    Device,
    InputFile,
    InputFolder,
    OutputFile,
    OutputFolder,
    Workers,
    require,
    require_legal,
)

if TYPE_CHECKING:
    from trichord.media import Decoder
    from trichord.search.captioning import CaptionedMoment, CaptionWriter
    from trichord.search.cutting import CutFile
    from trichord.speech.transcript import SpokenSegment


@dataclass(frozen=True, kw_only=True)
class Captioning:
    """Say in words what is seen and heard in each moment of media files, or of an archive.

    Files that cannot be read, and moments without anything to write of, are told and stop nothing.
    """

    run: Annotated[tyro.conf.Positional[RunPlace], tyro.conf.arg(metavar="RUN")]
    """A run that writes captions, such as 'trichord train clip4vla-caption' makes."""
    places: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FILE...")]
    """Media files and folders; with --collection, those of its files, or none for all of it."""
    json: Annotated[Path | None, OutputFile()] = None
    """Also write everything into this JSON file; '-': print it instead of lines."""
    vtt: bool = False
    """Also write WebVTT beside each file: clip.vtt for clip.mp4."""
    vtt_folder: Annotated[Path | None, OutputFolder()] = None
    """Also write WebVTT into this folder."""
    transcripts: Annotated[Path | None, InputFolder()] = None
    """Also put what is said into the WebVTT: a folder that 'trichord transcribe' has written. Captions are
    then in brackets."""
    force: bool = False
    """Let WebVTT take the place of files that are there."""
    sheet: Annotated[Path | None, OutputFile(".png")] = None
    """Also draw the first moments with their captions into this PNG."""
    metadata: Annotated[Path | None, InputFile()] = None
    """A manifest whose captions stand beside those written in the --sheet."""
    beams: Beams = 5
    """Beginnings of captions that are followed at once, and candidates; 1: greedy."""
    length_penalty: LengthPenalty = 0.0
    """Above 0 favours longer captions; 1: the mean likelihood of a token counts."""
    longest: Longest = None
    """Tokens of a caption at most, start and end included; as many as the run has room for if not given."""
    check: bool = False
    """Keep of the candidates the one that finds its moment best, and say how well it does."""
    collection: CollectionPlace | None = None
    """Caption the moments of an archive that have no caption, and keep the captions in it."""
    replace: bool = False
    """With --collection: also moments that have one, whoever wrote it."""
    seconds: Seconds = 10.0
    """Length of a moment."""
    hop: Hop = None
    """Seconds between the starts of moments; as long as they are if not given."""
    whole: bool = False
    """One caption for each file."""
    device: Device = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""
    workers: Workers = 2
    """Processes that decode."""


def caption(arguments: list[str]) -> None:
    """`trichord caption RUN FILE...`."""
    options = tyro.cli(Captioning, args=arguments, prog="trichord caption")
    _require_sense(options)

    from trichord.corpora.manifest import read_manifest

    files = _files(options)  # before anything heavy is loaded
    subtitles = _subtitles(options, files)
    metadata = () if options.metadata is None else read_manifest(options.metadata)
    require(
        read_experiment(options.run / "experiment.json").model.captioner is not None,
        f"{options.run} writes no captions: train a run that does, with 'trichord train "
        "clip4vla-caption'.",
    )

    from trichord.checkpoint import Run
    from trichord.media import Decoder
    from trichord.search.captioning import CaptionWriter

    model = Run(options.run).load().to(device_of(options.device))
    decoding = decoding_of(options.beams, options.length_penalty, options.longest)
    check = weights_of(str(options.run)) if options.check else None
    with Decoder(workers=options.workers) as decoder:
        writer = CaptionWriter(model, decoder, decoding, check)
        found = _follow(options, _captions(options, files, writer))
        if options.check:
            _tell_ranks(options, found, writer.ranks())
        _write(options, found, writer, subtitles)
        if options.sheet:
            _draw(options, options.sheet, found, decoder, metadata)
    _conclude(options, found)


def _require_sense(options: Captioning) -> None:
    """Refuse options that are not legal, or contradict one another.

    Raises:
        UserError: The first of them.
    """
    vtt = options.vtt or options.vtt_folder is not None
    held = options.collection is not None
    require(options.places or held, "name at least one file or folder, or a --collection.")
    require(
        held or not options.replace, "--replace goes with --collection: leave it out, or name one."
    )
    if held:  # its moments are cut already
        require_unset(options, "--collection", "seconds", "hop", "whole")
    if options.whole:
        require_unset(options, "--whole", "seconds", "hop")
    require(not (held and vtt), "--vtt goes with files: leave it out, or leave out --collection.")
    require(
        not (options.vtt and options.vtt_folder),
        "--vtt and --vtt-folder are two places for the same: leave one of them out.",
    )
    for name in ("force", "transcripts"):
        require(
            vtt or not getattr(options, name),
            f"--{name} goes with --vtt or --vtt-folder: leave it out.",
        )
    require(
        options.sheet or not options.metadata,
        "--metadata goes with --sheet: leave it out, or name a sheet.",
    )
    require_legal(options)
    require_moments(options.seconds, options.hop)


def _files(options: Captioning) -> list[str]:
    """Media files as they are named in collections; none where a collection is captioned.

    Raises:
        UserError: A place is missing or has no media; or the collection has none of its files.
    """
    from trichord.search.collection import StoredCollection
    from trichord.search.survey import media_at

    if options.collection is not None:
        held = StoredCollection.open(options.collection)
        held.at(options.places, held.table.files() if options.places else ())
        return []

    return [str(file) for file in media_at(options.places)]


def _subtitles(options: Captioning, files: Sequence[str]) -> dict[str, Path]:
    """Where the WebVTT of each file goes.

    Raises:
        UserError: Two files would have the same; or it is there already.
    """
    if not options.vtt and options.vtt_folder is None:
        return {}
    folder = options.vtt_folder
    places = {file: (folder or Path(file).parent) / f"{Path(file).stem}.vtt" for file in files}
    twice = [place for place, count in Counter(places.values()).items() if count > 1]
    if twice:
        same = [file for file, place in places.items() if place == twice[0]]
        raise UserError(
            f"--vtt: {same[0]} and {same[1]} would both be {twice[0]}: caption them one after another."
        )
    there = [place for place in places.values() if place.exists()]
    if there and not options.force:
        raise UserError(f"--vtt: {there[0]} is there already: move it, or give --force.")
    return places


def _captions(
    options: Captioning, files: Sequence[str], writer: "CaptionWriter"
) -> "tuple[Iterator[CaptionedMoment], int]":
    """Captions to come, and how many."""
    from trichord.search.captioning import caption_collection, cut_for_captions, uncaptioned_files
    from trichord.search.collection import StoredCollection

    if options.collection is None:
        cut = None if options.whole else cut_of(options.seconds, options.hop)
        cuts: list[CutFile] = []
        with bar("files", len(files)) as moving:
            for one in cut_for_captions(writer.decoder, files, cut):
                cuts.append(one)
                moving.advance(note=Path(one.file).name)
        return writer.write(cuts), sum(max(1, len(one.spans)) for one in cuts)
    held = StoredCollection.open(options.collection)
    cuts = uncaptioned_files(held, options.places, replacing=options.replace)
    total = sum(max(1, len(one.spans)) for one in cuts)
    return caption_collection(held, writer, cuts, replacing=options.replace), total


def _follow(
    options: Captioning, coming: "tuple[Iterator[CaptionedMoment], int]"
) -> "list[CaptionedMoment]":
    """Show captions as they are written; where they are checked, once all of them are known."""
    found: list[CaptionedMoment] = []
    captions, total = coming
    quiet = options.check or options.json == Path("-")
    with bar("moments", total) as moving:
        for one in captions:
            found.append(one)
            moving.advance(note=Path(one.moment.file).name)
            if one.caption is None:
                aside.print(
                    f"  {_where(one)}  {one.status}: {one.reason}", markup=False, soft_wrap=True
                )
            elif not quiet:
                out.print(f"{_where(one)}  {one.caption.text}", markup=False, soft_wrap=True)
    return found


def _tell_ranks(
    options: Captioning, found: "Sequence[CaptionedMoment]", ranks: Sequence[int]
) -> None:
    if options.json == Path("-"):
        return
    told = [one for one in found if one.caption is not None]
    for one, rank in zip(told, ranks, strict=True):
        assert one.caption is not None
        out.print(
            f"{_where(one)}  {one.caption.text}  ({one.caption.match:.2f}, finds its moment "
            f"{ordinal(rank)} of {len(told)})",
            markup=False,
            soft_wrap=True,
        )


def ordinal(rank: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{'th' if rank % 100 in (11, 12, 13) else ending}"


def _where(one: "CaptionedMoment") -> str:
    from trichord.search.sheet import clock

    moment = one.moment
    path = Path(moment.file)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    length = moment.end > moment.start
    return f"{shown}  {clock(moment.start)}–{clock(moment.end)}" if length else str(shown)


def _write(
    options: Captioning,
    found: "Sequence[CaptionedMoment]",
    writer: "CaptionWriter",
    subtitles: dict[str, Path],
) -> None:
    """Write what was asked for beside lines."""
    from trichord.search.subtitles import webvtt
    from trichord.types.files import write_atomically

    if options.json is not None:
        text = json.dumps(_rows(found, writer.ranks()), indent=1, ensure_ascii=False)
        if options.json == Path("-"):
            out.print(text, markup=False, soft_wrap=True)
        else:
            write_atomically(options.json, text + "\n")
    told: dict[str, list[tuple[Moment, str]]] = defaultdict(list)
    for one in found:
        if one.caption is not None and one.moment.file in subtitles:
            told[one.moment.file].append((one.moment, one.caption.text))
    for file, cues in told.items():
        spoken = None if options.transcripts is None else _spoken(options.transcripts, file)
        write_atomically(subtitles[file], webvtt(cues, spoken))
        out.print(f"Written: {subtitles[file]}", markup=False)


def _spoken(folder: Path, file: str) -> "Sequence[SpokenSegment]":
    """What is said in a file, by its transcript."""
    from trichord.speech.transcription import transcript_in

    transcript = transcript_in(folder, Path(file))
    if transcript is None:
        said = f"  {file}: no transcript of it as it is now in {folder}"
        aside.print(said, markup=False, soft_wrap=True)
    return transcript.segments if transcript else ()


def _rows(found: "Sequence[CaptionedMoment]", ranks: Sequence[int]) -> list[dict[str, Any]]:
    """Moments as JSON has them; rank and number of moments only where captions are checked."""
    left = iter(ranks)
    rows: list[dict[str, Any]] = []
    for one in found:
        row = asdict(one.moment) | {"status": one.status, "reason": one.reason, "text": None}
        if one.caption is not None:
            row |= asdict(one.caption)
            row |= {"rank": next(left), "of": len(ranks)} if ranks else {}
        rows.append(row | {"candidates": [asdict(candidate) for candidate in one.candidates]})
    return rows


def _draw(
    options: Captioning,
    place: Path,
    found: "Sequence[CaptionedMoment]",
    decoder: "Decoder",
    clips: "Sequence[Clip]",
) -> None:
    from trichord.search.notes import ManifestNotes
    from trichord.search.sheet import CaptionTile, write_caption_sheet

    told = ManifestNotes(clips)
    tiles = [
        CaptionTile(one.moment, one.caption.text if one.caption else None, told.of(one.moment)[0])
        for one in found
    ]
    write_caption_sheet(place, tiles, decoder, f"Captions of {options.run}")
    out.print(f"Drawn: {place}", markup=False)


def _conclude(options: Captioning, found: "Sequence[CaptionedMoment]") -> None:
    """Say how many there are, and what to do next."""
    written = sum(one.caption is not None for one in found)
    statuses = counted([one.status for one in found]) if found else "nothing to do"
    aside.print(f"{written} captions of {len(found)} moments ({statuses}).", soft_wrap=True)
    if options.collection is not None and written:
        out.print(f"{options.collection}: {written} captions. Next:", markup=False)
        out.print(
            f'  trichord search {options.collection} "a dog barks" --caption-weight 1', markup=False
        )
