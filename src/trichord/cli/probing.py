"""Commands that measure runs as classifiers: `probe` and `classify`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from trichord.cli.console import bar, out
from trichord.cli.frozen import FrozenOptions, Medium, Present, Subject, opened, unread
from trichord.cli.options import checked, require_unset
from trichord.cli.places import ModelName
from trichord.cli.results import keep, show_paper
from trichord.types import Split, UserError
from trichord.types.comparable import not_comparable
from trichord.types.rules import Checked, Distinct, InputFile, Seed, require

if TYPE_CHECKING:
    import numpy as np

    from trichord.evaluation.classes.answers import ClassRow
    from trichord.evaluation.classes.classification import ClassProtocol, ClassReport, FoldRow
    from trichord.evaluation.classes.folds import Folding, Labelled, Rule
    from trichord.evaluation.classes.probing import FoldAnswers

NOT_WRITTEN = "Nothing written: name a folder with --to."

Given = Annotated[ModelName, tyro.conf.arg(metavar="RUN|MODEL")]
Manifest = Annotated[Path, tyro.conf.arg(metavar="MANIFEST"), InputFile()]


def require_prompt(text: str) -> None:
    """Refuse what is neither a sentence with a place for the class nor a set of such."""
    from trichord.evaluation.classes.prompts import templates

    templates([text], "vision")


def rule_of(text: str) -> "Rule":
    """What makes the folds, as it is written on the command line.

    Raises:
        UserError: There is no such rule.
    """
    if text == "split" or text == "manifest" or text == "esc50" or text == "ucf101":
        return text
    if text.isdecimal() and text.isascii() and int(text) >= 2:
        return int(text)
    raise UserError(f"--folds {text}: give split, manifest, esc50, ucf101, or a number from 2 on.")


@dataclass(frozen=True, kw_only=True)
class Probing(FrozenOptions):
    """How `trichord probe` is to measure."""

    folds: Annotated[str, Checked(rule_of)] = "split"
    """split: train and val teach, test is tested; manifest: the clips' own folds; esc50, ucf101: the
    official folds; or a number."""
    method: Literal["logistic", "as_paper", "as_paper_last", "published"] = "logistic"
    """Logistic regression whose penalty training clips choose; or as published, with the epoch that
    is best on the test clips; or with the last epoch; or the head that an imported checkpoint
    brought along, which learns nothing here."""
    join: Literal["mean", "concatenated"] = "mean"
    """Of picture and sound: as published their mean, or one behind the other."""
    seed: Seed = 0
    """Of drawn folds and first weights."""
    paper: bool = False
    """Also show the paper's own values."""

    @property
    def rule(self) -> "Rule":
        """What makes the folds."""
        return rule_of(self.folds)

    @property
    def parts(self) -> list[str]:
        """What the names of its reports say; see `FrozenOptions`."""
        return [
            *super().parts,
            "" if self.rule == "split" else f"folds-{self.folds}",
            "" if self.method == "logistic" else self.method,
            "" if self.join == "mean" else self.join,
            f"seed-{self.seed}" if self.seed else "",
        ]

    def require_sense(self) -> None:
        """Refuse options that say nothing; see `FrozenOptions`."""
        super().require_sense()
        if self.modality in ("vision", "audio"):
            require_unset(self, f"--modality {self.modality}", "join")
        require(
            self.method != "published" or self.join == "mean",
            "--join concatenated: a published head reads one feature: leave it out.",
        )


@dataclass(frozen=True, kw_only=True)
class Prompting(FrozenOptions):
    """How `trichord classify` is to measure."""

    split: Split | Literal["all"] = "test"
    """Which of the clips."""
    prompts: Annotated[tuple[str, ...], Checked(require_prompt), Distinct()] = ()
    """Sentences with {} for the class, of which the mean is taken; or a set: plain, picture, sound. If
    not given, picture asks pictures and sound asks sounds."""

    @property
    def parts(self) -> list[str]:
        """What the names of its reports say; see `FrozenOptions`. Sentences have one mark for all."""
        from trichord.evaluation.classes.prompts import PROMPTS
        from trichord.evaluation.protocol import digest

        known = len(self.prompts) == 1 and self.prompts[0] in PROMPTS
        mark = self.prompts[0] if known else digest(self.prompts)
        split = "" if self.split == "test" else self.split
        return [*super().parts, split, f"prompts-{mark}" if self.prompts else ""]

    def require_sense(self) -> None:
        """Refuse options that say nothing; see `FrozenOptions`."""
        from trichord.evaluation.classes.prompts import templates

        super().require_sense()
        templates(self.prompts, "vision")


PROBING, PROMPTING = Probing(), Prompting()


def probe(arguments: list[str]) -> None:
    """`trichord probe RUN|MODEL MANIFEST`."""

    def run(
        run: Given,
        manifest: Manifest,
        /,
        *,
        chosen: Annotated[Probing, tyro.conf.arg(name="")] = PROBING,
    ) -> None:
        """Teach a linear classifier the classes of labelled clips, on a run's frozen features.

        With --method published nothing is taught: the head of an imported checkpoint answers.
        Writes probe.json and probe.png, the confusion matrix, into the run; measured otherwise than
        usual, under a longer name, such as probe-audio-folds-esc50.json.

        Args:
            run: A run directory, a named model, a folder of weights, hub:USER/NAME, or an experiment
                before training.
            manifest: Clips as JSON lines, each with one label.
            chosen: How to measure.
        """
        chosen.require_sense()

        from trichord.corpora.manifest import read_manifest
        from trichord.evaluation.classes.folds import folding, labelled

        held = labelled(read_manifest(manifest), manifest)
        folds = folding(held, rule_of(chosen.folds), seed=chosen.seed)
        subject = opened(run, chosen)
        report = probed(subject, held, folds, manifest, chosen)
        finish(report, subject, chosen, "probe")
        if chosen.paper:
            show_paper("classification")

    tyro.cli(checked(run), args=arguments, prog="trichord probe")


def classify(arguments: list[str]) -> None:
    """`trichord classify RUN|MODEL MANIFEST`."""

    def run(
        run: Given,
        manifest: Manifest,
        /,
        *,
        chosen: Annotated[Prompting, tyro.conf.arg(name="")] = PROMPTING,
    ) -> None:
        """Tell the classes of labelled clips by sentences alone: no clip teaches anything.

        Writes classify.json and classify.png, the confusion matrix, into the run; measured otherwise
        than usual, under a longer name, such as classify-audio-val.json.

        Args:
            run: A run directory, a named model, a folder of weights, hub:USER/NAME, or an experiment
                before training.
            manifest: Clips as JSON lines, each with one label; all classes that it has are asked for.
            chosen: How to measure.
        """
        chosen.require_sense()

        from trichord.corpora.manifest import read_manifest, select
        from trichord.evaluation.classes.folds import labelled, only

        every = labelled(read_manifest(manifest), manifest)
        held = only(every, select(every.clips, None if chosen.split == "all" else chosen.split))
        subject = opened(run, chosen)
        finish(prompted(subject, held, manifest, chosen), subject, chosen, "classify")

    tyro.cli(checked(run), args=arguments, prog="trichord classify")


def probed(
    subject: Subject, held: "Labelled", folds: "Folding", manifest: Path, chosen: Probing
) -> "ClassReport":
    """The report of a probe.

    Raises:
        UserError: The features cannot be read, or do not serve.
    """
    from trichord.evaluation.classes.classification import ClassProtocol, list_of
    from trichord.evaluation.classes.classification import probed as results_of
    from trichord.evaluation.classes.classifiers import METHODS
    from trichord.evaluation.classes.folds import numbered
    from trichord.evaluation.classes.probing import ask, read_frozen, views
    from trichord.evaluation.classes.probing import probe as probe_fold
    from trichord.evaluation.classes.published_head import PublishedHead, read_head
    from trichord.media import Decoder

    if (
        subject.sense == "both"
        and chosen.join == "mean"
        and not subject.model.compares("audio", "vision")
    ):
        raise UserError(
            f"--join mean: {not_comparable('audio', 'vision')}; choose --join concatenated, or one "
            "--modality."
        )
    method = read_head(subject.path) if chosen.method == "published" else METHODS[chosen.method]
    if isinstance(method, PublishedHead):
        held = numbered(held, method.classes)
    with Decoder() as decoder:
        source = subject.source(held.clips, manifest, chosen, decoder)
        with bar("clips", len(held.clips)) as moving:
            parts = read_frozen(subject.model, source, moving.advance)
        has: dict[Medium, Present] = {name: part.present for name, part in parts.items()}
        missing = unread(held.clips, has, decoder)
    seen = views(parts, chosen.join)
    answers: list[FoldAnswers] = []
    with bar("folds", len(folds.folds)) as moving:
        for fold in folds.folds:
            answers.append(
                ask(method, seen[0], fold)
                if isinstance(method, PublishedHead)
                else probe_fold(seen, held.truth, folds.groups, fold, method, seed=chosen.seed)
            )
            moving.advance()
    found = results_of(answers, held)
    joined = f", {chosen.join}{alone(has)}" if subject.sense == "both" else ""
    protocol = ClassProtocol(
        kind="probe",
        list=list_of(held),
        clips=len(held.clips),
        classes=len(held.classes),
        modality=subject.sense,
        audio_type=subject.token,
        selected_on_test=subject.provenance.selected_on_test,
        folds=folds.rule,
        tested=tuple(len(fold.test) for fold in folds.folds),
        features=f"frozen features, mean of projected steps, not normalised{joined}",
        method=method.words(),
        seed=chosen.seed,
    )
    report = reported(subject, held, protocol, found.every, found.folds)
    return replace(report, missing=missing, untaught=found.untaught)


def prompted(
    subject: Subject, held: "Labelled", manifest: Path, chosen: Prompting
) -> "ClassReport":
    """The report of zero-shot classification.

    Raises:
        UserError: The features cannot be read, or do not serve.
    """
    from trichord.evaluation.classes.answers import answer, class_row
    from trichord.evaluation.classes.classification import ClassProtocol, list_of
    from trichord.evaluation.classes.prompts import class_vectors, templates, zero_shot
    from trichord.evaluation.vectors import embed_source
    from trichord.media import Decoder

    model = subject.model
    if subject.sense == "both" and not subject.model.compares("audio", "vision"):
        raise UserError(
            f"--modality both: {not_comparable('audio', 'vision')}; choose vision or audio."
        )
    with Decoder() as decoder:
        source = subject.source(held.clips, manifest, chosen, decoder)
        with bar("clips", len(held.clips)) as moving:
            vectors = embed_source(model, source, after_clips=moving.advance)
        both: dict[Medium, Present] = {"vision": vectors.has_vision, "audio": vectors.has_audio}
        has: dict[Medium, Present] = {name: both[name] for name in subject.media}
        missing = unread(held.clips, has, decoder)
    asked: dict[Medium, tuple[str, ...]] = {
        name: templates(chosen.prompts, name) for name in subject.media
    }
    classes: dict[Medium, np.ndarray] = {
        name: class_vectors(model, held.classes, of, name) for name, of in asked.items()
    }
    scores = zero_shot(vectors, classes)
    every = class_row(answer(scores, held.truth), held.truth, held.classes)
    fused = f", mean{alone(has)}" if subject.sense == "both" else ""
    if model.fusion is not None:  # what it has to do with the run's vectors
        left = " as the run's fusion leaves them"
        fused = (
            left if model.fusion.indexable else ", without the run's fusion, which re-ranks"
        ) + fused
    told = "; ".join(f"{name}: {' | '.join(of)}" for name, of in asked.items())
    protocol = ClassProtocol(
        kind="zero-shot",
        list=list_of(held),
        clips=len(held.clips),
        classes=len(held.classes),
        modality=subject.sense,
        audio_type=subject.token,
        selected_on_test=subject.provenance.selected_on_test,
        folds="all clips" if chosen.split == "all" else f"{chosen.split} split",
        tested=(len(held.clips),),
        features=f"unit vectors{fused}",
        method=f"classes as the mean of the unit vectors of prompts, {told}",
        seed=None,
    )
    return replace(reported(subject, held, protocol, every), missing=missing)


def reported(
    subject: Subject,
    labelled: "Labelled",
    protocol: "ClassProtocol",
    every: "ClassRow",
    folds: "tuple[FoldRow, ...]" = (),
) -> "ClassReport":
    """A report under its protocol."""
    from trichord.evaluation.classes.classification import ClassReport

    return ClassReport(
        run=subject.name,
        experiment=subject.experiment.system,
        seed=subject.experiment.seed,
        provenance=subject.provenance,
        protocol=protocol,
        rows=folds,
        every=every,
        classes=labelled.classes,
        unlabelled=labelled.unlabelled,
    )


def finish(
    report: "ClassReport",
    subject: Subject,
    chosen: FrozenOptions,
    name: Literal["probe", "classify"],
) -> None:
    """Show a report, and write it with its confusion matrix where it belongs."""
    from trichord.evaluation.classes.classification import worst

    place = chosen.to or subject.path
    file = "-".join([name, *filter(None, chosen.parts)])
    for table in keep(report, place / f"{file}.json" if place else None):
        out.print(table)
    out.print(f"Least recognised, %: {worst(report)}.", markup=False)
    for line in report.notes():
        out.print(line, markup=False)
    written = f"{place}: {file}.json and {file}.png written." if place else NOT_WRITTEN
    out.print(written, markup=False, soft_wrap=True)


def alone(has: dict[Medium, Present]) -> str:
    """How many clips have a picture, or a sound, alone."""
    vision, audio = has["vision"], has["audio"]
    pictures, sounds = (vision & ~audio).sum(), (audio & ~vision).sum()
    return f" ({pictures} clips by the picture alone, {sounds} by the sound alone)"
