"""Indexing: bring a collection up to date with its media files."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from trichord.checkpoint import Run
from trichord.media.decoded import samples_in
from trichord.media.decoder import Decoder
from trichord.media.plan import FrameChoice
from trichord.models.embedder import Embedder
from trichord.search.audio_types import tokens_of
from trichord.search.collection import Description, StoredCollection
from trichord.search.moments import SECONDS, SHORTEST, CutKind, require_moments
from trichord.search.notes import ManifestNotes
from trichord.search.table import FileVersion
from trichord.search.updating import Change, Indexed, Readers, Update
from trichord.types import Clip, UserError
from trichord.types.files import exists, is_folder
from trichord.types.tensors import Features

__all__ = ["Change", "Indexed", "begin", "describe", "index", "read_versions", "reembed"]


def begin(
    path: str | Path,
    run: str,
    model: Embedder,
    seconds: float = SECONDS,
    hop: float | None = None,
    cut: CutKind = "window",
    frames: FrameChoice = "exact",
    audio_track: str = "",
) -> StoredCollection:
    """Create a collection for a run's model, or open the existing one to continue it.

    Args:
        path: Folder of the collection, or `s3://bucket/prefix`.
        run: Where `search` finds the model: the absolute path of a run, or the name of an experiment.
        model: The model of that run.
        seconds: Length of a moment.
        hop: Seconds between the starts of moments; None: half of `seconds`.
        cut: `shots`: a moment is a shot, and long ones are cut by `seconds` and `hop`.
        frames: `keyframe`: decode only keyframes, those before the exact times.
        audio_track: Number from 1 or language of the audio track that is heard, where a file has one
            such; empty: the first that is not silent.

    Raises:
        UserError: The folder holds something else, or moments of another model or length; or such
            moments are impossible, or too long for the model's fusion.
    """
    description = describe(run, model, seconds, hop, cut, frames, audio_track)
    return StoredCollection.begin(path, description)


def describe(
    run: str,
    model: Embedder,
    seconds: float = SECONDS,
    hop: float | None = None,
    cut: CutKind = "window",
    frames: FrameChoice = "exact",
    audio_track: str = "",
) -> Description:
    """The description of a collection of a model; arguments and errors as for `begin`."""
    require_moments(seconds, hop)
    model.require_weights()
    _require_room(model, seconds + SHORTEST)
    return Description(
        run=run,
        fingerprint=model.fingerprint,
        seconds=seconds,
        hop=seconds / 2 if hop is None else hop,
        vision_dim=model.vision.dim,
        audio_dim=model.audio.dim,
        audio_types=tokens_of(model),
        cut=cut,
        frames=frames,
        audio_track=audio_track,
        weighting=Run(Path(run)).weighting if Path(run).is_dir() else None,
    )


def _require_room(model: Embedder, longest: float) -> None:
    """Run the fusion on a blank moment of this length, with its numbers of frames and segments."""
    if model.fusion is None:
        return
    samples = samples_in(model.plan.audio_length(0.0, longest), model.audio.rate)
    segments = len(model.audio.prepare(np.zeros(samples, np.float32)))
    frames = len(model.vision.frames.times(0.0, longest))
    text, vision, audio = (
        Features(
            torch.zeros(1, model.dim, device=model.device),
            torch.zeros(1, steps, model.dim, device=model.device),
            torch.ones(1, steps, dtype=torch.bool, device=model.device),
        )
        for steps in (1, frames, segments)
    )
    try:
        with torch.inference_mode():
            model.fusion(text, vision, audio)
    except ValueError as error:
        raise UserError(
            f"--seconds: moments of up to {longest:g} s are too long for the run's fusion: {error}"
        ) from error


def index(
    collection: StoredCollection,
    model: Embedder,
    decoder: Decoder,
    places: Sequence[Path],
    *,
    metadata: Sequence[Clip] = (),
    speech: bool = True,
    readers: Readers | None = None,
    prune: bool = False,
) -> Iterator[Indexed]:
    """Bring a collection up to date with media files and folders. Yields each file once it is stored.

    Unchanged files are skipped and keep their captions and tags. Files that were moved or renamed keep
    their vectors too, and copies get the same ones. Files missing from the given folders stay, and are
    reported as `missing`, unless `prune` removes them: a drive may not be connected. Indexing can be
    interrupted anywhere, by SIGKILL too: files are stored completely or not at all, and the next call does
    the rest. Several processes may index at the same time; files that are new to both are read by both.

    Args:
        collection: The collection.
        model: The one that made its vectors.
        decoder: Reads the files.
        places: Media files and folders.
        metadata: Clips of a manifest, whose captions and labels go to the moments that they overlap: of
            files that are read, and of unchanged ones without captions and tags.
        speech: Measure the share of speech, if the extra `speech` is installed.
        readers: Read files elsewhere, by `read_versions`; None: read them here.
        prune: Remove files that are missing from places that have others; see `Update`.

    Raises:
        UserError: A place is missing or has no media, unless the collection has files there and another
            place has media; the collection is of other weights, or cannot be
            written to.
    """
    collection.require(model.fingerprint)
    notes = ManifestNotes(metadata)
    update = Update(collection, lambda: model, decoder, notes, speech, prune)
    yield from update.at(places, readers)


def read_versions(
    collection: StoredCollection,
    model: Embedder,
    decoder: Decoder,
    versions: Sequence[FileVersion],
    *,
    metadata: Sequence[Clip] = (),
    speech: bool = True,
) -> Iterator[Indexed]:
    """The part of `index` that can be distributed: read some files and store them.

    Files that the collection holds in this version are skipped, so that it can be repeated. No file is
    removed and no score calibrated: `index` does that in the end.

    Args:
        collection: The collection.
        model: The one that made its vectors.
        decoder: Reads the files.
        versions: The files, as they were when the work was distributed.
        metadata: As for `index`.
        speech: As for `index`.

    Raises:
        UserError: The collection is of other weights, or cannot be written to.
    """
    collection.require(model.fingerprint)
    update = Update(collection, lambda: model, decoder, ManifestNotes(metadata), speech)
    yield from update.read_versions(versions)


def reembed(
    collection: StoredCollection,
    run: str,
    model: Embedder,
    decoder: Decoder,
    *,
    speech: bool = True,
) -> Iterator[Indexed]:
    """Compute a collection's vectors again with another model, from its files.

    They go to a second table. The old one is searched until a single step at the end replaces it; the
    collection must then be opened again. After an interruption it continues where it stopped. Captions,
    tags and the cut of moments stay. Missing files are left out, and reported as `removed`.

    Args:
        collection: With vectors of the old model.
        run: Where `search` finds the new model, as for `begin`.
        model: The new one.
        decoder: Reads the files.
        speech: Measure how much is spoken, where the extra `speech` is installed.

    Raises:
        UserError: A folder of files is missing, as if a drive were not connected; moments are too long
            for the model's fusion; or the collection cannot be written to.
    """
    old = collection.description
    _require_folders(collection, [Path(file) for file in collection.table.files()])
    description = describe(run, model, old.seconds, old.hop, old.cut, old.frames, old.audio_track)
    successor = collection.reembedding(description)
    update = Update(successor, lambda: model, decoder, speech=speech, prune=True)
    reported: set[str] = set()
    while True:
        known, done = collection.table.files(), successor.table.files()
        files = sorted(Path(file) for file in known if exists(file))
        present = {str(file) for file in files}
        for indexed in update.run(done, files, sorted(done.keys() - present)):
            if indexed.change != "unchanged" or indexed.file not in reported:
                yield indexed
            reported.add(indexed.file)
        for file in sorted(known.keys() - done.keys() - present - reported):
            reported.add(file)
            yield Indexed(file=file, change="removed", status="corrupt", reason="it is missing")
        with collection.writing():
            # First take over what others stored in the old table in the meantime.
            if successor is collection or collection.table.files() == known:
                successor.switch()
                return


def _require_folders(collection: StoredCollection, files: list[Path]) -> None:
    for folder in sorted({file.parent for file in files}):
        if not is_folder(folder):
            raise UserError(
                f"{collection.name}: the folder {folder} of its files is missing: if its drive is not "
                "connected, connect it, else remove the folder (trichord index --remove)."
            )
