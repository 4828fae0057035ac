"""How `trichord evaluate` measures a run that writes captions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trichord.api.model import device_of
from trichord.cli.console import bar
from trichord.cli.measurement import Measurement, heard_clips, tune
from trichord.cli.options import require_unset
from trichord.evaluation.named import PROTOCOLS, require_clips
from trichord.types import MODALITIES, Clip, Modality, UserError
from trichord.types.rules import require

if TYPE_CHECKING:
    from trichord.checkpoint import Run
    from trichord.evaluation.captions.report import CaptionReport
    from trichord.evaluation.silent import SilentRule
    from trichord.media import Decoder


def measure_writer(
    held: "Run", clips: Sequence[Clip], manifest: Path, chosen: Measurement, decoder: "Decoder"
) -> "CaptionReport":
    """What the captions of one run are worth on clips of a manifest.

    Raises:
        UserError: The run cannot be measured in this way; the option is named.
    """
    from trichord.evaluation.captions.invention import count_invention
    from trichord.evaluation.captions.protocol import stamp
    from trichord.evaluation.captions.report import CaptionReport
    from trichord.evaluation.captions.writing import (
        has_words,
        kinds_of,
        measure_captions,
        references_of,
        write_captions,
    )

    experiment, provenance = held.experiment(), held.provenance()
    model = held.load().to(device_of(chosen.device))
    assert model.captioner is not None
    tune(model, chosen)
    published = chosen.named.kinds if chosen.named else ()
    kinds = chosen.captions.kind or published or kinds_of(experiment)
    rules = replace(chosen.captions, kind=kinds)
    read = _read(model.captioner.reads, chosen.rule)
    heard = heard_clips(model, read, clips, manifest, chosen, decoder)
    clips = heard.source.clips  # without the silent ones, where a protocol leaves them out
    if chosen.protocol:
        require_clips(chosen.protocol, len(clips))
    texts = [one.text for clip in clips for one in clip.captions if one.kind in kinds]
    references = references_of(model, clips, rules)
    require(
        any(references.values()),
        f"the clips have no captions of the kinds {', '.join(references)}: choose others with "
        "--captions.kind, or another --split.",
    )
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
            name=chosen.protocol,
        ),
        rows=measure_captions(captions, references, rules),
        captions=captions,
        silent=heard.silent,
        blank=sum(not has_words(text, rules) for text in texts),
        longer=model.text.count_cut(texts),
        invention=count_invention(written, clips),
    )


def _read(reads: Sequence[Modality], rule: "SilentRule") -> tuple[Modality, ...]:
    """What the captioner reads, and what tells which clips are silent, or look alike."""
    others: dict[SilentRule, tuple[Modality, ...]] = {"masked": (), "out": ("audio",)}
    needed = {*reads, *others.get(rule, ("audio", "vision"))}
    return tuple(one for one in MODALITIES if one in needed)


def require_caption_sense(chosen: Measurement) -> None:
    """Refuse options that say nothing of captions.

    Raises:
        UserError: The first of them.
    """
    if (named := chosen.named) is not None:
        require(
            named.writes,
            f"--protocol {chosen.protocol} is of retrieval, and this run writes captions: choose one of "
            f"{', '.join(name for name, one in PROTOCOLS.items() if one.writes)}, or leave it out.",
        )
        require(
            chosen.captions.kind in ((), named.kinds),
            f"--protocol {chosen.protocol} is of {named.kind} captions: leave --captions.kind out.",
        )
    require(
        not chosen.weights,
        "--visual-weight and --audio-weight: this run writes captions; leave both options out.",
    )
    others = ("ties", "similarity", "ranks", "worst")
    require_unset(chosen, "a run that writes captions", *others)
