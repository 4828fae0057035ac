"""The papers' own tables, as printed. They are of other clips, so never in one table with ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trichord.evaluation.retrieval import TASKS

_SYSTEMS = (
    "wav2clip-frozen-text",
    "wav2clip-trainable-text",
    "audioclip",
    "slava-a-and-v",
    "slava-av-indirect",
    "slava-av",
)
_TABLE_II = (
    (0.84, 0.26, 0.86, 0.35, 0.27, 0.41, 0.22),
    (0.82, 0.29, 0.86, 0.40, 0.29, 0.41, 0.27),
    (0.69, 0.29, 0.75, 0.36, 0.26, 0.37, 0.45),
    (0.81, 0.30, 0.85, 0.37, 0.32, 0.40, 0.52),
    (0.83, 0.29, 0.89, 0.33, 0.32, 0.44, 0.40),
    (0.81, 0.29, 0.86, 0.34, 0.33, 0.45, 0.50),
)
TABLE_II: Mapping[str, Mapping[str, float]] = {
    system: {task.name: value for task, value in zip(TASKS[:7], values, strict=True)}
    for system, values in zip(_SYSTEMS, _TABLE_II, strict=True)
} | {"audio-visual": {"visual<-sound": 0.50}}
"""R@10 of SLAVA's Table II by system and task (AVCaps, 200 clips); the last is from its prose."""

# BLEU-4, METEOR, ROUGE-L and CIDEr of CLIP4VLA's tables.
TABLE_3 = {
    "ORG-TRL": (43.6, 28.8, 62.1, 50.9),
    "SemSynAN": (44.3, 28.8, 62.5, 50.1),
    "APML": (41.9, 29.9, 62.6, 49.8),
    "UniVL": (42.2, 28.8, 61.2, 49.9),
    "CMG": (43.7, 29.4, 62.8, 55.9),
    "Clip4Caption": (46.1, 30.7, 64.8, 57.7),
    "CLIP4VLA": (46.7, 31.1, 64.4, 58.0),
}
TABLE_4 = {
    "Shared E": (28.4, 21.7, 47.0, 45.1),
    "Shared E-D": (27.9, 21.6, 46.8, 44.2),
    "ORG-TRL": (32.1, 22.2, 48.9, 49.7),
    "SCST-C-B-F": (33.3, 22.8, 49.6, 54.6),
    "CLIP4VLA": (36.4, 25.0, 54.7, 59.7),
}
TABLE_6 = {
    "VATT-Medium": ("512~768 TPU days", "2048", "264M", "84.7", "89.6"),
    "CLIP4VLA": ("48 V100 days", "256", "88M", "86.8", "91.9"),
}
"""Training cost, batch size, trained parameters, accuracy on ESC-50 (A) and UCF101 (V+A)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """A table of a paper, and how it was measured as far as paper and code say."""

    title: str
    how: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


_HOW = (
    "{corpus} references a clip; nlg-eval without tokenisation; beams 5, no length penalty; one run, the "
    "epoch chosen by CIDEr on the test split. {other}"
)
_OTHER = (
    "These values are of other clips, references and data for training than the table above: no number "
    "of the one can be held against a number of the other."
)


def _captions(title: str, corpus: str, rows: Mapping[str, Sequence[float]]) -> PublishedTable:
    return PublishedTable(
        title=f"CLIP4VLA, {title}, as published",
        how=_HOW.format(corpus=corpus, other=_OTHER),
        names=("Model",),
        columns=("BLEU4", "METEOR", "ROUGE", "CIDEr"),
        rows=tuple((model, *(f"{value:.1f}" for value in of)) for model, of in rows.items()),
    )


def _value(system: str, task: str) -> str:
    value = TABLE_II[system].get(task)
    return "–" if value is None else f"{value:.2f}"


PUBLISHED: Mapping[str, tuple[PublishedTable, ...]] = {
    "retrieval": (
        PublishedTable(
            title="SLAVA, Table II as published: R@10",
            how="AVCaps test split, 200 clips; one run each, ties and intervals not stated.",
            names=("#", "Task"),
            columns=tuple(TABLE_II),
            rows=tuple(
                (str(task.number), task.name, *(_value(system, task.name) for system in TABLE_II))
                for task in TASKS[:7]
            ),
        ),
    ),
    "captions": (
        _captions("Table 3: MSR-VTT", "MSR-VTT, 2,617 test clips with sound, 20", TABLE_3),
        _captions("Table 4: VATEX", "VATEX, 5,698 test clips with sound, 10", TABLE_4),
    ),
    "classification": (
        PublishedTable(
            title="CLIP4VLA, Table 6 as published: accuracy of a linear classifier, %",
            how="Mean over the official folds, 5 of ESC-50 and 3 of UCF101. For ESC-50 the authors' code "
            "takes the best epoch of each fold on its test clips; for UCF101 no code, no frames a second "
            "and no rule for silent videos are published. Intervals are not stated.",
            names=("Model",),
            columns=("Training cost", "Batch", "Trained", "ESC50 (A)", "UCF101 (V&A)"),
            rows=tuple((model, *values) for model, values in TABLE_6.items()),
        ),
    ),
}
"""By the kind of report that they stand beside."""
