"""What `trichord probe` and `trichord classify` read: a run, listening as asked, and its clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro

from trichord.api.model import device_of, is_run
from trichord.cli.measurement import uncached
from trichord.cli.options import audio_type_of
from trichord.cli.threads import load_embedder
from trichord.features.reading import folder_of, source_of
from trichord.types import Clip
from trichord.types.rules import Checked, Device, InputFolder, OutputFolder, require

if TYPE_CHECKING:
    from trichord.config import Experiment, Provenance
    from trichord.features.source import Source
    from trichord.media import Decoder
    from trichord.models.embedder import Embedder
    from trichord.types import AudioType

Medium = Literal["vision", "audio"]
Sense = Literal["vision", "audio", "both"]
Present = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
"""Which clips have a modality, bool (clip,)."""


@dataclass(frozen=True, kw_only=True)
class FrozenOptions:
    """What is read of the clips."""

    modality: Sense | None = None
    """vision, audio or both; all that the run was trained on if not given."""
    source: Annotated[Literal["features", "media"], tyro.conf.arg(name="from")] = "features"
    """Read cached features, or decode media on the way."""
    features: Annotated[Path | None, InputFolder(bucket=True)] = None
    """Where the cached features lie; beside the manifest if not given."""
    audio_type: Annotated[str | None, Checked(audio_type_of)] = None
    """The audio type token: verbal, nonverbal, both, none, clip, or a mix from 0 (verbal) to 1 (nonverbal);
    that of the run if not given."""
    to: Annotated[Path | None, OutputFolder()] = None
    """Folder for the report and the picture, whose names say what is not as usual; the run if not given."""
    device: Device = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""

    @property
    def token(self) -> "AudioType | None":
        """The audio type, if one was given.

        Raises:
            UserError: It is none.
        """
        return None if self.audio_type is None else audio_type_of(self.audio_type)

    @property
    def parts(self) -> list[str]:
        """What the names of its reports say: every choice that is not the usual one."""
        token = "" if self.token is None else f"token-{self.token}"
        return [self.modality or "", token]

    def require_sense(self) -> None:
        """Refuse options that say nothing, before anything is read.

        Raises:
            UserError: The first of them.
        """
        require(
            self.token is None or self.modality != "vision",
            "--audio-type: nothing is listened to with --modality vision: leave one of them out.",
        )
        require(
            self.source == "features" or not self.features,
            "--features are not read with --from media: leave one of them out.",
        )


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured: towers as they are tuned now, and where they come from."""

    name: str
    path: Path | None
    experiment: "Experiment"
    model: "Embedder"
    sense: Sense
    token: str
    provenance: "Provenance"

    @property
    def media(self) -> tuple[Medium, ...]:
        """What is read of the clips."""
        return ("vision", "audio") if self.sense == "both" else (self.sense,)

    def source(
        self, clips: Sequence[Clip], manifest: Path, chosen: FrozenOptions, decoder: "Decoder"
    ) -> "Source":
        """Clips without their captions, from the cache or from media.

        Trunks of the run's own, or tuned, are read from media where nothing of them is cached.

        Raises:
            UserError: Features were never extracted.
        """
        folder = folder_of(manifest, chosen.features)
        fresh = uncached(self.model, chosen.token, folder)
        mute = [replace(clip, captions=()) for clip in clips]
        return source_of(self.model, mute, chosen.source, folder, decoder, fresh, self.media)


def opened(given: str, chosen: FrozenOptions) -> Subject:
    """A run or an untrained experiment, listening as it was asked to.

    Raises:
        UserError: It is neither, or has no audio type token to choose.
    """
    from trichord.checkpoint import Run
    from trichord.checkpoint.provenance import provenance_of
    from trichord.experiments import load_experiment

    there = device_of(chosen.device)  # before anything heavy is loaded
    model = load_embedder(given).to(there)
    path = Path(given) if is_run(Path(given)) else None
    experiment = Run(path).experiment() if path else load_experiment(given)
    if (sense := chosen.modality) is None:
        trained = [name for name in ("vision", "audio") if name in experiment.modalities]
        sense = "audio" if trained == ["audio"] else "both" if len(trained) == 2 else "vision"
    if chosen.token is not None:
        model.choose_audio_type(chosen.token)
    token = "none taken" if model.audio.audio_type is None else f"{model.audio.audio_type}"
    if chosen.token is None and model.audio.audio_type is not None:
        token += ", the run's own"
    return Subject(
        name=Run(path).name if path else f"{given}, before training",
        path=path,
        experiment=experiment,
        model=model,
        sense=sense,
        token="not heard" if sense == "vision" else token,
        # An experiment's towers learnt from no clips here.
        provenance=Run(path).provenance()
        if path
        else provenance_of(replace(experiment, stages=()), clips=None, earlier={}, parts={}),
    )


def unread(
    clips: Sequence[Clip], has: Mapping[Medium, Present], decoder: "Decoder"
) -> dict[str, str]:
    """Clips that have nothing of what is asked for, and what their files say about it."""
    lacking = [clip for row, clip in enumerate(clips) if not any(one[row] for one in has.values())]
    there = dict.fromkeys(clip.path for clip in lacking if Path(clip.path).is_file())
    status: dict[str, str] = {found.path: found.status for found in decoder.probe_all(there)}
    nothing = f"no {' or '.join(has)} in it"
    said = {clip.id: status.get(clip.path, "no such file") for clip in lacking}
    return {name: nothing if why == "ok" else why for name, why in said.items()}
