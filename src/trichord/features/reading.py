"""Clips as training and evaluation read them: cached features, or media."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trichord.types import Clip, Modality, UserError

if TYPE_CHECKING:  # commands name a folder of features before torch is loaded
    from trichord.features.source import Source
    from trichord.features.store import FeatureFolder
    from trichord.media import Decoder
    from trichord.models.embedder import Embedder

log = logging.getLogger("trichord.features")


def folder_of(manifest: Path, features: Path | None) -> "FeatureFolder":
    """Where the features of a manifest lie."""
    from trichord.features.store import FeatureFolder

    return FeatureFolder(features) if features else FeatureFolder.beside(manifest)


def source_of(
    model: "Embedder",
    clips: "Sequence[Clip]",
    kind: Literal["features", "media"],
    folder: "FeatureFolder",
    decoder: "Decoder",
    towers: "Collection[Modality]" = (),
    modalities: tuple[Modality, ...] = ("text", "audio", "vision"),
) -> "Source":
    """Clips as cached features or as media; towers that train are fed from media in any case.

    Raises:
        UserError: As for `require_media`, where media are read.
    """
    from trichord.features.source import FeatureSource, MediaSource, MixedSource

    fresh: tuple[Modality, ...] = tuple(
        name
        for name in modalities
        if (kind == "media" and model.encoders()[name].stored is None) or name in towers
    )
    cached: tuple[Modality, ...] = tuple(name for name in modalities if name not in fresh)
    if not fresh:
        return FeatureSource(clips, model, folder, cached)
    if {"audio", "vision"} & set(fresh):
        require_media(clips)
    media = MediaSource(clips, model, decoder, fresh)
    return MixedSource(FeatureSource(clips, model, folder, cached), media) if cached else media


MISSING_LIMIT = 0.5
"""Share of clips without their files from which on a manifest does not stand where it was made for."""


def require_media(clips: "Sequence[Clip]") -> None:
    """Refuse clips of which at least half have no file; say where it is fewer, and go on.

    Args:
        clips: Whose media are about to be read.

    Raises:
        UserError: Says how many there are, and the first path.
    """
    there = {path: Path(path).exists() for path in dict.fromkeys(clip.path for clip in clips)}
    gone = [clip.path for clip in clips if not there[clip.path]]
    if not gone:
        return
    what = f"{len(gone)} of {len(clips)} clips have no media file, such as {gone[0]}"
    if len(gone) < MISSING_LIMIT * len(clips):
        log.warning("%s: they count as clips without audio and visual.", what)
        return
    raise UserError(
        f"{what}: bring the files back, or correct the paths in the manifest (relative ones are below its "
        "folder)."
    )
