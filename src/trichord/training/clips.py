"""The clips of a training: a manifest, read once for all seeds."""

from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from trichord.checkpoint import Origin, Run, fresh_model
from trichord.config import Experiment
from trichord.corpora.manifest import read_manifest, select
from trichord.distributed import on_all_ranks
from trichord.features.reading import folder_of, source_of
from trichord.features.source import Source
from trichord.media import Decoder, file_signature
from trichord.models.embedder import Embedder
from trichord.types import Clip, Modality


@dataclass(kw_only=True)
class TrainingClips:
    """Clips of a manifest, and their features. A context manager that owns a decoder.

    Attributes:
        manifest: Clips as JSON lines.
        source: Read cached features and decode only for trunks that train, or decode everything.
        features: Folder of the cached features; beside the manifest if None.
        device: Recorded in the run, as the caller gave it.
        sharding: Recorded in the run.
    """

    manifest: Path
    source: Literal["features", "media"] = "features"
    features: Path | None = None
    device: str = "auto"
    sharding: bool = False
    _decoder: Decoder = field(default_factory=Decoder)
    _opened: dict[tuple[str, ...], list[Source]] = field(
        default_factory=dict[tuple[str, ...], list[Source]]
    )

    def __enter__(self) -> "TrainingClips":
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.close()

    @property
    def origin(self) -> Origin:
        """The origin of the clips, as a run records it."""
        return Origin(
            path=self.manifest,
            source=self.source,
            features=self.features,
            device=self.device,
            sharding=self.sharding,
        )

    @cached_property
    def all(self) -> list[Clip]:
        """All clips of the manifest."""
        return read_manifest(self.manifest)

    def splits(self, experiment: Experiment) -> list[list[Clip]]:
        """Training clips, and the clips for choosing an epoch, if one is chosen.

        Raises:
            UserError: A required split has no clips, or the manifest cannot be read.
        """
        if not experiment.stages:
            return []
        chooses = experiment.chooses
        if experiment.hand_over == "last" and not any(clip.split == chooses for clip in self.all):
            return [select(self.all, "train")]
        return [select(self.all, "train"), select(self.all, chooses)]

    def is_done(self, run: Run, experiment: Experiment) -> bool:
        """Whether a run is complete, and of this experiment and these clips."""
        return run.complete and run.is_of(experiment, file_signature(self.manifest))

    def open(self, experiment: Experiment) -> tuple[Embedder, list[Source]]:
        """An untrained model of an experiment, and a source for each split.

        Seeds share the sources, unless a frozen trunk depends on the seed.

        Raises:
            UserError: An encoder cannot be loaded, or features or media are missing.
        """
        model = on_all_ranks(partial(fresh_model, experiment))
        return model, on_all_ranks(partial(self._sources, experiment, model))

    def _sources(self, experiment: Experiment, model: Embedder) -> list[Source]:
        trunks: set[Modality] = {name for one in experiment.stages for name in one.towers}
        frozen = tuple(t.fingerprint for n, t in model.encoders().items() if n not in trunks)
        if frozen not in self._opened:
            folder = folder_of(self.manifest, self.features)
            self._opened[frozen] = [
                source_of(
                    model, clips, self.source, folder, self._decoder, trunks, experiment.modalities
                )
                for clips in self.splits(experiment)
            ]
        return self._opened[frozen]
