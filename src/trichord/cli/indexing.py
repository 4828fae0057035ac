"""`trichord index`: media files to the moments of an archive."""

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from trichord.api.collection_model import run_of
from trichord.api.model import device_of, persistent
from trichord.api.text_encoders import (
    bundle_text_encoders,
    require_writing,
)
from trichord.bulk.options import ALONE, BulkOptions
from trichord.cli.archive_model import ArchiveModel, cache_encoders
from trichord.cli.console import aside, bar, counted, out
from trichord.cli.options import require_unset
from trichord.cli.places import ModelName, open_collection
from trichord.cli.threads import leave_cores, load_embedder
from trichord.cli.words import NO_WORDS, WordOptions, read_words, store_meaning
from trichord.media.plan import FrameChoice
from trichord.search.moments import SECONDS, CutKind, Hop, require_moments
from trichord.types.extras import require_compiler, require_package
from trichord.types.rules import (
    Device,
    InputFile,
    InputFolder,
    OutputFolder,
    Range,
    Spelling,
    Workers,
    require,
    require_legal,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from trichord.media import Decoder, Limits
    from trichord.models.embedder import Embedder
    from trichord.search.collection import StoredCollection
    from trichord.search.indexing import Indexed
    from trichord.search.table import FileVersion
    from trichord.search.text_update import TextSource
    from trichord.search.updating import Readers, Update
    from trichord.types import Clip


CUT = ("seconds", "hop", "cut", "frames", "audio_track")
"""Options that say how files are cut and read: an archive keeps them."""


@dataclass(frozen=True, kw_only=True)
class Index:
    """Cut media files into moments and keep what is seen and heard in each.

    Run it again to update the archive: unchanged files are skipped, and moved ones keep their vectors.
    Missing files are kept and named: a drive may not be connected. An interrupted run goes on where it
    stopped.
    """

    places: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="PATH... ARCHIVE")
    ]
    """Media files and folders, and last the archive: a folder or s3://bucket/prefix."""
    model: ModelName | None = None
    """A run, a named model (`trichord models`), a folder of weights, or hub:USER/NAME. If not given: that
    of the archive; clip-clap (CLIP and CLAP as published) for a new one. An archive refers to it from then
    on, if it is an equal model in another place."""
    vision_weights: Annotated[
        Path | None, InputFolder(), tyro.conf.arg(name="model.vision.name")
    ] = None
    """A folder with the named model's weights for pictures, and for the texts that are compared with
    them: for machines without a network."""
    audio_weights: Annotated[Path | None, InputFolder(), tyro.conf.arg(name="model.audio.name")] = (
        None
    )
    """The same for sounds."""
    seconds: Annotated[float | None, Range(1, 3600)] = None
    """Length of a moment, at most. If not given, here and in the four options below: that of the archive;
    10 for a new one."""
    hop: Hop = None
    """Seconds between the starts of moments; half their length in a new archive."""
    cut: CutKind | None = None
    """Moments of equal length, or one for each shot; window in a new archive."""
    frames: FrameChoice | None = None
    """Frames as they are shown at each time, or only keyframes: several times faster, up to some seconds
    early; exact in a new archive."""
    audio_track: Annotated[
        str | None, Spelling(r"(?!0+$)\w*", "a number from 1, or a language such as eng")
    ] = None
    """The audio track that is heard where a file has several: its number from 1, or its language as the
    file has it (eng). In a new archive, and where a file lacks it: the first that is not silent."""
    max_megapixels: Annotated[int | None, Range(1, 1000)] = None
    """Pictures with more million pixels are `too_big`; 201 if not given. Those beyond some hundred may need
    more memory than a decoder may take. A picture that was too big for a lower limit is read again."""
    metadata: Annotated[Path | None, InputFile()] = None
    """A manifest whose captions and labels are stored with the moments that they describe."""
    speech: bool = True
    """Measure how much is spoken in each moment, where the extra `speech` is installed."""
    watch: bool = False
    """Then go on following the folders, until interrupted."""
    reembed: bool = False
    """Compute all vectors again with this model, beside those that are searched until then."""
    portable: bool = False
    """Also put the text encoders into the archive, as ONNX graphs: for text queries on machines without
    its model or torch."""
    prune: bool = False
    """Remove files from the archive that are missing from the given folders. Otherwise they are kept, and
    searches leave them out. Those of an empty folder are always kept: its drive may not be connected."""
    remove: bool = False
    """Remove the files and folders from the archive instead."""
    device: Device = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""
    compile: bool = False
    """Compile the vision and audio towers first: minutes, which pay on a GPU."""
    workers: Workers = 2
    """Processes that decode."""
    sharing: Annotated[BulkOptions, tyro.conf.arg(name="")] = ALONE
    """How the reading of files is shared out."""
    words: Annotated[WordOptions, tyro.conf.arg(name="")] = NO_WORDS
    """What is said and shown."""

    @property
    def weights(self) -> dict[str, Path]:
        """Folders of weights by tower."""
        given = {"vision": self.vision_weights, "audio": self.audio_weights}
        return {tower: folder for tower, folder in given.items() if folder is not None}

    @property
    def limits(self) -> "Limits":
        """What a file may cost to decode."""
        from trichord.media import Limits

        most = self.max_megapixels
        return Limits() if most is None else Limits(still_pixels=most * 1_000_000)


def index(arguments: list[str]) -> None:
    """`trichord index PATH... ARCHIVE`."""
    options = tyro.cli(Index, args=arguments, prog="trichord index")
    _require_sense(options)
    *given, collection = options.places
    places = [Path(place) for place in given]
    if options.remove:
        gone = open_collection(collection).remove(places)
        out.print(f"{collection}: {len(gone)} files removed.", markup=False)
    elif options.reembed:
        _reembed(options, collection)
    else:
        _update_archive(options, places, collection)


def _require_sense(options: Index) -> None:
    """Refuse options that are not legal, or that would be passed over.

    Raises:
        UserError: The first of them.
    """
    least = 1 if options.reembed else 2
    require(len(options.places) >= least, "name at least one file or folder, and last the archive.")
    if options.remove:
        used = ("places", "remove")
        others = [one.name for one in fields(options) if one.name not in used]
        require_unset(options, "--remove", *others)
    if options.reembed:
        require(
            options.sharing.alone,
            "--reembed is done by one process: leave out --runner and --shards.",
        )
        others = ("metadata", "watch", "prune", "vision_weights", "audio_weights", "words")
        require_unset(options, "--reembed", *CUT, *others)
        require(
            len(options.places) == 1,
            f"--reembed reads all files of the archive: leave out {options.places[0]}.",
        )
    require(
        options.sharing.runner == "process" or not options.compile,
        "--compile is for --runner process: other runners load their own towers.",
    )
    require(
        options.sharing.runner == "process" or options.max_megapixels is None,
        "--max-megapixels is for --runner process: other runners have their own decoders.",
    )
    options.words.require_sense()
    require_legal(options)
    _require_installed(options)


def _require_installed(options: Index) -> None:
    """Refuse options whose packages, compiler or device are missing, before any work.

    Raises:
        UserError: The first of them.
    """
    if options.watch:
        require_package("watchfiles")
    if options.sharing.runner == "ray":
        require_package("ray")
    if options.portable:
        require_writing()
    if options.compile:
        require_compiler()
    if options.device != "auto":  # what is there is found out when there is work
        device_of(options.device)


def _update_archive(options: Index, media: list[Path], where: str) -> None:
    from trichord.search.collection import StoredCollection
    from trichord.search.survey import scan_places

    require_legal(where, Annotated[str, OutputFolder(bucket=True)], "ARCHIVE")
    stored = open_collection(where) if StoredCollection.is_at(where) else None
    cut = _cut_of(options, stored)
    StoredCollection.require_place(where, **cut)
    require_moments(cut["seconds"], cut["hop"])
    known = {} if stored is None else stored.table.files()
    scan = scan_places(media, known)
    metadata = _metadata(options.metadata, scan.files)
    place = partial(_place_model, options=options)
    model = ArchiveModel(where, stored, options.model, options.weights, place)

    from trichord.media import Decoder
    from trichord.search.notes import ManifestNotes
    from trichord.search.updating import Update

    with Decoder(workers=options.workers, limits=options.limits) as decoder:
        sources = options.words.sources(decoder, options.device)  # refuses before anything is made
        collection = stored if stored is not None and model.known else _begin(where, model, cut)
        if options.portable:  # refuses before files are read
            bundle_text_encoders(collection, model.embedder)
        notes, measured = ManifestNotes(metadata), options.speech
        update = Update(collection, lambda: model.embedder, decoder, notes, measured, options.prune)
        read = None if options.sharing.alone else _readers(options, model, update, metadata)
        _show_progress(update.at(media, read, (known, scan)), len(scan.files), options.prune)
        for line in scan.lines():
            out.print(line, markup=False, soft_wrap=True)
        read_words(collection, sources, media)
        if options.words.meaning:
            store_meaning(collection, lambda: model.embedder)
        moments = sum(file.moments for file in collection.table.files().values())
        if model.loaded is not None:
            cache_encoders(collection, model.loaded)
        out.print(f"{where}: {moments} moments. Next:", markup=False, soft_wrap=True)
        out.print(f'  trichord search {where} "a dog barks"', markup=False, soft_wrap=True)
        out.print(f"  trichord serve {where}", markup=False, soft_wrap=True)
        if options.watch:
            _watch(collection, model.embedder, decoder, media, metadata, options.speech, sources)


def _cut_of(options: Index, stored: "StoredCollection | None") -> dict[str, Any]:
    """How files are cut: as the options say, else as the archive has it, or as a new one is made."""
    given = {name: getattr(options, name) for name in CUT if getattr(options, name) is not None}
    cut: dict[str, Any] = {
        "seconds": SECONDS,
        "cut": "window",
        "frames": "exact",
        "audio_track": "",
    }
    if stored is not None:
        cut = {name: getattr(stored.description, name) for name in CUT}
    if "hop" not in cut or given.get("seconds", cut["seconds"]) != cut["seconds"]:
        cut["hop"] = given.get("seconds", cut["seconds"]) / 2
    return cut | given


def _begin(where: str, model: ArchiveModel, cut: "Mapping[str, Any]") -> "StoredCollection":
    """Make an archive, or let one refer to the same model in another place."""
    embedder = model.embedder  # a hub that does not answer is reported before torch is loaded

    from trichord.search.indexing import begin

    collection = begin(where, model.reference, embedder, **cut)
    model.store()
    return collection


def _readers(
    options: Index, model: ArchiveModel, update: "Update", metadata: "Sequence[Clip]"
) -> "Readers":
    """What reads files in shards; its workers start when there are files."""

    def read(versions: "Sequence[FileVersion]") -> "Iterator[Indexed]":
        from trichord.bulk.runner import runner_of, shard_readers
        from trichord.cli.extraction import decoders_of, towers_of

        device, sharing = device_of(options.device), options.sharing
        towers = towers_of(model.reference, device, decoders_of(sharing, options.workers))
        said, count = options.speech, sharing.shards
        with runner_of(sharing, model.embedder, update.decoder) as runner:
            yield from shard_readers(
                runner, update.collection, towers, metadata, speech=said, count=count
            )(versions)

    return read


def _reembed(options: Index, where: str) -> None:
    collection = open_collection(where)
    files = len(collection.table.files())  # before anything heavy is loaded

    from trichord.media import Decoder
    from trichord.search.indexing import reembed

    name = options.model or run_of(collection)
    model = load_embedder(name)
    _place_model(model, options)
    with Decoder(workers=options.workers, limits=options.limits) as decoder:
        run = persistent(name)
        _show_progress(reembed(collection, run, model, decoder, speech=options.speech), files)
    collection = open_collection(where)
    if options.portable:
        bundle_text_encoders(collection, model)
    cache_encoders(collection, model)
    out.print(f"{where}: its vectors are those of {name} now.", markup=False, soft_wrap=True)


def _place_model(model: "Embedder", options: Index) -> None:
    """Put the towers where they are computed, and leave the decoders their cores."""
    if options.sharing.runner != "process" and not options.watch:  # others load their own
        return
    device = device_of(options.device)
    model.to(device)
    if options.compile:
        model.compile_trunks()
    leave_cores(options.workers, device)


def _show_progress(done: "Iterator[Indexed]", files: int, prune: bool = False) -> None:
    """Show files as they are stored, and what became of all of them."""
    changes: list[str] = []
    statuses: list[str] = []
    missing: list[str] = []
    broken: list[str] = []
    with bar("files", files) as moving:
        for one in done:
            changes.append(one.change)
            statuses.append(one.status)
            if one.change == "missing":
                missing.append(one.file)
                continue
            if one.reason and one.change == "unchanged":
                broken.append(f"  {one.file}: {one.status}: {one.reason}")
            elif one.reason:
                line = f"  {one.file}: {one.status}: {one.reason}"
                aside.print(line, markup=False, soft_wrap=True)
            moving.advance(note=Path(one.file).name)
    out.print(f"{counted(changes)}; {counted(statuses)}.")
    if broken:
        _show_broken(broken)
    if missing:
        from trichord.search.survey import missing_lines

        for line in missing_lines(missing):
            aside.print(line, markup=False, soft_wrap=True)
        remedy = "--remove FOLDER" if prune else "--prune"
        aside.print(f"Missing files are kept, and left out of hits. {remedy} removes them.")


def _show_broken(lines: "Sequence[str]") -> None:
    """Name files that could not be read earlier, and have not changed since."""
    from trichord.search.survey import FILES_NAMED

    aside.print("Unchanged, and still not readable:")
    for line in lines[:FILES_NAMED]:
        aside.print(line, markup=False, soft_wrap=True)
    if (more := len(lines) - FILES_NAMED) > 0:
        aside.print(f"  and {more} more: 'trichord doctor FOLDER' lists all.")


def _watch(
    collection: "StoredCollection",
    model: "Embedder",
    decoder: "Decoder",
    media: list[Path],
    metadata: "Sequence[Clip]",
    speech: bool,
    sources: "Sequence[TextSource]",
) -> None:
    from trichord.search.watching import watch

    out.print("Following the folders; Ctrl-C ends it.")
    for one in watch(collection, model, decoder, media, metadata=metadata, speech=speech):
        why = f": {one.reason}" if one.reason else ""
        out.print(f"  {one.file}: {one.change}, {one.status}{why}", markup=False, soft_wrap=True)
        if one.change in ("new", "changed"):
            read_words(collection, sources, [Path(one.file)])


def _metadata(manifest: Path | None, files: "Sequence[Path]") -> "Sequence[Clip]":
    """Clips whose captions and labels go to files; says how many are of others.

    Raises:
        UserError: The manifest cannot be read, or all of them are of others.
    """
    from trichord.corpora.manifest import read_manifest
    from trichord.search.collection import whereabouts

    if manifest is None:
        return ()
    clips, known = read_manifest(manifest), set(files)
    others = sum(whereabouts(Path(clip.path)) not in known for clip in clips)
    require(
        others < len(clips),
        f"--metadata {manifest}: none of its clips is of a file that is indexed: check its paths.",
    )
    if others:
        aside.print(
            f"--metadata: {others} of {len(clips)} clips are of files not indexed here.",
            soft_wrap=True,
        )
    named = {whereabouts(Path(clip.path)) for clip in clips}
    if without := [str(file) for file in files if file not in named]:
        shown = ", ".join(without[:3]) + ", ..." * (len(without) > 3)
        aside.print(
            f"--metadata: {len(without)} of {len(files)} files have no clip: {shown}",
            markup=False,
            soft_wrap=True,
        )
    return clips
