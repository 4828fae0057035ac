"""Where commands take clips from: cached features or media."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trichord.types import Clip, Modality

if TYPE_CHECKING:
    from trichord.features.source import Source
    from trichord.features.store import FeatureFolder
    from trichord.media import Decoder
    from trichord.models.embedder import Embedder


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
    """Clips as cached features or as media; towers that train are fed from media in any case."""
    from trichord.features.source import FeatureSource, MediaSource, MixedSource

    fresh: tuple[Modality, ...] = tuple(
        name for name in modalities if kind == "media" or name in towers
    )
    cached: tuple[Modality, ...] = tuple(name for name in modalities if name not in fresh)
    if not fresh:
        return FeatureSource(clips, model, folder, cached)
    media = MediaSource(clips, model, decoder, fresh)
    return MixedSource(FeatureSource(clips, model, folder, cached), media) if cached else media
