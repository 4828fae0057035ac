"""SLAVA's systems on real recordings, on frozen features of three real trunks.

Trunks: EfficientNet-lite0 (ImageNet, 1,280 channels), mn04 (AudioSet, 384), WordLlama (256), frozen; each
system trains a linear head of 256 dimensions on each. Two sets:

- clips: 30 real clips of 24 labels. The label's words are the caption of the sound, a sentence that of the
  picture. Five folds leave labels out: one fifth of the labels is tested, the next one validates, three are
  trained on. Each tested clip asks for itself among all 30.
- pairs: the sounds of ESC-10 whose class has photographs in ImageHear (dog, rain, rooster with the
  photographs of chickens), paired by class. A fold tests one photograph of each class and one official fold
  of sounds, and validates on the next ones. Each tested sound asks for the photograph of its class among
  three such and those of all other classes of ImageHear, which nothing was trained on; back, a photograph
  asks for any tested sound of its class.

Learning rate, epochs, batch and size of the heads were set before anything was measured, and nothing is
tuned: AdamW 3e-4, 40 epochs, 16 clips. The epoch is chosen by MRR on the validation clips. ConSE is the
reference without any training: class posteriors times class names.

    python studies/real_trunks.py DATA [FOLDER] [SEEDS]

DATA holds `avclips`, `esc10`, `imagehear` and `weights`; needs the packages of `examples/real-towers`.
"""

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import numpy as np
import real_features
import torch
from record import record

import trichord
from trichord.config import AdamW, AudioFeatures, Experiment, TextFeatures, TriModal, VisionFeatures
from trichord.corpora import esc50
from trichord.corpora.manifest import write_manifest
from trichord.evaluation.bootstrap import estimates
from trichord.experiments.slava import SYSTEMS
from trichord.media import Decoder
from trichord.types import Caption, Clip
from trichord.types.tensors import Padded

OURS = "slava-a-and-v"
RIVALS = ("wav2clip-trainable-text", "wav2clip-frozen-text", "audioclip")
FOLDS = 5
KS = (1, 5, 10)
PHOTOGRAPHED = {"Dog bark": "dog", "Rain": "rain", "Rooster": "chicken"}
"""Classes of ESC-10 and those of ImageHear that show what sounds."""
WIDTHS = {"vision": 1280, "audio": 384, "text": 256}
CONFIGS = {"vision": VisionFeatures, "audio": AudioFeatures, "text": TextFeatures}


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Clips with their splits, and what is asked of the model of this fold.

    `asks` has for each task queries and gallery, keys of vectors by modality, and which answers are right:
    (query, item); and what each query belongs to, over which intervals are drawn.
    """

    clips: tuple[Clip, ...]
    asks: dict[str, tuple[tuple[str, list[str]], tuple[str, list[str]], np.ndarray, list[str]]]


def clip_folds(data: Path, vectors: dict[str, real_features.Vectors]) -> list[Fold]:
    """Folds that leave labels out; every clip asks once."""
    with (data / "avclips/clips.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = sorted({row["label"] for row in rows})
    order = np.random.default_rng(0).permutation(len(labels))
    part = {labels[number]: place % FOLDS for place, number in enumerate(order)}
    clips = [
        Clip(
            id=Path(row["file"]).stem,
            path=str(data / "avclips" / row["file"]),
            captions=(
                Caption(text=row["label"].replace("_", " "), about="audio"),
                Caption(text=row["caption"], about="visual"),
            ),
            labels=(row["label"],),
        )
        for row in rows
    ]
    clips = [clip for clip in clips if clip.id in vectors["audio"]]
    return [
        Fold(
            clips=tuple(replace(c, split=_split(part[c.labels[0]], fold)) for c in clips),
            asks=_own(clips, [c for c in clips if part[c.labels[0]] == fold]),
        )
        for fold in range(FOLDS)
    ]


def _split(part: int, fold: int) -> str:
    return "test" if part == fold else "val" if part == (fold + 1) % FOLDS else "train"


def _own(clips: Sequence[Clip], asking: Sequence[Clip]) -> dict:
    """Each clip asks for itself among all."""
    every = [clip.id for clip in clips]
    ids = [clip.id for clip in asking]
    right = np.array([[one == other for other in every] for one in ids])
    said = {
        about: [c.text for clip in asking for c in clip.captions if c.about == about]
        for about in ("audio", "visual")
    }
    return {
        "audio->visual": (("audio", ids), ("vision", every), right, ids),
        "visual->audio": (("vision", ids), ("audio", every), right, ids),
        "visual caption->visual": (("text", said["visual"]), ("vision", every), right, ids),
        "audio caption->audio": (("text", said["audio"]), ("audio", every), right, ids),
        "visual caption->audio": (("text", said["visual"]), ("audio", every), right, ids),
        "audio caption->visual": (("text", said["audio"]), ("vision", every), right, ids),
    }


def pair_folds(data: Path, events: Sequence[Clip]) -> list[Fold]:
    """Folds over the sounds of three classes and their photographs."""
    with (data / "imagehear/imagehear.csv").open(newline="", encoding="utf-8") as file:
        photographs = list(csv.DictReader(file))
    of = {
        name: sorted(one["file"] for one in photographs if one["class"] == name)
        for name in PHOTOGRAPHED.values()
    }
    others = [one["file"] for one in photographs if one["class"] not in of]
    sounds = [clip for clip in events if clip.labels[0] in PHOTOGRAPHED]
    return [_pair_fold(fold, of, others, sounds) for fold in range(FOLDS)]


def _pair_fold(
    fold: int, of: dict[str, list[str]], others: list[str], sounds: Sequence[Clip]
) -> Fold:
    random = np.random.default_rng(fold)
    tested = {name: files[fold % 3] for name, files in of.items()}
    clips, heard = [], []
    for sound in sounds:
        name = PHOTOGRAPHED[sound.labels[0]]
        split = _split(esc50.fold(sound) - 1, fold)
        if split == "test":
            heard.append(sound)
            continue
        files = of[name]
        kept = [
            f
            for i, f in enumerate(files)
            if (i % 3 == (fold + 1) % 3) == (split == "val") and f != tested[name]
        ]
        clips.append(
            Clip(
                id=f"{sound.id}+{random.choice(kept)}",
                path=sound.path,
                captions=(
                    Caption(text=f"the sound of a {name}", about="audio"),
                    Caption(text=f"a photo of a {name}", about="visual"),
                ),
                split=split,
            )
        )
    names = list(tested)
    gallery = [*tested.values(), *others]
    ids = [one.id for one in heard]
    owner = [PHOTOGRAPHED[one.labels[0]] for one in heard]
    # Sounds that ask for the same photograph stand or fall together.
    shared = [f"{fold}/{tested[name]}" for name in owner]
    right = np.array([[file == tested[name] for file in gallery] for name in owner])
    back = np.array([[one == name for one in owner] for name in names])
    texts = {
        about: [f"{how} of a {name}" for name in names]
        for about, how in (("audio", "the sound"), ("visual", "a photo"))
    }
    seen = [tested[name] for name in names]
    return Fold(
        clips=tuple(clips),
        asks={
            "audio->visual": (("audio", ids), ("vision", gallery), right, shared),
            "visual->audio": (
                ("vision", seen),
                ("audio", ids),
                back,
                [f"{fold}/{one}" for one in seen],
            ),
            "visual caption->visual": (
                ("text", texts["visual"]),
                ("vision", gallery),
                np.eye(3, len(gallery), dtype=bool),
                [f"{fold}/{one}" for one in names],
            ),
            "audio caption->audio": (
                ("text", texts["audio"]),
                ("audio", ids),
                back,
                [f"{fold}/{one}" for one in names],
            ),
        },
    )


def experiment(system: str, seed: int, folder: Path) -> Experiment:
    """A system of the paper with linear heads on stored features."""
    base = SYSTEMS[system][1]
    model = TriModal(
        **{
            name: config(
                label=f"real {name}", width=WIDTHS[name], dim=256, files=folder / f"{name}.npz"
            )
            for name, config in CONFIGS.items()
        }
    )
    stages = tuple(
        replace(stage, epochs=40, patience=40, batch_size=16, optimizer=AdamW(lr=3e-4))
        for stage in base.stages
    )
    return replace(base, model=model, stages=stages, seed=seed)


def embed(tower: object, rows: np.ndarray) -> np.ndarray:
    """Unit vectors of stored features."""
    values = torch.from_numpy(rows).float()[:, None]
    with torch.inference_mode():
        return tower(Padded(values, torch.ones(len(rows), 1, dtype=torch.bool))).pooled.numpy()


def hits(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Whether a right answer is among the first 1, 5 and 10, a row a query; ties count against it."""
    best = np.where(right, scores, -np.inf).max(1, keepdims=True)
    wrong = (np.where(right, -np.inf, scores) >= best - 1e-6).sum(1)
    return np.stack([wrong < k for k in KS], axis=1).astype(float)


def measured(
    fold: Fold, vectors: dict[str, real_features.Vectors], vector_of: object
) -> dict[str, np.ndarray]:
    """Hits of each task."""
    found = {}
    for task, (query, gallery, right, _) in fold.asks.items():
        sides = [
            vector_of(kind, np.stack([vectors[kind][key] for key in keys]))
            for kind, keys in (query, gallery)
        ]
        found[task] = hits(sides[0] @ sides[1].T, right)
    return found


def trained(
    system: str, fold: Fold, seed: int, place: Path, vectors: dict[str, real_features.Vectors]
) -> dict[str, np.ndarray]:
    """The hits of a system trained on a fold, kept beside its run."""
    kept = place / f"{system}-{seed}.npz"
    if not kept.is_file():
        run = place / f"{system}-{seed}"
        trichord.fit(
            experiment(system, seed, place.parent), place / "clips.jsonl", run, device="cpu"
        )
        model = trichord.load(run, device="cpu").embedder
        towers = {"text": model.text, "vision": model.vision, "audio": model.audio}
        found = measured(fold, vectors, lambda kind, rows: embed(towers[kind], rows))
        np.savez(kept, **found)
    with np.load(kept) as held:
        return {name: held[name] for name in held.files}


def untrained(kind: str, rows: np.ndarray) -> np.ndarray:
    """ConSE's vectors are what they are; of unit length."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def difference(ours: np.ndarray, theirs: np.ndarray, names: Sequence[str]) -> dict[str, object]:
    """Our R@K less theirs, with a paired interval over clips, and what it says."""
    _, clip = np.unique(names, return_inverse=True)
    found = estimates(ours - theirs, clip)
    return {
        f"R@{k}": {
            "difference": round(each.value, 4),
            "low": round(each.low, 4),
            "high": round(each.high, 4),
            "verdict": "holds"
            if each.low > 0
            else "does not hold"
            if each.high < 0
            else "undecided",
        }
        for k, each in zip(KS, found, strict=True)
    }


def study(
    name: str, folds: list[Fold], vectors: dict[str, real_features.Vectors], place: Path, seeds: int
) -> dict[str, object]:
    """Every system on every fold of a set: recalls, and the differences of SLAVA_A&V from the others."""
    by_system: dict[str, dict[str, list[np.ndarray]]] = {}
    for number, fold in enumerate(folds):
        here = place / name / f"fold-{number}"
        here.mkdir(parents=True, exist_ok=True)
        write_manifest(here / "clips.jsonl", list(fold.clips))
        for file in CONFIGS:
            _stored(here.parent / f"{file}.npz", vectors[file], folds)
        for system in (OURS, *RIVALS):
            each = [trained(system, fold, seed, here, vectors) for seed in range(seeds)]
            for task in fold.asks:
                over = np.mean([one[task] for one in each], axis=0)
                by_system.setdefault(system, {}).setdefault(task, []).append(over)
        conse = {kind: vectors.get(f"{kind}-conse", vectors[kind]) for kind in CONFIGS}
        for task, one in measured(fold, conse, untrained).items():
            by_system.setdefault("ConSE, no training", {}).setdefault(task, []).append(one)
        print(name, number, flush=True)
    asked = {task: [who for fold in folds for who in fold.asks[task][3]] for task in folds[0].asks}
    every = {s: {t: np.concatenate(one) for t, one in of.items()} for s, of in by_system.items()}
    return {
        "queries": {task: len(who) for task, who in asked.items()},
        "drawn for intervals": {task: len(set(who)) for task, who in asked.items()},
        "recall": {
            "chance": {task: chance([fold.asks[task][2] for fold in folds]) for task in asked},
            **{
                system: {
                    task: {
                        f"R@{k}": round(float(v), 4) for k, v in zip(KS, one.mean(0), strict=True)
                    }
                    for task, one in of.items()
                }
                for system, of in every.items()
            },
        },
        f"{OURS} less": {
            rival: {
                task: difference(every[OURS][task], every[rival][task], asked[task])
                for task in asked
            }
            for rival in (*RIVALS, "ConSE, no training")
        },
    }


def chance(rights: Sequence[np.ndarray]) -> dict[str, float]:
    """What a random order reaches: one less the chance that the first K are all wrong."""
    found: dict[str, float] = {}
    for k in KS:
        each = []
        for right in rights:
            total = right.shape[1]
            for count in right.sum(1).tolist():
                miss = [(total - count - i) / (total - i) for i in range(min(k, total - count + 1))]
                each.append(1 - float(np.prod(miss)) if k <= total - count else 1.0)
        found[f"R@{k}"] = round(mean(each), 4)
    return found


def _stored(path: Path, vectors: real_features.Vectors, folds: Sequence[Fold]) -> None:
    """The features that training reads: by clip, or by text; of a pair those of its two files."""
    if path.is_file():
        return
    rows = vectors
    if path.stem != "text":
        side = 1 if path.stem == "vision" else 0
        ids = {clip.id for fold in folds for clip in fold.clips}
        rows = {one: vectors[one if one in vectors else one.split("+")[side]] for one in ids}
    np.savez(path, **{key: row[None] for key, row in rows.items()})


def main() -> None:
    torch.set_num_threads(1)
    data, place = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "real")
    seeds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    model = real_features.towers(data / "weights", place)
    events = list(esc50.clips(data / "esc10").clips)
    films = [Clip(id=f.stem, path=str(f)) for f in sorted((data / "avclips").glob("*.mp4"))]
    photographs = [
        Clip(id=f.name, path=str(f)) for f in sorted((data / "imagehear").rglob("*.jpg"))
    ]
    with Decoder(workers=1) as decoder:
        clips = real_features.read(model, films, decoder, place / "avclips.npz")
        sounds = real_features.read(
            model, events, decoder, place / "esc10.npz", ("audio",), keep=True
        )
        seen = real_features.read(model, photographs, decoder, place / "imagehear.npz", ("vision",))
    of_clips, of_pairs = clip_folds(data, clips), pair_folds(data, events)
    pairs = {
        "vision": seen["vision"],
        "vision-conse": seen["vision-conse"],
        "audio": sounds["audio"],
        "audio-conse": sounds["audio-conse"],
    }
    for vectors, folds in ((clips, of_clips), (pairs, of_pairs)):
        said = {c.text for fold in folds for clip in fold.clips for c in clip.captions}
        vectors["text"] = real_features.of_texts(model, sorted(said))
    result = {
        "protocol": "frozen features, linear heads of 256 dimensions, AdamW 3e-4, 40 epochs, batch 16, "
        "epoch by MRR on validation clips, nothing tuned; mean over seeds, paired bootstrap over clips "
        "(pairs by class: over the photographs asked for, fold by fold), "
        "1000 resamples; holds / does not hold: the 95 % interval of the difference lies above / below 0",
        "seeds": seeds,
        "clips": study("clips", of_clips, clips, place, seeds),
        "pairs by class": study("pairs", of_pairs, pairs, place, seeds),
    }
    record("real_trunks", result)


if __name__ == "__main__":
    main()
