"""Bringing a collection up to date with its media files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from trichord.media.decoded import samples_in
from trichord.media.decoder import Decoder
from trichord.media.probe import Status
from trichord.models.embedder import Embedder
from trichord.search.backdrop import calibrate_for
from trichord.search.collection import Collection, Description, under
from trichord.search.moments import SECONDS, SHORTEST
from trichord.search.reading import Cut, batches, read_moments
from trichord.search.sound_tokens import tokens_of
from trichord.search.survey import Survey, media_at, survey
from trichord.search.table import FileEntries, FileVersion, KnownFile
from trichord.types import UserError
from trichord.types.tensors import Features

Change = Literal["unchanged", "same", "new", "changed", "removed"]
"""`same`: the bytes were known already, under this name or another, and kept their vectors."""

BEST_FIRST: tuple[Status, ...] = (
    "ok", "no_audio", "no_video", "silent", "corrupt", "too_big", "timeout", "unsupported",
)  # fmt: skip
"""A file is called what its best moment is called."""
MOMENTS_A_COMMIT = 64
"""Moments after which whole files are stored: about what an interruption can cost."""
FILES_AT_ONCE = 16
"""Files whose vectors are taken over together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """A file that is done and stored.

    `status` is that of its best moment, `reason` says why where nothing could be used; `moments` is
    how many of its moments can be found.
    """

    file: str
    change: Change
    status: Status
    reason: str = ""
    moments: int = 0


def begin(
    path: Path, run: str, model: Embedder, seconds: float = SECONDS, hop: float | None = None
) -> Collection:
    """Make a collection for a run's model, or open the one that is there to go on with it.

    Args:
        path: Folder of the collection.
        run: Where `search` finds the model: a run's whole path, or an experiment's name.
        model: Of that run.
        seconds: Length of a moment.
        hop: Seconds between the starts of moments; None: `seconds`.

    Raises:
        UserError: The folder holds something else, or moments of another model or length; or no
            such moments are possible, or they are too long for the model's fusion.
    """
    step = seconds if hop is None else hop
    if not (1.0 <= seconds <= 3600.0 and 0.1 <= step <= seconds):
        raise UserError(
            f"Moments of {seconds:g} s every {step:g} s: choose a length of 1 to 3600 s and a step "
            "of 0.1 s to that length."
        )
    _require_room(model, seconds + SHORTEST)
    description = Description(
        run=run,
        fingerprint=model.fingerprint,
        seconds=seconds,
        hop=step,
        vision_dim=model.vision.dim,
        audio_dim=model.audio.dim,
        sound_tokens=tokens_of(model),
    )
    return Collection.begin(path, description)


def _require_room(model: Embedder, longest: float) -> None:
    """Try the fusion on a moment of this length, with the frames and segments that it would have."""
    if model.fusion is None:
        return
    samples = samples_in(model.plan.sound_length(0.0, longest), model.audio.rate)
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
    collection: Collection, model: Embedder, decoder: Decoder, places: Sequence[Path]
) -> Iterator[Indexed]:
    """Bring a collection up to date with media files and folders; gives each file once it is stored.

    Unchanged files are skipped, known bytes under a new name keep their vectors, files gone from
    the given folders leave the collection. It can be interrupted anywhere, by SIGKILL too: files
    are stored whole or not at all, and the next call does what is missing.

    Raises:
        UserError: A place is missing or has no media; the vectors there are of other weights; or
            another process is changing the collection.
    """
    collection.require(model.fingerprint)
    files = media_at(places)
    with collection.writing():
        known = collection.table.files()
        plan = survey(known, files)
        yield from _skipped(plan)
        yield from _take_over(collection, plan)
        yield from _read(collection, model, decoder, plan, known)
        yield from _forget(collection, known, places, {str(file) for file in files})
        if not collection.calibrated:
            collection.table.compact()
            collection.keep(calibrate_for(model, collection.table.gallery()))


def _skipped(plan: Survey) -> Iterator[Indexed]:
    for file in plan.unnameable:
        reason = "its path is not valid UTF-8: rename it"
        yield Indexed(file=file, change="unchanged", status="unsupported", reason=reason)
    for known in plan.unchanged:
        yield _known(known, "unchanged")


def _take_over(collection: Collection, plan: Survey) -> Iterator[Indexed]:
    """Give vectors of known bytes to new names; where they changed meanwhile, the file is read."""
    for group in batches(plan.same, FILES_AT_ONCE):
        held = {one.version.file: one for one in collection.table.read([h for _, h in group])}
        renewed: list[FileEntries] = []
        for version, holder in group:
            source = held.get(holder)
            if source is None or source.version.signature != version.signature:
                plan.read.append(version)
            else:
                renewed.append(_renamed(source, version))
        collection.table.put(renewed)
        yield from (_stored(one, "same") for one in renewed)


def _renamed(source: FileEntries, version: FileVersion) -> FileEntries:
    entries = tuple(
        replace(entry, moment=replace(entry.moment, file=version.file)) for entry in source.entries
    )
    return FileEntries(version=version, entries=entries)


def _read(
    collection: Collection,
    model: Embedder,
    decoder: Decoder,
    plan: Survey,
    known: dict[str, KnownFile],
) -> Iterator[Indexed]:
    """Decode and embed files, and store them some at a time."""
    versions = {version.file: version for version in plan.read}
    cut = Cut(collection.description.seconds, collection.description.hop)
    group: list[FileEntries] = []
    moments = read_moments(
        model, decoder, sorted(versions), cut, tokens=collection.description.sound_tokens
    )
    for file, entries in groupby(moments, key=lambda entry: entry.moment.file):
        group.append(FileEntries(version=versions[file], entries=tuple(entries)))
        if sum(len(one.entries) for one in group) >= MOMENTS_A_COMMIT:
            yield from _store(collection, group, known)
            group = []
    yield from _store(collection, group, known)


def _store(
    collection: Collection, files: Sequence[FileEntries], known: dict[str, KnownFile]
) -> Iterator[Indexed]:
    collection.table.put(files)
    for one in files:
        yield _stored(one, "changed" if one.version.file in known else "new")


def _forget(
    collection: Collection, known: dict[str, KnownFile], places: Sequence[Path], found: set[str]
) -> Iterator[Indexed]:
    """Delete files that have gone from the folders that were looked through."""
    below = {file for place in places for file in under(known, place)}
    gone = sorted(below - found)
    collection.table.remove(gone)
    yield from (_known(known[file], "removed") for file in gone)


def _known(known: KnownFile, change: Change) -> Indexed:
    best = min(known.statuses, key=BEST_FIRST.index)
    return Indexed(file=known.version.file, change=change, status=best, moments=known.moments)


def _stored(file: FileEntries, change: Change) -> Indexed:
    best = min(file.entries, key=lambda entry: BEST_FIRST.index(entry.status))
    return Indexed(
        file=file.version.file,
        change=change,
        status=best.status,
        reason=best.reason,
        moments=sum(entry.findable for entry in file.entries),
    )
