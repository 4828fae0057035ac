"""Linear probes on ESC-10: what an audio encoder trained on recordings knows, and an untrained one.

Takes the five runs of `recordings.py`, of which fold N's never met the recordings of ESC-10's fold N:
the probe of fold N reads that run's encoder, learns on the other four folds, and is tested on fold N.
The encoder has met the recordings of three of these with their class names, which are its captions, and its
epoch was chosen on the fourth.
Folds whose run is not finished are left out, and the result says which.
Beside it, with the same probe: the same encoder with random weights, drawn five times; and CLIP4VLA's
audio tower before any training, the stand-in CLIP's vision tower, drawn three times (its head and
sound tokens are new each time).

    python studies/probes.py DATA RECORDINGS [FOLDER]

DATA holds `esc10`, RECORDINGS is the folder that `recordings.py` wrote; confusion matrices go to
FOLDER.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import sklearn
import torch
from record import record

from trichord.checkpoint import Run, fresh_model
from trichord.config import Experiment, Provenance, read_experiment
from trichord.corpora import esc50
from trichord.evaluation.classes.classification import (
    ClassProtocol,
    ClassReport,
    Probed,
    list_of,
    probed,
)
from trichord.evaluation.classes.classifiers import METHODS
from trichord.evaluation.classes.confusion import draw_confusion
from trichord.evaluation.classes.folds import Folding, Labelled, folding, labelled
from trichord.evaluation.classes.probing import View, probe, read_frozen, views
from trichord.experiments import load_experiment
from trichord.features.source import MediaSource
from trichord.media import Decoded, Decoder
from trichord.media.plan import DecodeRequest
from trichord.models.embedder import Embedder

TRAINED, RANDOM = "trained on recordings", "the same, random weights"
STAND_IN = "stand-in CLIP's vision tower, untrained"
FEATURES = "frozen features, mean of projected steps, not normalised"


def trained(place: Path, fold: str) -> tuple[Experiment, Path] | None:
    """A finished run of `recordings.py`, with the towers where its folder is now."""
    run = place / f"fold-{fold}"
    if not Run(run).complete:
        return None
    experiment = read_experiment(run / "experiment.json")
    known, towers = experiment.model, str(place / "towers")
    model = replace(
        known,
        text=replace(known.text, name=towers),
        vision=replace(known.vision, name=towers),
        audio=replace(known.audio, name=towers),
    )
    return replace(experiment, model=model), run


class Kept(Decoder):
    """Decodes each file once for all encoders, which ask for the same: 16 kHz, one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[DecodeRequest, list[Decoded]] = {}

    def decode_all(self, requests: Iterable[DecodeRequest]) -> Iterator[list[Decoded]]:
        """As the decoder itself, but a file that was decoded is kept."""
        asked = list(requests)
        missing = [request for request in asked if request not in self.kept]
        self.kept |= zip(missing, super().decode_all(missing), strict=True)
        yield from (self.kept[request] for request in asked)


def heard(model: Embedder, held: Labelled, decoder: Decoder) -> tuple[View, ...]:
    """The frozen features of all clips."""
    mute = [replace(clip, captions=()) for clip in held.clips]
    return views(read_frozen(model.eval(), MediaSource(mute, model, decoder, ("audio",))))


def measured(
    seen: Sequence[tuple[View, ...]], held: Labelled, folds: Folding, seed: int
) -> dict[str, Probed]:
    """Every method on every fold, with the features that belong to each."""
    return {
        name: probed(
            [
                probe(views, held.truth, folds.groups, fold, method, seed=seed)
                for views, fold in zip(seen, folds.folds, strict=True)
            ],
            held,
        )
        for name, method in METHODS.items()
    }


def report(name: str, method: str, found: Probed, held: Labelled, folds: Folding) -> ClassReport:
    """The report of one encoder by one method."""
    return ClassReport(
        run=name,
        experiment="recordings",
        seed=0,
        provenance=Provenance(settings={}),
        protocol=ClassProtocol(
            kind="probe",
            list=list_of(held),
            clips=len(held.clips),
            classes=len(held.classes),
            folds=folds.rule,
            tested=tuple(len(fold.test) for fold in folds.folds),
            modality="audio",
            features=FEATURES,
            audio_type="nonverbal, as the clips say",
            method=METHODS[method].words(),
            seed=0,
        ),
        classes=held.classes,
        rows=found.folds,
        every=found.every,
    )


def numbers(found: Sequence[ClassReport]) -> dict:
    """One encoder by one method: a report a draw of its weights, all of the same clips."""
    over = [cell for one in found if (cell := one.over_folds())]
    means = [cell.mean for cell in over]
    accuracy = found[0].every.estimates["accuracy"]
    return {
        "mean over folds": round(mean(means), 4),
        "deviation over folds, mean of the draws": round(mean(cell.sd or 0.0 for cell in over), 4),
        "deviation over draws": round(stdev(means), 4) if len(means) > 1 else None,
        "draws": len(means),
        "folds of the first": [round(fold.numbers["accuracy"], 4) for fold in found[0].rows],
        "chosen in the first": [fold.chosen[0] for fold in found[0].rows],
        "95 % interval over clips of the first": [accuracy.low, accuracy.high],
        "recall of the first": {
            name: round(one.recall, 3) for name, one in found[0].every.recall.items()
        },
        "confusion of the first": [list(line) for line in found[0].every.confusion],
    }


def main() -> None:
    torch.set_num_threads(1)
    data, place = Path(sys.argv[1]), Path(sys.argv[2])
    pictures = Path(sys.argv[3] if len(sys.argv) > 3 else "probes")
    held = labelled(esc50.clips(data / "esc10").clips, data / "esc10")
    folds = folding(held, "esc50")
    runs = {fold.name: found for fold in folds.folds if (found := trained(place, fold.name))}
    kept = replace(
        folds,
        folds=tuple(fold for fold in folds.folds if fold.name in runs),
        rule=f"official folds of esc50: {', '.join(runs)}",
    )
    begun = time.monotonic()
    draws: dict[str, list[dict[str, Probed]]] = {TRAINED: [], RANDOM: [], STAND_IN: []}
    with Kept() as decoder:
        seen = []
        for experiment, run in runs.values():
            model = fresh_model(experiment)
            Run(run).load_matching(model)
            seen.append(heard(model, held, decoder))
        draws[TRAINED].append(measured(seen, held, kept, 0))
        experiment = next(iter(runs.values()))[0]
        for seed in range(5):
            same = heard(fresh_model(replace(experiment, seed=seed)), held, decoder)
            draws[RANDOM].append(measured([same] * len(kept.folds), held, kept, seed))
        for seed in range(3):
            chosen = replace(load_experiment("world-clip4vla-pretrain"), seed=seed)
            same = heard(fresh_model(chosen), held, decoder)
            draws[STAND_IN].append(measured([same] * len(kept.folds), held, kept, seed))
    write(draws, held, kept, pictures, round(time.monotonic() - begun))


def write(
    draws: dict[str, list[dict[str, Probed]]],
    held: Labelled,
    folds: Folding,
    pictures: Path,
    seconds: int,
) -> None:
    """All numbers as JSON, and the confusion matrices of the default method."""
    pictures.mkdir(parents=True, exist_ok=True)
    reports = {
        name: {
            method: [report(name, method, one[method], held, folds) for one in found]
            for method in METHODS
        }
        for name, found in draws.items()
    }
    for number, found in enumerate(reports.values()):
        draw_confusion(found["logistic"][0], pictures / f"confusion-{number}.png")
    result = {
        "scikit-learn": sklearn.__version__,
        "seconds": seconds,
        "folds measured": [fold.name for fold in folds.folds],
        "protocols": {method: reports[TRAINED][method][0].protocol.line() for method in METHODS},
        "classes": held.classes,
        "results": {
            name: {method: numbers(of) for method, of in found.items()}
            for name, found in reports.items()
        },
    }
    record("probes", result)


if __name__ == "__main__":
    main()
