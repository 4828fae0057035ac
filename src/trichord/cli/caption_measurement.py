"""How `trichord evaluate` measures a run that writes captions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trichord.api.model import device_of
from trichord.cli.console import bar
from trichord.cli.measurement import ClipReader, Measurement, tune
from trichord.cli.options import require_unset
from trichord.types import CaptionKind, Clip, UserError

if TYPE_CHECKING:
    from trichord.checkpoint import Run
    from trichord.config import Experiment
    from trichord.evaluation.captions.protocol import CaptionRules
    from trichord.evaluation.captions.report import CaptionReport
    from trichord.media import Decoder


def measure_writer(
    held: "Run",
    clips: Sequence[Clip],
    manifest: Path,
    chosen: Measurement,
    decoder: "Decoder",
) -> "CaptionReport":
    """What the captions of one run are worth on clips of a manifest.

    Raises:
        UserError: The run cannot be measured in this way; the option is named.
    """
    from trichord.evaluation.captions.invention import count_invention
    from trichord.evaluation.captions.protocol import stamp
    from trichord.evaluation.captions.report import CaptionReport
    from trichord.evaluation.captions.writing import measure_captions, references_of, write_captions
    from trichord.evaluation.silent import heard_by

    _require_sense(chosen)
    experiment, provenance = held.experiment(), held.provenance()
    model = held.load().to(device_of(chosen.device))
    assert model.captioner is not None
    tune(model, chosen)
    rules = rules_of(experiment, chosen)
    references = references_of(model, clips, rules)
    _require_references(references)
    reading = ClipReader(model, experiment, manifest, chosen, decoder, model.captioner.reads)
    heard = heard_by(chosen.rule, model, reading.source(clips), reading.training)
    try:
        with bar("captions", len(clips)) as moving:
            captions = write_captions(model, heard.source, rules, moving.advance)
    except ValueError as error:
        raise UserError(f"{held.path} cannot write of these clips so: {error}") from error
    written = {one.id: one.text for one in captions if one.text}
    return CaptionReport(
        run=held.name,
        experiment=experiment.system,
        seed=experiment.seed,
        provenance=provenance,
        protocol=stamp(
            rules,
            references,
            split=chosen.split,
            missing=heard.rule,
            audio_type=chosen.token,
            selected_on_test=provenance.selected_on_test,
        ),
        rows=measure_captions(captions, references, rules),
        captions=captions,
        silent=heard.silent,
        blank=_wordless(clips, rules),
        longer=model.text.count_cut(_texts_of(clips, rules)),
        invention=count_invention(written, clips),
    )


def rules_of(experiment: "Experiment", chosen: Measurement) -> "CaptionRules":
    """How captions are written and scored."""
    from trichord.evaluation.captions.protocol import CaptionRules, Scoring
    from trichord.evaluation.captions.writing import kinds_of

    asked = chosen.captions
    return CaptionRules(
        kinds=asked.kind or kinds_of(experiment),
        beams=asked.beams,
        length_penalty=asked.length_penalty,
        longest=asked.longest,
        scoring=Scoring(
            tokens=asked.tokens,
            kept=asked.references,
            meteor=asked.meteor,
            resamples=asked.resamples,
        ),
    )


def _texts_of(clips: Sequence[Clip], rules: "CaptionRules") -> list[str]:
    return [one.text for clip in clips for one in clip.captions if one.kind in rules.kinds]


def _wordless(clips: Sequence[Clip], rules: "CaptionRules") -> int:
    from trichord.evaluation.captions.writing import has_words

    return sum(not has_words(text, rules) for text in _texts_of(clips, rules))


def _require_references(
    references: Mapping[CaptionKind, Mapping[str, tuple[str, ...]]],
) -> None:
    if not any(references.values()):
        raise UserError(
            f"the clips have no captions of the kinds {', '.join(references)}: choose others with "
            "--captions.kind, or another --split."
        )


def _require_sense(chosen: Measurement) -> None:
    """Refuse options that say nothing of captions.

    Raises:
        UserError: The first of them.
    """
    if chosen.protocol:
        raise UserError(
            f"--protocol {chosen.protocol} is of retrieval, and this run writes captions: leave it out."
        )
    if chosen.weights:
        raise UserError(
            "--visual-weight and --audio-weight: this run writes captions; leave both options out."
        )
    require_unset(chosen, "a run that writes captions", "ties")
