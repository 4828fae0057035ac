"""What the captions that a run writes are worth: each clip's against what people said of the clip."""

from collections.abc import Callable, Mapping, Sequence

from caption_metrics import TOKENIZERS, Tokenizer, evaluate
from trichord.config import Experiment
from trichord.evaluation.bootstrap import Estimate
from trichord.evaluation.captions.protocol import CaptionRules
from trichord.evaluation.captions.report import ClipCaption, ClipScores, KindRow
from trichord.evaluation.pairs import measuring
from trichord.features.source import Source, portions
from trichord.models.decoding import Decoding, write
from trichord.models.embedder import Embedder
from trichord.types import CAPTION_KINDS, CaptionKind, Clip, UserError
from trichord.types.terms import term_of

CLIPS_AT_ONCE = 32
_TOKENIZERS: Mapping[str, Tokenizer] = {"ptb": "ptb", "blanks": "whitespace"}


def kinds_of(experiment: Experiment) -> tuple[CaptionKind, ...]:
    """The kinds of captions that a run has learnt to write, in their order."""
    learnt = {
        kind
        for stage in experiment.stages
        for draw in stage.draws
        if any(term_of(name).loss == "words" for name in draw.terms)
        for kind in draw.captions
    }
    return tuple(kind for kind in CAPTION_KINDS if kind in learnt) or CAPTION_KINDS


def write_captions(
    model: Embedder,
    source: Source,
    rules: CaptionRules,
    after: Callable[[int], None] | None = None,
) -> tuple[ClipCaption, ...]:
    """Write a caption of each clip of a source, in its order.

    Args:
        model: With a captioner.
        source: Clips, each of which may lack what the captioner reads.
        rules: How captions are chosen.
        after: Told how many clips are done, after every portion.

    Raises:
        ValueError: The model has no captioner, or no room for the clips' frames or sound.
    """
    decoding = Decoding(
        beams=rules.beams, length_penalty=rules.length_penalty, longest=rules.longest, keep=1
    )
    found: list[ClipCaption] = []
    with measuring(model):
        for rows in portions(len(source.clips), CLIPS_AT_ONCE):
            embedded = model(source.batch(rows, None).to(model.device))
            written = write(model, embedded.vision, embedded.audio, decoding)
            for row, captions in zip(rows.tolist(), written, strict=True):
                clip, best = source.clips[row].id, captions[0] if captions else None
                if best is None:
                    found.append(ClipCaption(id=clip))
                    continue
                text = best.text
                if _spells(rules):  # as published, both sides are spelt by the tokenizer
                    text = " ".join(model.decode_tokens([best.tokens])[0].split())
                found.append(ClipCaption(id=clip, text=text, log_likelihood=best.log_likelihood))
            if after is not None:
                after(len(rows))
    return tuple(found)


def references_of(
    model: Embedder, clips: Sequence[Clip], rules: CaptionRules
) -> dict[CaptionKind, dict[str, tuple[str, ...]]]:
    """References by kind and clip; those without a word, and clips that have no other, are left out.

    Split at blanks, as published, they are first spelt as the run spells its own captions, and cut
    where those would be: punctuation stands apart there.
    """
    texts = list(dict.fromkeys(one.text for clip in clips for one in clip.captions))
    known = dict(zip(texts, spelt(model, texts), strict=True)) if _spells(rules) else {}
    found: dict[CaptionKind, dict[str, tuple[str, ...]]] = {}
    for kind in rules.kind:
        said = {
            clip.id: tuple(
                text
                for one in clip.captions
                if one.kind == kind and has_words(text := known.get(one.text, one.text), rules)
            )
            for clip in clips
        }
        found[kind] = {clip: several for clip, several in said.items() if several}
    return found


def _spells(rules: CaptionRules) -> bool:
    return rules.scoring.tokens == "blanks"


def spelt(model: Embedder, texts: Sequence[str]) -> list[str]:
    """Texts as the model's captioner would spell them, cut where it has no more room."""
    return model.decode_tokens([row.tolist() for row in model.token_ids(texts)])


def has_words(text: str, rules: CaptionRules) -> bool:
    """Whether a reference says anything, as words are split."""
    return bool(TOKENIZERS[_TOKENIZERS[rules.scoring.tokens]](text))


def measure_captions(
    captions: Sequence[ClipCaption],
    references: Mapping[CaptionKind, Mapping[str, tuple[str, ...]]],
    rules: CaptionRules,
) -> tuple[KindRow, ...]:
    """Score captions against the references of each kind apart; a kind without any is left out.

    A clip of which nothing could be written counts as an empty caption, so that runs which read
    different things are measured on the same clips.

    Args:
        captions: Of clips.
        references: Of each kind by clip.
        rules: How they are scored.

    Raises:
        UserError: A reference has no words; its clip is named.
    """
    written = {one.id: one.text or "" for one in captions}
    return tuple(
        _measured(kind, written, by_clip, rules) for kind, by_clip in references.items() if by_clip
    )


def _measured(
    kind: CaptionKind,
    written: Mapping[str, str],
    references: Mapping[str, tuple[str, ...]],
    rules: CaptionRules,
) -> KindRow:
    hypotheses = {clip: written[clip] for clip in references}
    how = rules.scoring
    try:
        found = evaluate(
            references,
            hypotheses,
            tokenizer=_TOKENIZERS[how.tokens],
            cider=how.cider,
            meteor=how.meteor,
            truncate_references=how.kept == "as_published",
            resamples=how.resamples,
            seed=how.seed,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    return KindRow(
        name=kind,
        sizes={
            "clips": len(references),
            "wordless": sum(not text for text in hypotheses.values()),
            "references": sum(map(len, references.values())),
        },
        estimates={
            metric: Estimate(value, *found.intervals[metric])
            for metric, value in found.corpus.items()
        },
        clips=tuple(
            ClipScores(
                id=clip,
                references=said,
                scores={metric: values[clip] for metric, values in found.captions.items()},
            )
            for clip, said in references.items()
        ),
        notes=found.notes,
    )
