"""What `trichord evaluate` is asked for, and how one run is measured by it."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro

from trichord.api.model import device_of
from trichord.cli.console import bar
from trichord.cli.options import audio_type_of, require_unset
from trichord.evaluation.captions.protocol import CaptionRules
from trichord.evaluation.named import protocol_named
from trichord.features.reading import folder_of, source_of
from trichord.types import MODALITIES, Clip, Modality, Split, UserError
from trichord.types.comparable import not_comparable
from trichord.types.rules import (
    Checked,
    Device,
    Distinct,
    InputFile,
    InputFolder,
    OutputFile,
    Range,
    Weight,
    require,
)

if TYPE_CHECKING:
    from trichord.checkpoint import Run, Untrained
    from trichord.evaluation.gallery import ClipVectors, Weights
    from trichord.evaluation.named import NamedProtocol
    from trichord.evaluation.report import RetrievalReport
    from trichord.evaluation.retrieval import Answered, Unanswered
    from trichord.evaluation.silent import Heard, SilentRule
    from trichord.features.source import Source
    from trichord.features.store import FeatureFolder
    from trichord.media import Decoder
    from trichord.models.embedder import Embedder
    from trichord.types import AudioType


def require_metric(name: str) -> None:
    """Refuse the name of no metric."""
    from trichord.evaluation.metrics import METRICS

    METRICS.find(name, "--metrics")


def require_writable(to: Path) -> None:
    """Refuse a path that no report can be written to; a bare name lies in each run."""
    if to.name != str(to):
        OutputFile().check(to, "--to")


def require_rank_file(path: Path) -> None:
    """Refuse a file whose name says no known form, or that cannot be written."""
    if path.suffix not in (".parquet", ".jsonl"):
        raise UserError(f"--ranks {path}: give a name that ends in .parquet or .jsonl.")
    OutputFile().check(path, "--ranks")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """How `trichord evaluate` is to measure."""

    split: Split = "test"
    """Which of the clips; the test split is for the end."""
    protocol: Annotated[str | None, Checked(protocol_named)] = None
    """A published protocol, such as msrvtt-1ka-1000: its clips, captions and tasks, or none at all."""
    source: Annotated[Literal["features", "media"], tyro.conf.arg(name="from")] = "features"
    """Read cached features, or decode media on the way."""
    features: Annotated[Path | None, InputFolder(bucket=True)] = None
    """Where the cached features lie; beside the manifest if not given."""
    visual_weight: Weight = None
    """Weight of the picture where text asks for clips, picture and sound fused; 1 if not given."""
    audio_weight: Weight = None
    """Weight of the sound; given either, a run without a fusion fuses the two by their mean."""
    audio_type: Annotated[str | None, Checked(audio_type_of)] = None
    """The audio type token: verbal, nonverbal, both, none, clip, or a mix from 0 (verbal) to 1 (nonverbal);
    that of the run if not given."""
    silent: Literal["masked", "borrowed", "random"] | None = None
    """Silent clips stay so, or have the sound of the training clip that looks most like them, or that
    of a random one; masked, or as the protocol has it, if not given."""
    train_manifest: Annotated[Path | None, InputFile()] = None
    """Whose training clips lend their sounds; the manifest itself if not given."""
    ties: Literal["pessimistic", "expected", "optimistic"] = "pessimistic"
    """How a tie counts."""
    similarity: Literal["pairwise", "dual-softmax"] = "pairwise"
    """What candidates are ranked by: their similarity to the query, or that times its softmax over all
    queries at temperature 0.01. That looks at all queries together, so its numbers compare only with
    others of its kind."""
    metrics: Annotated[tuple[Annotated[str, Checked(require_metric)], ...], Distinct()] = ()
    """Numbers to report beside the usual ones, such as ndcg@10, or those of a package or --plugin."""
    captions: CaptionRules = field(default_factory=CaptionRules)
    to: Annotated[Path | None, Checked(require_writable)] = None
    """File of the report: a name in each run, or a path for one run. If not given, evaluation.json (or
    captions.json), its name made longer by what is not as usual: evaluation-val.json. A model that is no
    run has no folder: without a file, nothing is written."""
    ranks: Annotated[Path | None, Checked(require_rank_file)] = None
    """Also write each query with its rank and its first ten hits into this file, .parquet or .jsonl; one
    file for all seeds."""
    worst: Annotated[Path | None, OutputFile(".html")] = None
    """Also write a page of the worst queries of each task into this file, with pictures, waveforms and
    what is said."""
    worst_count: Annotated[int, Range(1, 1000)] = 5
    """Queries of each task on that page."""
    device: Device = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""

    @property
    def hits(self) -> int:
        """How many first hits of each query are needed."""
        from trichord.evaluation.rank_files import HITS

        return HITS if self.ranks or self.worst else 0

    @property
    def named(self) -> "NamedProtocol | None":
        """The published protocol, if one was asked for."""
        return None if self.protocol is None else protocol_named(self.protocol)

    @property
    def weights(self) -> "Weights | None":
        """Of picture and sound, if one was given."""
        from trichord.evaluation.gallery import Weights

        if self.visual_weight is None and self.audio_weight is None:
            return None
        return Weights(
            visual_weight=1.0 if self.visual_weight is None else self.visual_weight,
            audio_weight=1.0 if self.audio_weight is None else self.audio_weight,
        )

    @property
    def token(self) -> "AudioType | None":
        """The audio type, if one was given."""
        return None if self.audio_type is None else audio_type_of(self.audio_type)

    @property
    def rule(self) -> "SilentRule":
        """What is done about silent clips."""
        named = self.named
        return self.silent or (named.silent if named else "masked")

    @property
    def is_bounded(self) -> bool:
        """Whether a known ceiling holds.

        Nobody has worked out that of silent clips that are lent a sound and join the gallery, nor that of
        a ranking that looks at all queries.
        """
        return self.rule == "masked" and self.similarity == "pairwise"

    def require_sense(self) -> None:
        """Refuse options that say nothing, or contradict one another.

        Raises:
            UserError: The first of them.
        """
        named, _, _ = self.named, self.weights, self.token
        require(
            self.rule in ("borrowed", "random") or not self.train_manifest,
            "--train-manifest goes with --silent borrowed or random: leave it out, or choose one.",
        )
        require(
            self.source == "features" or not self.features,
            "--features are not read with --from media: leave one of them out.",
        )
        if not self.worst:
            require_unset(self, "no --worst", "worst_count")
        if named is None:
            return
        if self.split != named.split:
            raise UserError(
                f"--protocol {self.protocol} measures the split '{named.split}': leave --split out."
            )
        if named.silent == "out" and self.silent:
            raise UserError(
                f"--protocol {self.protocol} leaves silent clips out: leave --silent out too."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A report, and what it was made of: the answers of each task, with hits if these are needed."""

    report: "RetrievalReport"
    answered: "Sequence[Answered | Unanswered]"
    vectors: "ClipVectors"


def measure_run(
    held: "Run | Untrained",
    clips: Sequence[Clip],
    manifest: Path,
    wanted: Sequence[Measurement],
    decoder: "Decoder",
    ceiling: dict[str, dict[int, float]] | None = None,
) -> Iterator[Measured]:
    """What one run or model reaches on a manifest: a report for each measurement, clips decoded once.

    Args:
        held: The run, or a model before training.
        clips: Those to measure on.
        manifest: Theirs.
        wanted: Measurements that differ in their audio types alone.
        decoder: For clips without cached features.
        ceiling: Passed on to the reports.

    Raises:
        UserError: The run cannot be measured in this way; the option is named.
    """
    from trichord.evaluation.metrics import METRICS, Measure
    from trichord.evaluation.named import require_gallery
    from trichord.evaluation.protocol import stamp
    from trichord.evaluation.query_ranks import query_ranks
    from trichord.evaluation.report import RetrievalReport, with_ceiling
    from trichord.evaluation.retrieval import TASKS, answer, left_out, measured_rows
    from trichord.evaluation.vectors import embed_source

    experiment, provenance = held.experiment(), held.provenance()
    first, named = wanted[0], wanted[0].named
    model = held.load().to(device_of(first.device))
    tune(model, first)
    fuses = first.weights is not None or (named is not None and named.fuses)
    all_read = fuses or first.rule in ("borrowed", "out")
    read = MODALITIES if all_read else experiment.modalities
    heard = heard_clips(model, read, clips, manifest, first, decoder)
    pairs = len(heard.source.captions.texts) * len(heard.source.clips)
    metrics = tuple(METRICS.find(kind, "--metrics") for kind in first.metrics)
    for chosen in wanted:
        tune(model, chosen)
        with bar("pairs", pairs) if model.reranks else nullcontext() as moving:
            after = moving.advance if moving else None
            vectors = embed_source(model, heard.source, chosen.weights, after)
            if chosen.protocol:
                require_gallery(chosen.protocol, vectors)
            tasks = named.asked() if named else TASKS
            answered = list(answer(vectors, tasks, similarity=chosen.similarity, hits=chosen.hits))
        rows = measured_rows(answered, Measure(ties=chosen.ties, metrics=metrics))
        masked = np.flatnonzero(~vectors.has_audio) if vectors.has_audio.any() else ()
        report = RetrievalReport(
            run=held.name,
            experiment=experiment.system,
            seed=experiment.seed,
            provenance=provenance,
            protocol=stamp(
                vectors,
                split=chosen.split,
                ties=chosen.ties,
                missing=heard.rule,
                audio_type=chosen.token,
                name=chosen.protocol,
                selected_on_test=provenance.selected_on_test,
                similarity=chosen.similarity,
            ),
            rows=with_ceiling(rows, ceiling),
            silent={vectors.ids[i]: None for i in masked} | heard.silent,
            left_out=left_out(vectors, tasks),
            ranks=query_ranks(answered, vectors),
        )
        yield Measured(report=report, answered=answered, vectors=vectors)


def tune(model: "Embedder", chosen: Measurement) -> None:
    """Let a model listen as it was asked to.

    Raises:
        UserError: It cannot, or what is asked for needs a fusion that it does not have.
    """
    if chosen.token is not None:
        model.choose_audio_type(chosen.token)
    if chosen.weights and not model.compares("audio", "vision"):
        raise UserError(
            f"--visual-weight and --audio-weight: {not_comparable('audio', 'vision')}; train a model "
            "that does, or leave both options out."
        )
    if chosen.similarity == "dual-softmax" and model.reranks:
        raise UserError(
            "--similarity dual-softmax is of cosines, and this run's fusion scores clips by a transformer: "
            "leave the option out."
        )
    named = chosen.named
    if named and named.fuses and model.fusion is None and not chosen.weights:
        raise UserError(
            f"--protocol {chosen.protocol} asks for clips, picture and sound fused, and this run has no "
            "fusion: give --visual-weight 1 --audio-weight 1 to fuse them by their mean."
        )


def lenders(chosen: Measurement, manifest: Path) -> list[Clip]:
    """The training clips that lend their sounds.

    Raises:
        UserError: There are none.
    """
    from trichord.corpora.manifest import read_manifest

    path = chosen.train_manifest or manifest
    clips = [clip for clip in read_manifest(path) if clip.split == "train"]
    require(
        clips,
        f"{path} has no training clips to lend their sounds: name a manifest that has some "
        "with --train-manifest, or choose --silent masked.",
    )
    return clips


def heard_clips(
    model: "Embedder",
    read: tuple[Modality, ...],
    clips: Sequence[Clip],
    manifest: Path,
    chosen: Measurement,
    decoder: "Decoder",
) -> "Heard":
    """Clips of a manifest with these modalities, after what is done about silent ones.

    Raises:
        UserError: Features or lending clips are missing.
    """
    from trichord.evaluation.silent import heard_by

    folder = folder_of(manifest, chosen.features)
    lent = folder_of(chosen.train_manifest, None) if chosen.train_manifest else folder
    # Lent sounds must come from where the others do, so one missing cache decides for both.
    fresh = uncached(model, chosen.token, folder, lent)

    def source(some: Sequence[Clip], place: "FeatureFolder") -> "Source":
        return source_of(model, some, chosen.source, place, decoder, fresh, read)

    return heard_by(
        chosen.rule,
        model,
        source(clips, folder),
        lambda: source(lenders(chosen, manifest), lent),
    )


def uncached(
    model: "Embedder", token: "AudioType | None", *folders: "FeatureFolder"
) -> list[Modality]:
    """What is read from media: trunks of the run's own, or tuned, of which nothing is cached."""
    towers = model.encoders()
    return [
        name
        for name in MODALITIES
        if (towers[name].trunk_changed or (name == "audio" and token is not None))
        and not all(folder.table(name, towers[name]).exists for folder in folders)
    ]
