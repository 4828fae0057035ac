"""Words or the sound of speech: what finds a spoken sentence, an audio encoder, a recogniser, or both.

    python studies/spoken_words.py DATA [FOLDER]

DATA holds `grid` and `esc10`. FOLDER (`spoken_words` if none is named) keeps all that is made: trained
encoders, mixed sounds, recognised words, vectors. Run the command again to continue.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import lance
import numpy as np
import pyarrow as pa
import torch
from lance.query import MatchQuery
from long_file import long_file, repeated
from record import record
from recordings import HEARD, SIZES, experiment
from speech_sounds import (
    NOISE_FOLDS,
    NOISES,
    SpokenWord,
    espeak_clips,
    grid_words,
    noisy,
    sound_of,
)
from transcripts import edits, final, vocabularies

from trichord.checkpoint import Run, fresh_model
from trichord.corpora import grid
from trichord.evaluation.bootstrap import estimates
from trichord.evaluation.ranks import TOLERANCE, Ranks
from trichord.evaluation.vectors import embed_source
from trichord.features.source import MediaSource
from trichord.media import Decoder
from trichord.models.calibration import Background, blend, measure
from trichord.models.embedder import Embedder
from trichord.search.rank_fusion import fuse_ranks
from trichord.speech.pocketsphinx import PocketSphinx
from trichord.speech.recogniser import RecogniserOptions
from trichord.speech.voice import SpeechDetector
from trichord.speech.windows import WindowedRecogniser
from trichord.storage.lance_table import require_index
from trichord.training.fit import fit
from trichord.types import SPLITS, Clip
from trichord_world.law import PHRASES_MANY
from trichord_world.small import build_clip

SEEDS = (0, 1, 2)
EPOCHS = 40
SHARES = (0.7, 0.1)
"""Of the sentences for training and validation; the rest is tested on."""
VERBAL = 0.0
BACKGROUND = 256
"""Training sentences at most by which the scales of scores are measured."""
WEIGHTS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Of words, where the sound has 1."""
MEASURES = ("R@1", "R@10", "MRR")
SLOW = {"free": ("clean", "0 dB")}
"""Noises of a recogniser that takes too long for all of them."""
NEAR = 1.0
"""Seconds between the time that a search gives for a word and its true time."""


def split(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Clips by split, which the hash of the sentence decides: all clips of a sentence have the same one."""
    sentences = sorted(
        {clip.captions[0].text for clip in clips},
        key=lambda text: hashlib.blake2b(text.encode()).digest(),
    )
    ends = [round(sum(SHARES[: n + 1]) * len(sentences)) for n in range(len(SHARES))]
    parts = sentences[: ends[0]], sentences[ends[0] : ends[1]], sentences[ends[1] :]
    of = {text: name for name, part in zip(SPLITS, parts, strict=True) for text in part}
    found: dict[str, list[Clip]] = {name: [] for name in SPLITS}
    for clip in clips:
        name = of[clip.captions[0].text]
        found[name].append(replace(clip, split=name))
    return found


# --- (a) the sound of speech ---------------------------------------------------------------------


def trained(
    parts: Mapping[str, list[Clip]], folder: Path, seed: int, decoder: Decoder, epochs: int
) -> Embedder:
    """The encoders of a seed, trained on sentences alone; the epoch is chosen on validation."""
    towers, run = folder / "towers", Run(folder / f"seed-{seed}")
    if not towers.exists():
        texts = [clip.captions[0].text for clip in parts["train"]]
        build_clip(SIZES, texts, towers, seed=0).save_pretrained(towers)
    if run.complete:
        model = run.load()
    else:
        wanted = replace(experiment(towers, seed, epochs), hand_over="best")
        model = fresh_model(wanted)
        fit(
            wanted,
            model,
            [MediaSource(parts[name], model, decoder, HEARD) for name in ("train", "val")],
            run,
            manifest="",
            after_epoch=lambda n: print(seed, n["epoch"], n["loss"], n["criterion"], flush=True),
        )
    model.choose_audio_type(VERBAL)
    return model.eval()


@dataclass(frozen=True)
class Vectors:
    """Of clips, of the sentences said in them, and of the sentences that scales are measured by."""

    clips: np.ndarray
    queries: np.ndarray
    background: np.ndarray


def vectors(
    model: Embedder, clips: list[Clip], background: list[str], file: Path, decoder: Decoder
) -> Vectors:
    """The vectors of a condition, kept in a file."""
    if not file.exists():
        embedded = embed_source(model, MediaSource(clips, model, decoder, HEARD))
        assert embedded.has_audio.all()
        said = [clip.captions[0].text for clip in clips]
        queries, scales = (model.embed_text(texts, "audio") for texts in (said, background))
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, clips=embedded.audio, queries=queries, background=scales)
    return Vectors(**np.load(file))


# --- (b) words -----------------------------------------------------------------------------------


def recognised(
    clips: Sequence[Clip], vocabulary: Path | None, file: Path, decoder: Decoder
) -> dict[str, list[SpokenWord]]:
    """The words of clips as `trichord transcribe` hears them, kept in a file."""
    if not file.exists():
        recogniser = PocketSphinx(RecogniserOptions(vocabulary=vocabulary))
        windows = WindowedRecogniser(recogniser, SpeechDetector())
        found = {
            clip.id: [
                (word.text, word.start, word.end)
                for word in final(windows, sound_of(clip.path, decoder)).words
            ]
            for clip in clips
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))
    held = json.loads(file.read_text())
    return {name: [SpokenWord(*word) for word in words] for name, words in held.items()}


def matches(texts: Sequence[str], queries: Sequence[str]) -> np.ndarray:
    """BM25 of queries against texts by Lance's full-text search, as in archives; 0: no word matches."""
    with tempfile.TemporaryDirectory() as folder:
        rows = {"row": range(len(texts)), "caption": [text or None for text in texts]}
        table = lance.write_dataset(pa.table(rows), f"{folder}/texts")
        require_index(table, "caption", "INVERTED")
        scores = np.zeros((len(queries), len(texts)))
        for number, query in enumerate(queries):
            hits = table.to_table(
                columns=["row", "_score"],
                full_text_query=MatchQuery(query, "caption"),
                limit=len(texts),
                disable_scoring_autoprojection=True,
            )
            scores[number, hits["row"].to_numpy()] = hits["_score"].to_numpy()
    return scores


def text_of(words: Sequence[SpokenWord]) -> str:
    return " ".join(word.text for word in words)


# --- (c) both ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Condition:
    """Scores of the same queries by both ways, with those of background sentences."""

    audio: Vectors
    words: np.ndarray
    words_background: np.ndarray

    @property
    def cosines(self) -> np.ndarray:
        """Of queries and the sounds of clips."""
        return (self.audio.queries @ self.audio.clips.T).astype(np.float64)


def by_ranks(condition: Condition, weight: float) -> np.ndarray:
    """Minus the place in the order that reciprocal rank fusion gives."""
    cosines, fused = condition.cosines, np.zeros(condition.words.shape)
    random = np.random.default_rng(0)
    for query, words in enumerate(condition.words):
        # Words often tie: their order is drawn, and no clip has an advantage.
        ties = random.random(len(words))
        order = [int(i) for i in np.lexsort((ties, -words)) if words[i] > 0]
        sound = [int(i) for i in np.argsort(-cosines[query], kind="stable")]
        for place, clip in enumerate(fuse_ranks([(sound, 1.0), (order, weight)])):
            fused[query, clip] = -place
    return fused


def by_scores(condition: Condition, weight: float) -> np.ndarray:
    """The weighted sum of calibrated scores, by the calibration of search: words in the place of vision."""
    sound = condition.audio
    count = len(sound.clips)
    everything = np.ones(count, bool)
    sides = SimpleNamespace(
        # Unit vectors, so that the "cosines" of the background are its BM25.
        vision=np.eye(count),
        has_vision=everything,
        audio=sound.clips,
        has_audio=everything,
    )
    allowed = np.ones((len(sound.background), count), bool)
    background = Background(
        vision=condition.words_background, audio=sound.background, allowed=allowed
    )
    scales = measure(sides, background)
    present = np.ones(condition.words.shape, bool)
    words = scales.vision.standardise(condition.words, present)
    heard = scales.audio.standardise(condition.cosines, present)
    shares = np.full(words.shape, weight), np.ones(words.shape)
    return sum(blend(words, heard, shares, scales.agreement), np.zeros(words.shape))


FUSIONS = {"ranks fused": by_ranks, "scores fused": by_scores}
EQUAL = "ranks fused, weight 1"
"""As `trichord search --caption-weight 1` fuses captions with vectors."""


# --- figures -------------------------------------------------------------------------------------


def outcomes(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """R@1, R@10 and reciprocal rank of each query's best right clip; ties by the mean over their orders.

    Args:
        scores: Of queries against clips; minus infinity: not among the hits.
        right: Which clips are right for which query.
    """
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    wrong = np.where(right, -np.inf, scores)
    found = np.isfinite(best[:, 0])
    better = np.where(found, (wrong > best + TOLERANCE).sum(axis=1), scores.shape[1])
    above = np.where(found, (wrong >= best - TOLERANCE).sum(axis=1), scores.shape[1])
    ranks = Ranks(better, above - better)
    ways = [ranks.hit(1, "expected"), ranks.hit(10, "expected"), ranks.reciprocal("expected")]
    # A clip that is no hit has no rank.
    return np.stack(ways, axis=1) * found[:, None]


def right_of(clips: Sequence[Clip]) -> np.ndarray:
    """Which clips say the sentence of which."""
    said = np.array([clip.captions[0].text for clip in clips])
    return said[:, None] == said[None, :]


def chosen_weights(conditions: Sequence[Condition], right: np.ndarray) -> dict[str, float]:
    """The weight of words with the highest mean reciprocal rank over conditions and seeds."""
    return {
        name: max(
            WEIGHTS,
            key=lambda w: np.mean([outcomes(fuse(one, w), right)[:, 2] for one in conditions]),
        )
        for name, fuse in FUSIONS.items()
    }


def compared(
    seeds: Sequence[Condition], clips: Sequence[Clip], weights: Mapping[str, float]
) -> dict[str, object]:
    """What sound, words and both find, and their paired differences, with intervals over sentences.

    A query's outcomes are averaged over the seeds before clips are drawn.
    """
    right = right_of(clips)
    words = np.where(seeds[0].words > 0, seeds[0].words, -np.inf)
    each = {
        "audio": [outcomes(one.cosines, right) for one in seeds],
        "words": [outcomes(words, right)],
        **{
            name: [outcomes(fuse(one, weights[name]), right) for one in seeds]
            for name, fuse in FUSIONS.items()
        },
        EQUAL: [outcomes(by_ranks(one, 1.0), right) for one in seeds],
    }
    by = {name: np.mean(values, axis=0) for name, values in each.items()}
    fused = [(name, other) for name in (*FUSIONS, EQUAL) for other in ("audio", "words")]
    pairs = {f"{one} - {other}": by[one] - by[other] for one, other in [("words", "audio"), *fused]}
    _, sentence = np.unique([clip.captions[0].text for clip in clips], return_inverse=True)
    figures = {
        name: dict(
            zip(MEASURES, map(asdict, estimates(values, sentence, resamples=10_000)), strict=True)
        )
        for name, values in {**by, **pairs}.items()
    }
    spread = {name: [one.mean(axis=0).tolist() for one in values] for name, values in each.items()}
    return {**figures, "R@1, R@10 and MRR of each seed": spread}


def word_errors(clips: Sequence[Clip], heard: Mapping[str, Sequence[SpokenWord]]) -> float:
    wrong = [
        edits(clip.captions[0].text.split(), [word.text for word in heard[clip.id]])
        for clip in clips
    ]
    return sum(wrong) / sum(len(clip.captions[0].text.split()) for clip in clips)


def found_in_time(
    truth: Mapping[str, Sequence[SpokenWord]], heard: Mapping[str, Sequence[SpokenWord]]
) -> dict[str, object]:
    """A search for each word that is said: whether the best hit says it within a second of the time given.

    And the share of all spoken words that the recogniser gives within a second of their time.
    """
    names = sorted(heard)
    spoken = sorted({word.text for name in names for word in truth[name]})
    scores = matches([text_of(heard[name]) for name in names], spoken)
    found: list[str] = []
    for word, row in zip(spoken, scores, strict=True):
        name = names[int(np.argmax(row))]
        times = [one.start for one in heard[name] if one.text == word and row.any()]
        true = [one.start for one in truth[name] if one.text == word]
        found += [word] if times and any(abs(times[0] - at) <= NEAR for at in true) else []
    said = [(name, word) for name in names for word in truth[name]]
    near = [
        any(one.text == word.text and abs(one.start - word.start) <= NEAR for one in heard[name])
        for name, word in said
    ]
    return {
        "words": len(spoken),
        "found": len(found) / len(spoken),
        "without a hit": [w for w, row in zip(spoken, scores, strict=True) if not row.any()],
        "hit of another word or time": [
            w for w, row in zip(spoken, scores, strict=True) if row.any() and w not in found
        ],
        "spoken words": len(said),
        "share of them recognised in time": float(np.mean(near)),
    }


# --- the parts of the study ----------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """Where things are, and what they are."""

    data: Path
    folder: Path
    decoder: Decoder
    parts: Mapping[str, list[Clip]]
    models: Sequence[Embedder]

    @property
    def background(self) -> list[str]:
        """Training sentences by which the scales of scores are measured."""
        return [clip.captions[0].text for clip in self.parts["train"][:BACKGROUND]]

    def figures(
        self,
        clips: Sequence[Clip],
        scores: Sequence[Condition],
        weights: Mapping[str, float],
        heard: Mapping[str, Sequence[SpokenWord]],
        truth: Mapping[str, Sequence[SpokenWord]],
    ) -> dict[str, object]:
        """All that is measured of a recogniser on some clips."""
        return {
            **compared(scores, clips, weights),
            "word error rate": word_errors(clips, heard),
            "a word's search": found_in_time(truth, heard),
        }

    def condition(self, clips: list[Clip], label: str, heard: Mapping) -> list[Condition]:
        """The scores of each seed."""
        queries = [clip.captions[0].text for clip in clips]
        texts = [text_of(heard[clip.id]) for clip in clips]
        scores = matches(texts, queries + self.background)
        words, behind = scores[: len(queries)], scores[len(queries) :]
        place = self.folder / "vectors"
        return [
            Condition(
                vectors(model, clips, self.background, place / f"{label}-{seed}.npz", self.decoder),
                words,
                behind,
            )
            for seed, model in zip(SEEDS, self.models, strict=False)
        ]


def on_grid(study: Study, files: Mapping[str, Path | None]) -> tuple[dict, dict]:
    """Figures by noise and recogniser, and the weights of each recogniser."""
    noises = {name: SLOW.get(name, tuple(NOISES)) for name in files}
    heard, scores = {}, {}
    for part, fold in NOISE_FOLDS.items():
        for noise in NOISES:
            sounds = study.folder / "sounds"
            clips = noisy(study.parts[part], noise, fold, study.data, sounds, study.decoder)
            for name in (one for one in files if noise in noises[one]):
                kept = study.folder / "words" / f"{part}-{noise}-{name}.json"
                words = recognised(clips, files[name], kept, study.decoder)
                heard[part, noise, name] = words
                scores[part, noise, name] = study.condition(clips, f"{part}-{noise}", words)
    right, test = right_of(study.parts["val"]), study.parts["test"]
    weights = {
        name: chosen_weights([s for noise in some for s in scores["val", noise, name]], right)
        for name, some in noises.items()
    }
    truth = grid_words(study.data)
    figures = {
        noise: {
            name: study.figures(
                test, scores["test", noise, name], weights[name], heard["test", noise, name], truth
            )
            for name, some in noises.items()
            if noise in some
        }
        for noise in NOISES
    }
    return figures, weights


def on_espeak(study: Study, grid_grammar: Path, weights: Mapping[str, Mapping]) -> dict:
    """The same on sentences of other words, all but two, with the weights of GRID's recognisers."""
    clips, truth = espeak_clips(study.folder / "espeak")
    rows = [{"transcript": text} for text in PHRASES_MANY]
    words = study.folder / "espeak.txt"
    words.write_text(
        "\n".join(sorted({word for row in rows for word in row["transcript"].split()}))
    )
    grammar = study.folder / "espeak.jsgf"
    grammar.write_text(
        f"#JSGF V1.0;\ngrammar espeak;\npublic <sentence> = {' | '.join(PHRASES_MANY)};\n"
    )
    files = {"free": None, "words": words, "grammar": grammar, "grammar of GRID": grid_grammar}
    found = {}
    for name, file in files.items():
        kept = study.folder / "words" / f"espeak-{name}.json"
        heard = recognised(clips, file, kept, study.decoder)
        scores = study.condition(clips, "espeak", heard)
        weight = weights[name.partition(" ")[0]]
        found[name] = study.figures(clips, scores, weight, heard, truth)
    return found


def main() -> None:
    torch.set_num_threads(1)
    data, folder = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "spoken_words")
    folder.mkdir(parents=True, exist_ok=True)
    clips = list(grid.clips(data / "grid").clips)
    parts = split(clips)
    words, grammar = vocabularies([{"transcript": c.captions[0].text} for c in clips], folder)
    files = {"free": None, "words": words, "grammar": grammar}
    with Decoder(workers=1) as decoder:
        models = [trained(parts, folder, seed, decoder, EPOCHS) for seed in SEEDS]
        study = Study(data, folder, decoder, parts, models)
        figures, weights = on_grid(study, files)
        result = {
            "protocol": PROTOCOL.format(**{name: len(some) for name, some in parts.items()}),
            "weight of words": weights,
            "GRID": figures,
            "eSpeak": on_espeak(study, grammar, weights),
            "long_file": long_file(
                clips[::3], data, folder, repeated(grammar, folder / "sentences.jsgf"), decoder
            ),
        }
    record("spoken_words", result)


PROTOCOL = (
    "GRID, one speaker: {train} clips to train on, {val} to choose the epoch and the weights of fusions, "
    "{test} to test; no sentence is in two splits. Query: what is said in a test clip; right: the clips "
    "that say it; ties by the mean over their orders; a clip without a word of the query is no hit of "
    "words. Encoders from scratch on clean sentences, three seeds, audio type verbal. Noise: ESC-10, fold "
    "5 (validation: 4), decibels by the loudness of whole clips; the free recogniser, which is slow, clean "
    "and at 0 dB alone. One weight for each recogniser and fusion, over all its noises. Scales of scores "
    "by 256 training sentences. eSpeak: 48 sentences in 2 voices, with GRID's encoders and weights; word "
    "times by letters. Intervals of 95 % over sentences, 10,000 resamples, outcomes averaged over seeds "
    "before."
)


if __name__ == "__main__":
    main()
