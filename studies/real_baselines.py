"""Plain baselines beside what was trained on real recordings: ESC-10 and GRID.

ESC-10, five official folds: a ridge classifier on mean and deviation of 128 log-mel bands, on the embedding
of a pretrained tagger (mn04, AudioSet), and on that of the same network with random weights, three draws.
GRID: a ridge from the same statistics to the words of a sentence, the cosine of both ranks the 70 test
sounds. The penalty is chosen by cross-validation within the training clips: on ESC-10 their four official
folds, on GRID five parts of its training sentences. Nothing is chosen on test clips.

Each is set against the encoder of `recordings.py` clip by clip, over the folds that its result has, and the
ridge on statistics against chance, the tagger and the random network.

    python studies/real_baselines.py DATA [FOLDER]

DATA holds `grid`, `esc10`, `weights`; needs the packages of `examples/real-towers`. FOLDER keeps what the
networks say.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import real_features
import torch
from record import RESULTS, record
from recordings import interval
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trichord.corpora import esc50, grid
from trichord.media import Decoder
from trichord.types import Clip

PENALTIES = tuple(10.0**power for power in range(-2, 6))
DRAWS = 3
HEARD = ("audio",)
STATISTICS = "mean and deviation of 128 log-mel bands, ridge"
TAGGER = "mn04's embedding (pretrained on AudioSet), ridge"
RANDOM = f"the same network with random weights, ridge, mean of {DRAWS} draws"
TRAINED = "trained on recordings, nearest class name"
FOREST = "random forest on hand-made features, as published (Piczak, 2015)"


def answered(features: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Whether each clip is classified rightly by a ridge on the other folds."""
    right = np.zeros(len(truth), bool)
    for tested in np.unique(fold):
        train, test = fold != tested, fold == tested
        search = GridSearchCV(
            make_pipeline(StandardScaler(), RidgeClassifier()),
            {"ridgeclassifier__alpha": PENALTIES},
            cv=LeaveOneGroupOut(),
        )
        search.fit(features[train], truth[train], groups=fold[train])
        right[test] = search.predict(features[test]) == truth[test]
    return right


def drawn(spectrograms: Sequence[np.ndarray], model: object, seed: int) -> np.ndarray:
    """The embeddings of the tagger's network with weights drawn anew.

    Its batch norms take mean and deviation from 40 of the sounds, drawn too, and are the same for all then.
    """
    torch.manual_seed(seed)
    trunk = model.audio.trunk
    for part in trunk.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1.0
    some = np.random.default_rng(seed).choice(len(spectrograms), 40, replace=False)
    with torch.inference_mode():
        trunk.train()
        trunk.features(torch.from_numpy(np.concatenate([spectrograms[i] for i in some])))
        trunk.eval()
        found = [trunk.features(torch.from_numpy(one)).mean((2, 3)).numpy() for one in spectrograms]
    return np.concatenate(found)


def sentences(clips: Sequence[Clip], bands: real_features.Vectors) -> dict[int, np.ndarray]:
    """Of each test sentence of GRID whether its sound is among the first 1, 5 and 10 of 70."""
    words = sorted({word for clip in clips for word in clip.captions[0].text.split()})
    texts = np.array([[w in c.captions[0].text.split() for w in words] for c in clips], float)
    heard = np.stack([bands[clip.id] for clip in clips])
    train = np.array([clip.split == "train" for clip in clips])
    test = np.array([clip.split == "test" for clip in clips])
    centre = texts[train].mean(0)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": PENALTIES}, cv=5
    )
    search.fit(heard[train], texts[train] - centre)
    said, sounds = texts[test] - centre, search.predict(heard[test])
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (said, sounds)]
    scores = unit[0] @ unit[1].T
    rank = (scores >= np.diag(scores)[:, None]).sum(1)  # a tie counts against the right one
    return {k: rank <= k for k in (1, 5, 10)}


def trained() -> tuple[np.ndarray, dict[int, np.ndarray], list[int]]:
    """From `recordings.json`: what each clip of ESC-10 and sentence of GRID adds; the folds."""
    runs = json.loads((RESULTS / "recordings.json").read_text())["runs"]
    folds = sorted(int(fold) for fold in runs)

    def digits(fold: int, what: str) -> list[float]:
        return [float(one) for one in runs[str(fold)]["own"]["by clip"][what]]

    events = np.concatenate([digits(fold, "ESC-10 accuracy") for fold in folds])
    said = {k: np.mean([digits(fold, f"GRID R@{k}") for fold in folds], axis=0) for k in (1, 5, 10)}
    return events, said, folds


def main() -> None:
    torch.set_num_threads(1)
    data, place = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "real")
    model = real_features.towers(data / "weights", place)
    events = list(esc50.clips(data / "esc10").clips)
    spoken = list(grid.clips(data / "grid").clips)
    with Decoder(workers=1) as decoder:
        heard = real_features.read(model, events, decoder, place / "esc10.npz", HEARD, keep=True)
        said = real_features.read(model, spoken, decoder, place / "grid.npz", HEARD, networks=False)
    truth = np.array([clip.labels[0] for clip in events])
    fold = np.array([esc50.fold(clip) for clip in events])
    kinds = {
        name: np.stack([heard[kind][clip.id] for clip in events])
        for name, kind in ((STATISTICS, "bands"), (TAGGER, "audio"))
    }
    right = {name: answered(one, truth, fold).astype(float) for name, one in kinds.items()}
    rows = [heard["spectrogram"][clip.id] for clip in events]
    right[RANDOM] = np.mean(
        [answered(drawn(rows, model, seed), truth, fold) for seed in range(DRAWS)], axis=0
    )
    write(right, fold, sentences(spoken, said["bands"]))


def write(right: dict[str, np.ndarray], fold: np.ndarray, said: dict[int, np.ndarray]) -> None:
    """All numbers, and the paired differences."""
    events, encoder, folds = trained()
    order = np.concatenate([np.flatnonzero(fold == one) for one in folds])
    result = {
        "protocol": "ESC-10: five official folds, 400 clips, each tested once, the penalty by the training "
        "folds; GRID: 70 test sentences rank 70 sounds, ties pessimistic; 95 % intervals by bootstrap over "
        "clips, 1000 resamples; differences are paired, over the folds of `folds of the encoder`",
        "folds of the encoder": folds,
        "ESC-10 accuracy": {
            **{name: interval(one) for name, one in right.items()},
            TRAINED: interval(events),
            FOREST: 0.727,
        },
        "ESC-10, encoder less baseline": {
            name: interval(events - one[order]) for name, one in right.items()
        },
        "ESC-10, tagger less": {
            name: interval(right[TAGGER] - one) for name, one in right.items() if name != TAGGER
        },
        "GRID": {
            f"R@{k}": {
                "encoder": interval(encoder[k]),
                "statistics, ridge to words": interval(said[k]),
                "encoder less statistics": interval(encoder[k] - said[k]),
                "chance": round(k / len(said[k]), 4),
            }
            for k in said
        },
    }
    record("real_baselines", result)


if __name__ == "__main__":
    main()
