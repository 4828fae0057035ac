"""Sources of clips for training and evaluation: cached features, or media."""

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
    """The folder of the features of a manifest."""
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
    """Clips as cached features or as media; towers that train always read media.

    Raises:
        UserError: As for `require_media`, if media are read.
    """
    from trichord.features.source import FeatureSource, MediaSource

    fresh: tuple[Modality, ...] = tuple(
        name
        for name in modalities
        if (kind == "media" and model.encoders()[name].stored is None) or name in towers
    )
    cached: tuple[Modality, ...] = tuple(name for name in modalities if name not in fresh)
    if {"audio", "vision"} & set(fresh):
        require_media(clips)
    features = FeatureSource(clips, model, folder, cached) if cached or not fresh else None
    if not fresh and features is not None:
        return features
    return MediaSource(clips, model, decoder, fresh, features)


MISSING_LIMIT = 0.5
"""Share of clips without files from which the paths of a manifest count as wrong."""


def require_media(clips: "Sequence[Clip]") -> None:
    """Refuse clips if at least half have no file; warn if fewer have none.

    Args:
        clips: Clips whose media will be read.

    Raises:
        UserError: Names the number of clips and the first path.
    """
    exists = {path: Path(path).exists() for path in dict.fromkeys(clip.path for clip in clips)}
    missing = [clip.path for clip in clips if not exists[clip.path]]
    if not missing:
        return
    summary = f"{len(missing)} of {len(clips)} clips have no media file, such as {missing[0]}"
    if len(missing) < MISSING_LIMIT * len(clips):
        log.warning("%s: they count as clips without audio and visual.", summary)
        return
    raise UserError(
        f"{summary}: restore the files, or correct the paths in the manifest (relative ones are below its "
        "folder)."
    )
