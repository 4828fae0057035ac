"""CLIP4VLA's Table 5 with weights of natural images: EfficientNet-lite0 of ImageNet, or drawn at random.

The same network hears ESC-10 from both starts: frozen (a linear probe), fine-tuned whole at three sizes of
training set, and the same after contrastive pretraining on labelled clips of the generated world. Every
finished cell is a file in FOLDER/cells, so a second start continues where the first one stopped.

    python studies/natural_start.py DATA [FOLDER] [--full] [--quick] [OPTION...]

DATA holds `esc10`. `--full` is the whole design; without it, the cuts that the result's protocol names.
Several processes may share a folder: `--folds` names the test folds whose cells a process makes, and
`--pretrain` makes the pretrainings alone. `--minutes 0` makes nothing and writes what is there.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from command import trichord
from natural_start_table import table
from natural_start_training import (
    EfficientNetSound,
    Sounds,
    drawn,
    fine_tuned,
    frozen_features,
    ridge,
    scores,
    sound_config,
)
from record import record

from trichord import fit
from trichord.checkpoint import Run
from trichord.config import AdamW, Experiment
from trichord.encoders.segments import SegmentEncoder
from trichord.experiments import clip4vla
from trichord.types.files import write_atomically
from trichord.types.plugins import provide
from trichord_world.experiments import clip4vla_on_world

FOLDS = (1, 2, 3, 4, 5)
PENALTIES = (1.0, 1e1, 1e2, 1e3, 1e4)
"""Of the probe's squared weights, on standardised features."""
STARTS = ("scratch", "initial")
PRETRAININGS = {"at": ("at",), "at + av": ("at", "av"), "at + av + aa": ("at", "av", "aa")}
PRETRAINING = AdamW(lr=5e-4, weight_decay=0.05, warmup_steps=20, schedule="cosine")
PROTOCOL = (
    "ESC-10, 400 clips, five official folds, each tested once; training clips drawn from the other "
    "four, the same for both starts. Start: EfficientNet-lite0 of ImageNet-1k, or the same network drawn "
    "at random (He et al., fan out). A clip is one square log-mel picture of 5.04 s. Batch norms keep "
    "their statistics: ImageNet's, or mean 0 and variance 1; scale and shift train. Frozen: a ridge "
    "classifier, its penalty chosen on the training folds. Tuned: a linear classifier of ten classes "
    "with everything training, AdamW, mini-batches of 16, 10 steps of warm-up, constant rate, no "
    "augmentation; {chosen}; nothing was chosen on a test fold. Pretraining: labelled clips of the "
    "generated world, texts and pictures by the stand-in CLIP, frozen; rate 5e-4, not chosen; the last "
    "epoch counts; then tuned at the rate and steps of the same start without pretraining. A seed counts "
    "when all its folds are there. Looked at before, on all five test folds: frozen probes of a fixed "
    "penalty with pictures of 64, 96 and 112, and with statistics of batch norms taken anew from sounds, "
    "which were worse; 64 was then taken for its time, although 112 was better. Before the rate was set, "
    "one network from scratch was trained on folds 1 to 3 for 40 steps and watched on fold 4."
)
CHOSEN = (
    "rate and steps have the best accuracy on inner folds (of equal ones the likeliest classes), seed 0, "
    "chosen once for each test fold, start and chosen size"
)
NOT_CHOSEN = (
    "rate and steps are the only ones of the design, set beforehand for both starts and not chosen"
)


@dataclass(frozen=True)
class Design:
    """What is trained, and how much of it.

    Attributes:
        side: Bands and time steps of a picture.
        sizes: Training clips; as many as the other folds have if that is fewer.
        seeds: Of random weights, of the choice of training clips and of their order.
        rates: To choose from; with one rate and one number of steps nothing is chosen.
        steps: To choose from, mini-batches of 16.
        inner: Folds that are left out in turn of a test fold's training folds, to choose on.
        chosen_sizes: Training clips of the choices; a size takes the choice of the nearest one.
        world: Clips to pretrain on.
        pretraining_epochs: On these.
        pretrained_size: Training clips after pretraining.
    """

    side: int = 64
    sizes: tuple[int, ...] = (80, 160, 320)
    seeds: tuple[int, ...] = (0, 1, 2)
    rates: tuple[float, ...] = (1e-3,)
    steps: tuple[int, ...] = (100,)
    inner: int = 1
    chosen_sizes: tuple[int, ...] = (160,)
    world: int = 480
    pretraining_epochs: int = 3
    pretrained_size: int = 80


FULL = Design(
    side=224, rates=(1e-4, 3e-4, 1e-3, 3e-3), steps=(50, 100, 200, 400, 800, 1200), inner=4,
    chosen_sizes=(80, 160, 240), world=1200, pretraining_epochs=16,
)  # fmt: skip
QUICK = Design(
    side=32, sizes=(20, 40), seeds=(0,), rates=(1e-3,), steps=(1, 2), chosen_sizes=(20,), world=24,
    pretraining_epochs=1, pretrained_size=20,
)  # fmt: skip


class MissingError(Exception):
    """A cell is not there and not to be made by this process, or not now."""


class Study:
    """Cells by name, each computed once; a cell's inputs are other cells."""

    def __init__(self, data: Path, folder: Path, design: Design) -> None:
        self.folder, self.design = folder, design
        (folder / "cells").mkdir(parents=True, exist_ok=True)
        require_one_design(folder / "design.json", design)
        self.sounds = Sounds.read(data / "esc10", design.side, folder)
        self.until = float("inf")
        self.folds: tuple[int, ...] = FOLDS

    def cell(self, name: str, fold: int, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The values of a cell, from its file or computed.

        Raises:
            MissingError: It is not there, and it is another process's, or the time is up.
        """
        path = self.folder / "cells" / f"{name}.json"
        if not path.exists():
            self.require_time(mine=fold in self.folds)
            began = time.monotonic()
            values = compute()
            write_atomically(path, json.dumps(values))
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        return json.loads(path.read_text())

    def require_time(self, *, mine: bool) -> None:
        """Refuse to begin what another process makes, and anything when the time is up.

        Raises:
            MissingError: It is not to be begun.
        """
        if not mine or time.monotonic() > self.until:
            raise MissingError

    def trained_on(self, fold: int, size: int, seed: int) -> np.ndarray:
        """The training clips of a test fold: the same for both starts."""
        return self.sounds.some(tuple(one for one in FOLDS if one != fold), size, seed)

    def answers(self, found: np.ndarray, rows: np.ndarray) -> dict[str, bool]:
        """Whether each clip's class was found, by clip."""
        right = found == self.sounds.classes[rows]
        return {self.sounds.ids[row]: bool(one) for row, one in zip(rows, right, strict=True)}

    def network(self, start: str, seed: int) -> SegmentEncoder:
        """The network of a start."""
        return drawn(sound_config(self.design.side, scratch=start == "scratch"), seed)

    # What is learnt from frozen features

    @cache  # noqa: B019 (a study lives as long as the program)
    def features(self, start: str, row: str, seed: int) -> np.ndarray:
        """Frozen features of all clips."""
        made = self.pretrained(start, row, seed) if row else self.network(start, seed)
        return frozen_features(made, self.sounds)

    def probe(self, values: np.ndarray, fold: int, size: int, seed: int) -> dict[str, Any]:
        """A ridge classifier on frozen features; its penalty is chosen on the training folds."""
        sounds = self.sounds
        rows, test = self.trained_on(fold, size, seed), np.flatnonzero(sounds.folds == fold)
        known, folds = sounds.classes[rows], sounds.folds[rows]
        accuracies: dict[float, float] = {}
        for penalty in PENALTIES:
            right = [
                ridge(values[rows[folds != left]], known[folds != left], penalty)(
                    values[rows[folds == left]]
                )
                == known[folds == left]
                for left in np.unique(folds)
            ]
            accuracies[penalty] = float(np.concatenate(right).mean())
        chosen = max(PENALTIES, key=lambda one: (accuracies[one], one))
        found = ridge(values[rows], known, chosen)(values[test])
        return {"right": self.answers(found, test), "penalty": chosen}

    # What is learnt by training everything

    def choice(self, start: str, fold: int, size: int) -> dict[str, Any]:
        """Rate and steps with the best accuracy on inner folds; of equal ones the likeliest classes.

        A design with one of each has nothing to choose.
        """
        if len(self.design.rates) == len(self.design.steps) == 1:
            return {"rate": self.design.rates[0], "steps": self.design.steps[0]}
        size = min(self.design.chosen_sizes, key=lambda one: abs(one - size))
        compute = partial(self._choice, start, fold, size)
        return self.cell(f"choice-{start}-{size}-{fold}", fold, compute)

    def _choice(self, start: str, fold: int, size: int) -> dict[str, Any]:
        others = [one for one in (*FOLDS, *FOLDS)[fold:] if one != fold][:4]
        curves: dict[str, list[tuple[float, float]]] = {}
        for rate in self.design.rates:
            of_folds = [
                self._curve(start, tuple(one for one in others if one != left), left, size, rate)
                for left in others[: self.design.inner]
            ]
            curves[f"{rate:g}"] = np.mean(of_folds, axis=0).tolist()
        rate, place = max(
            ((rate, place) for rate, curve in curves.items() for place in range(len(curve))),
            key=lambda one: tuple(curves[one[0]][one[1]]),
        )
        return {
            "rate": float(rate),
            "steps": self.design.steps[place],
            "accuracy, log-likelihood": curves,
        }

    def _curve(
        self, start: str, folds: tuple[int, ...], left: int, size: int, rate: float
    ) -> list[tuple[float, float]]:
        """Accuracy and mean log-likelihood on the fold left out, after each number of steps; seed 0."""
        held = np.flatnonzero(self.sounds.folds == left)
        truth = torch.from_numpy(self.sounds.classes[held])
        rows = self.sounds.some(folds, size, seed=0)
        network, steps = self.network(start, 0), self.design.steps
        curve: list[tuple[float, float]] = []
        for model in fine_tuned(network, self.sounds, rows, rate, 0, steps):
            given = scores(model, self.sounds, held)
            right = float((given.argmax(dim=1) == truth).float().mean())
            curve.append((right, -float(F.cross_entropy(given, truth))))
        return curve

    def tuned(
        self, encoder: SegmentEncoder, chosen: dict[str, Any], fold: int, size: int, seed: int
    ) -> dict[str, Any]:
        """Fine-tuned whole, and asked once about the fold left out."""
        test = np.flatnonzero(self.sounds.folds == fold)
        rows = self.trained_on(fold, size, seed)
        rate, steps = chosen["rate"], (chosen["steps"],)
        [model] = fine_tuned(encoder, self.sounds, rows, rate, seed, steps)
        found = scores(model, self.sounds, test).argmax(dim=1).numpy()
        return {"right": self.answers(found, test), "clips": len(rows)}

    # Contrastive pretraining

    def run(self, start: str, row: str, seed: int) -> Path:
        """The folder of a pretraining."""
        return self.folder / "pretraining" / f"{start} {row} {seed}".replace(" ", "-")

    def pretrain(self, start: str, row: str, seed: int) -> None:
        """Make a run, or go on with it.

        Raises:
            MissingError: It is for another process to make, or the time is up.
        """
        run = self.run(start, row, seed)
        if Run(run).complete:
            return
        self.require_time(mine=self.folds == FOLDS)
        experiment = pretraining(self.design, PRETRAININGS[row], scratch=start == "scratch")
        experiment = replace(experiment, seed=seed)
        manifest = labelled(self.folder, self.design.world)
        began = time.monotonic()
        fit(experiment, manifest, run, device="cpu", parts=[EfficientNetSound])
        print(f"{run.name}: {time.monotonic() - began:.0f} s", flush=True)

    def pretrained(self, start: str, row: str, seed: int) -> SegmentEncoder:
        """The audio encoder after pretraining."""
        self.pretrain(start, row, seed)
        provide([EfficientNetSound])
        encoder = Run(self.run(start, row, seed)).load().encoders()["audio"].eval()
        assert isinstance(encoder, SegmentEncoder)
        return encoder


def require_one_design(path: Path, design: Design) -> None:
    """Note the design of a folder, and refuse another one: their cells have the same names."""
    wanted = json.loads(json.dumps(asdict(design)))
    if not path.exists():
        write_atomically(path, json.dumps(wanted, indent=1))
    if json.loads(path.read_text()) != wanted:
        sys.exit(f"{path.parent} holds cells of another design: name another folder.")


def pretraining(design: Design, terms: tuple[str, ...], *, scratch: bool) -> Experiment:
    """CLIP4VLA's pretraining on the world, with this audio encoder and without type token."""
    known = clip4vla_on_world(clip4vla.pretraining("natural-start", *terms))
    stage = replace(
        known.stages[0],
        nonverbal_share=None,
        epochs=design.pretraining_epochs,
        patience=design.pretraining_epochs,
        batch_size=min(32, design.world // 2),
        optimizer=PRETRAINING,
    )
    audio = sound_config(design.side, scratch=scratch)
    return replace(known, model=replace(known.model, audio=audio), stages=(stage,))


def labelled(folder: Path, count: int) -> Path:
    """The manifest of the world's labelled clips, rendered once, with what the frozen towers read."""
    manifest = folder / "labelled.jsonl"
    if not manifest.exists():
        world, unread = folder / "world", folder / "unread.jsonl"
        trichord(f"world {world} --layout audioset --clips {count} --seed 7 --phrases many")
        trichord(f"prepare audioset {world} {unread}")
        features = manifest.with_suffix(".features")
        trichord(f"extract {unread} --model world-clip4vla-pretrain --features {features}")
        unread.rename(manifest)
    return manifest


Key = dict[str, Any]
Compute = Callable[[], dict[str, Any]]


def cells(study: Study) -> Iterator[tuple[Key, Compute]]:
    """Every cell's key and what gives its values: seed by seed, the probes first, which are quick."""
    design = study.design
    # First the size of the choices, so that what is there early is of use.
    sizes = sorted(design.sizes, key=lambda one: abs(one - design.chosen_sizes[0]))
    plain = [{"start": start, "size": size} for size in sizes for start in STARTS]
    after = [
        {"start": start, "size": design.pretrained_size, "row": row}
        for row in PRETRAININGS
        for start in STARTS
    ]
    keys = [
        {**of, "fold": fold, "seed": seed, "kind": kind}
        for seed in design.seeds
        for kinds, ofs in ((("frozen",), plain), (("tuned",), plain), (("frozen", "tuned"), after))
        for of in ofs
        for fold in FOLDS
        for kind in kinds
    ]
    for key in keys:
        what = {name: value for name, value in key.items() if name != "kind"}
        yield key, partial(_frozen if key["kind"] == "frozen" else _tuned, study, **what)


def _frozen(
    study: Study, *, start: str, size: int, fold: int, seed: int, row: str = ""
) -> dict[str, Any]:
    return study.cell(
        f"frozen-{start}{_and(row)}-{size}-{fold}-{seed}",
        fold,
        lambda: study.probe(study.features(start, row, seed), fold, size, seed),
    )


def _tuned(
    study: Study, *, start: str, size: int, fold: int, seed: int, row: str = ""
) -> dict[str, Any]:
    """At the rate and steps of its start without pretraining."""
    chosen = study.choice(start, fold, size)

    def compute() -> dict[str, Any]:
        encoder = study.pretrained(start, row, seed) if row else study.network(start, seed)
        return study.tuned(encoder, chosen, fold, size, seed)

    return study.cell(f"tuned-{start}{_and(row)}-{size}-{fold}-{seed}", fold, compute)


def _and(row: str) -> str:
    return f"-{row.replace(' + ', '-')}" if row else ""


def protocol(design: Design) -> str:
    """How it was measured, with every cut of the full design."""
    cuts = [
        f"{name} {getattr(design, name)} instead of {getattr(FULL, name)}"
        for name in asdict(design)
        if getattr(design, name) != getattr(FULL, name)
    ]
    alone = len(design.rates) == len(design.steps) == 1
    how = PROTOCOL.format(chosen=NOT_CHOSEN if alone else CHOSEN)
    return f"{how} Cuts of the full design: {'; '.join(cuts) or 'none'}."


def given_options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("natural_start"))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--folds", type=int, nargs="+", choices=FOLDS, default=FOLDS)
    parser.add_argument("--pretrain", action="store_true")
    return parser.parse_args()


def main() -> None:
    given = given_options()
    if given.quick:
        os.environ.setdefault("STUDY_RESULTS", str(given.folder / "results"))
    torch.set_num_threads(1)
    design = QUICK if given.quick else FULL if given.full else Design()
    study = Study(given.data, given.folder, design)
    study.until, study.folds = time.monotonic() + 60 * given.minutes, tuple(given.folds)
    if given.pretrain:
        for seed in design.seeds:
            for row in PRETRAININGS:
                for start in STARTS:
                    study.pretrain(start, row, seed)
        return
    found: list[tuple[Key, dict[str, Any]]] = []
    for key, compute in cells(study):
        with suppress(MissingError):
            found.append((key, compute()))
    if study.folds == FOLDS:
        summary = table(found, tuple(PRETRAININGS), design.pretrained_size)
        record("natural_start", {"protocol": protocol(design), "design": asdict(design), **summary})


if __name__ == "__main__":
    main()
