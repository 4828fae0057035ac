"""CLIP4VLA (2023) as experiments: pretraining, retrieval with each fusion, captioning."""

from dataclasses import replace
from typing import Literal

from trichord.config import (
    AdamW,
    BertAdam,
    CaptionGenerator,
    ClipAudio,
    ClipText,
    ClipVision,
    Cross,
    Draw,
    Experiment,
    GlobalToGlobal,
    InfoNCE,
    Stage,
    TriModal,
)
from trichord.types import CAPTION_KINDS, Modality

ALL: tuple[Modality, ...] = ("text", "vision", "audio")
KINDS = ("audio_visual", "visual", "audio", "composed")

TEXT = ClipText(longest=32)
VISION = ClipVision(max_frames=12, pooling="mean_of_unit")
SCALE_100 = InfoNCE(temperature=0.01, learned=False)
MODERN = AdamW(lr=1e-4, weight_decay=0.05, warmup_steps=200, schedule="cosine")
FINE = AdamW(lr=5e-4, weight_decay=0.05, warmup_steps=200, schedule="cosine", trunk_share=0.002)
"""The published ratio: transformer 5e-4, towers 1e-6 (as published 1e-7, in half precision)."""


def pretraining(system: str, *terms: str, weights: tuple[float, ...] = ()) -> Experiment:
    """The audio tower meets frozen CLIP on narrated and on labelled clips, a token for each."""
    stage = Stage(
        name="pretraining",
        trains=("audio",),
        towers=("audio",),
        draws=(Draw(captions=("audio",), terms=terms, weights=weights),),
        criterion=("audio<-audio",),
        batch_size=256,
        epochs=24,
        patience=24,
        nonverbal_share=0.5,
        optimizer=MODERN,
    )
    model = TriModal(text=TEXT, vision=VISION, audio=ClipAudio(token="clip", longest=10))
    # As published, the last epoch counts: transcripts and labels choose no epoch well.
    return Experiment(
        system=system, model=model, objective=SCALE_100, stages=(stage,), hand_over="last"
    )


def second_stage(experiment: Experiment) -> Experiment:
    """All towers train, and the terms that the authors' second stage has besides (not in the paper).

    Vision-audio counts twice, and texts and frames of different clips are pushed apart: both read
    like slips for a text-vision term, which is computed there and never added.
    """
    draw = Draw(
        captions=("audio",),
        terms=("at", "av", "aa", "tt", "vv"),
        weights=(1.0, 2.0, 1.0, 1.0, 1.0),
    )
    stage = replace(experiment.stages[0], trains=ALL, towers=ALL, draws=(draw,), epochs=10)
    return replace(experiment, system=f"{experiment.system}-second", stages=(stage,))


def retrieval(system: str, fusion: GlobalToGlobal | Cross) -> Experiment:
    """Texts look for clips, picture and sound fused; everything trains."""
    words = isinstance(fusion, Cross) and fusion.level == "local_to_local"
    stage = Stage(
        name="retrieval",
        trains=ALL,
        towers=ALL,
        draws=(Draw(captions=CAPTION_KINDS, terms=("ct",)),),
        criterion=tuple(f"clip<-{kind}" for kind in KINDS),
        batch_size=64 if words else 128,
        epochs=10,
        patience=10,
        optimizer=FINE if isinstance(fusion, Cross) else replace(FINE, lr=1e-6, trunk_share=1.0),
    )
    model = TriModal(
        text=replace(TEXT, tokens=words), vision=VISION, audio=ClipAudio(), fusion=fusion
    )
    return Experiment(system=system, model=model, objective=SCALE_100, stages=(stage,))


def one_modality(system: str, term: str) -> Experiment:
    """Texts look for sounds, or for pictures, alone."""
    media: Modality = "audio" if term == "at" else "vision"
    task = "audio" if media == "audio" else "visual"
    fused = retrieval(system, GlobalToGlobal())
    stage = replace(
        fused.stages[0],
        trains=("text", media),
        towers=("text", media),
        draws=(Draw(captions=CAPTION_KINDS, terms=(term,)),),
        criterion=tuple(f"{task}<-{kind}" for kind in KINDS),
    )
    return replace(fused, model=replace(fused.model, fusion=None), stages=(stage,))


def captioning(system: str, *reads: Literal["vision", "audio"]) -> Experiment:
    """Captions are written from what is seen, heard, or both; everything trains."""
    fused = retrieval(system, Cross())
    trains: tuple[Modality, ...] = ("text", *reads)
    stage = replace(
        fused.stages[0],
        name="captioning",
        trains=trains,
        towers=trains,
        draws=(Draw(captions=CAPTION_KINDS, terms=("lm",)),),
        criterion=tuple(f"words<-{kind}" for kind in KINDS),
        batch_size=64,
    )
    model = replace(
        fused.model,
        text=replace(TEXT, tokens=True),
        fusion=None,
        captioner=CaptionGenerator(reads=reads),
    )
    return replace(fused, model=model, stages=(stage,))


def as_published(experiment: Experiment) -> Experiment:
    """The same with the authors' optimizer, rates, and zero vectors for what is missing.

    Retrieval asks from text to clip only. Their half precision is not imitated; a rate of 1e-7 in
    full precision moves weights that theirs rounded away.
    """
    stage = experiment.stages[0]
    writer = experiment.model.captioner
    crossed = isinstance(experiment.model.fusion, Cross) or writer is not None
    optimizer = BertAdam(
        lr=5e-4 if crossed else 1e-7,
        slow=ALL if crossed else ("text", "vision"),
        slow_share=2e-4 if crossed else 1.0,
    )
    fusion = experiment.model.fusion and replace(experiment.model.fusion, absent="zeros")
    return replace(
        experiment,
        system=f"{experiment.system}-as-published",
        model=replace(
            experiment.model,
            fusion=fusion,
            captioner=writer and replace(writer, padding="as_published"),
        ),
        objective=replace(
            experiment.objective,
            absent="zeros",
            shared=True,
            directions="both" if experiment.hand_over == "last" else "b_to_a",
        ),
        stages=(replace(stage, optimizer=optimizer, precision="float32"),),
    )


_PRETRAINED = {
    "clip4vla-pretrain": (
        "Audio meets frozen CLIP: NCE_at + NCE_av + NCE_aa, audio type token by corpus.",
        pretraining("clip4vla-pretrain", "at", "av", "aa"),
    ),
    "clip4vla-pretrain-second": (
        "The authors' second stage: all towers, with the terms that the paper does not have.",
        second_stage(pretraining("clip4vla-pretrain", "at", "av", "aa")),
    ),
}
_RETRIEVAL = {
    "clip4vla-retrieval-g2g": (
        "Global-to-global: a text against the mean of picture and sound.",
        retrieval("clip4vla-retrieval-g2g", GlobalToGlobal()),
    ),
    "clip4vla-retrieval-g2l": (
        "Global-to-local: frames and segments attend to one another first (Table 1).",
        retrieval("clip4vla-retrieval-g2l", Cross()),
    ),
    "clip4vla-retrieval-tight": (
        "The intermediate form: the text's vector among frames and segments; re-ranks.",
        retrieval("clip4vla-retrieval-tight", Cross(level="tight")),
    ),
    "clip4vla-retrieval-l2l": (
        "Local-to-local: words, frames and segments in one sequence; re-ranks.",
        retrieval("clip4vla-retrieval-l2l", Cross(level="local_to_local")),
    ),
    "clip4vla-retrieval-audio": (
        "Texts look for sounds alone.",
        one_modality("clip4vla-retrieval-audio", "at"),
    ),
    "clip4vla-retrieval-vision": (
        "Texts look for pictures alone.",
        one_modality("clip4vla-retrieval-vision", "vt"),
    ),
}
_CAPTIONING = {
    "clip4vla-caption": (
        "Captions are written, word after word, from picture and sound.",
        captioning("clip4vla-caption", "vision", "audio"),
    ),
    "clip4vla-caption-vision": (
        "Captions are written from the picture alone.",
        captioning("clip4vla-caption-vision", "vision"),
    ),
    "clip4vla-caption-audio": (
        "Captions are written from sound alone.",
        captioning("clip4vla-caption-audio", "audio"),
    ),
}
SYSTEMS: dict[str, tuple[str, Experiment]] = {
    **_PRETRAINED,
    **_RETRIEVAL,
    **_CAPTIONING,
    **{
        f"{name}-as-published": (f"{what} Optimizer and losses as published.", as_published(it))
        for name, (what, it) in (_PRETRAINED | _RETRIEVAL | _CAPTIONING).items()
    },
}
