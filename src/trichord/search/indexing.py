"""Bringing a collection up to date with its media files."""

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
from trichord.search.collection import Collection, Description, under
from trichord.search.moments import SECONDS, SHORTEST, CutKind, require_moments
from trichord.search.notes import ManifestNotes, NoteTaker
from trichord.search.speech import speech_detector
from trichord.search.survey import media_at
from trichord.search.table import FileVersion
from trichord.search.updating import Change, Indexed, Readers, Update, settle
from trichord.types import Clip, UserError
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
) -> Collection:
    """Make a collection for a run's model, or open the one that is there to go on with it.

    Args:
        path: Folder of the collection, or `s3://bucket/prefix`.
        run: Where `search` finds the model: a run's whole path, or an experiment's name.
        model: Of that run.
        seconds: Length of a moment.
        hop: Seconds between the starts of moments; None: half of `seconds`.
        cut: `shots`: a moment is a shot, and `seconds` and `hop` are of the long ones.
        frames: `keyframe`: only keyframes are decoded, those before the times meant.

    Raises:
        UserError: The folder holds something else, or moments of another model or length; or no
            such moments are possible, or they are too long for the model's fusion.
    """
    return Collection.begin(path, describe(run, model, seconds, hop, cut, frames))


def describe(
    run: str,
    model: Embedder,
    seconds: float = SECONDS,
    hop: float | None = None,
    cut: CutKind = "window",
    frames: FrameChoice = "exact",
) -> Description:
    """What a collection of a model's moments says of itself; arguments and errors as for `begin`."""
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
        weighting=Run(Path(run)).weighting if Path(run).is_dir() else None,
    )


def _require_room(model: Embedder, longest: float) -> None:
    """Try the fusion on a moment of this length, with the frames and segments that it would have."""
    if model.fusion is None:
        return
    samples = samples_in(model.plan.audio_length(0.0, longest), model.audio.rate)
    segments = len(model.audio.prepare(np.zeros(samples, np.float32)))
    frames = len(model.vision.frames.times(0.0, longest))
    text, vision, audio = (_blank(model, steps) for steps in (1, frames, segments))
    try:
        with torch.inference_mode():
            model.fusion(text, vision, audio)
    except ValueError as error:
        raise UserError(
            f"--seconds: moments of up to {longest:g} s are too long for the run's fusion: {error}"
        ) from error


def _blank(model: Embedder, steps: int) -> Features:
    return Features(
        torch.zeros(1, model.dim, device=model.device),
        torch.zeros(1, steps, model.dim, device=model.device),
        torch.ones(1, steps, dtype=torch.bool, device=model.device),
    )


def index(
    collection: Collection,
    model: Embedder,
    decoder: Decoder,
    places: Sequence[Path],
    *,
    told: Sequence[Clip] = (),
    speech: bool = True,
    read: Readers | None = None,
) -> Iterator[Indexed]:
    """Bring a collection up to date with media files and folders; gives each file once it is stored.

    Unchanged files are skipped and keep what was said of them, known bytes under a new name keep
    their vectors, files gone from the given folders leave the collection. It can be interrupted
    anywhere, by SIGKILL too: files are stored whole or not at all, and the next call does what is
    missing. Several processes may do this at the same time; files that are new to both are read
    by both.

    Args:
        collection: To be changed.
        model: The one that made its vectors.
        decoder: Reads the files.
        places: Media files and folders.
        told: Clips of a manifest, whose captions and labels go to the moments that they overlap: of
            files that are read, and of unchanged ones of which nothing was said before.
        speech: Measure how much is spoken, where the extra `speech` is installed.
        read: Has files read elsewhere, by `read_versions`; None: they are read here.

    Raises:
        UserError: A place is missing or has no media; the vectors there are of other weights; or
            the collection cannot be written to.
    """
    collection.require(model.fingerprint)
    # The table first: a file that another process adds meanwhile must not seem to have gone.
    known = collection.table.files()
    files = media_at(places)
    below = {file for place in places for file in under(known, place)}
    gone = sorted(below - {str(file) for file in files})
    taker = NoteTaker(ManifestNotes(told), speech_detector() if speech else None)
    yield from Update(collection, model, decoder, taker).run(known, files, gone, read)
    settle(collection, model)


def read_versions(
    collection: Collection,
    model: Embedder,
    decoder: Decoder,
    versions: Sequence[FileVersion],
    *,
    told: Sequence[Clip] = (),
    speech: bool = True,
) -> Iterator[Indexed]:
    """The part of `index` that can be shared out: read some files and store them.

    Files that the collection holds as they are by now are skipped, so that it can be repeated. No
    file leaves the collection, and no score is calibrated: `index` sees to that in the end.

    Args:
        collection: To be changed.
        model: The one that made its vectors.
        decoder: Reads the files.
        versions: The files, as they were when the work was shared out.
        told: As for `index`.
        speech: As for `index`.

    Raises:
        UserError: The vectors there are of other weights; or the collection cannot be written to.
    """
    collection.require(model.fingerprint)
    taker = NoteTaker(ManifestNotes(told), speech_detector() if speech else None)
    yield from Update(collection, model, decoder, taker).read(versions)


def reembed(
    collection: Collection, run: str, model: Embedder, decoder: Decoder, *, speech: bool = True
) -> Iterator[Indexed]:
    """Make a collection's vectors anew with another model, from its files.

    They go to a table beside the old one, which is searched until a single step at the end puts the
    new one in its place; then the collection is to be opened again. Interrupted, it goes on where it
    stopped. Captions and tags are kept; moments keep their length and cut. Of files that have gone
    nothing can be made: they are left out, and reported as `removed`.

    Args:
        collection: With vectors of the old model.
        run: Where `search` finds the new model, as for `begin`.
        model: The new one.
        decoder: Reads the files.
        speech: Measure how much is spoken, where the extra `speech` is installed.

    Raises:
        UserError: A whole folder of files has gone, as if a drive were missing; moments are too long
            for the model's fusion; or the collection cannot be written to.
    """
    there = collection.description
    _require_folders(collection, [Path(file) for file in collection.table.files()])
    described = describe(run, model, there.seconds, there.hop, there.cut, there.frames)
    successor = collection.reembedding(described)
    taker = NoteTaker(ManifestNotes(), speech_detector() if speech else None)
    update = Update(successor, model, decoder, taker)
    told: set[str] = set()
    while True:
        known, done = collection.table.files(), successor.table.files()
        files = sorted(Path(file) for file in known if Path(file).exists())
        gone = sorted(done.keys() - {str(file) for file in files})
        for one in update.run(done, files, gone):
            if one.change != "unchanged" or one.file not in told:
                yield one
            told.add(one.file)
        for file in sorted(known.keys() - done.keys() - {str(file) for file in files} - told):
            told.add(file)
            yield Indexed(file=file, change="removed", status="corrupt", reason="it has gone")
        settle(successor, model)
        with collection.writing():
            # What others stored in the old table meanwhile is brought along first.
            if successor is collection or collection.table.files() == known:
                successor.switch()
                return


def _require_folders(collection: Collection, files: list[Path]) -> None:
    for folder in sorted({file.parent for file in files}):
        if not folder.is_dir():
            raise UserError(
                f"{collection.name}: the folder {folder} of its files has gone: if its drive is not "
                "there, connect it, else take the folder out (trichord index --remove)."
            )
