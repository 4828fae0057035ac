"""Does a search say when nothing fits, does a minus only demote, and is one scene one hit?

`make demo` makes the folder. Its run `slava-a-and-v` (seed 0) indexes the test clips of the generated
world, one moment a clip, whose truth is known; what was chosen by measuring was chosen on the validation
clips, by the same code. Figures are exact functions of the run and the seed: there is no spread.

`presence`: 40 thing × colour and 40 thing × sound pairs that are there, drawn by the seed, each worded by
the world's grammar and searched once in the archive and once in the archive without all clips that have
the pair, which is calibrated again. `area` is the area under the curve of "is it there" by the best score,
or by its `chance`. `right on top` is the share of pairs whose best hit has the pair. Where another clip is
on top, the best score is the same with and without the pair: no reading of it has an area above `bound`,
1 − (1 − right on top)² / 2. `single` are colours, things and sounds alone, `readings` other readings of
the scores on the validation pairs. Words outside of the vocabulary are `unknown words`.

`minus`: of the right hits (clips that show or sound the thing) among the ten of `a THING`, over all things
× colours: how many without the colour stay among the ten of `a THING -COLOUR`, how many with it leave, and
how often the top score rises.

`scenes`: the same clips in moments of 2 s, one a second: distinct clips among ten hits of each thing and
each sound. `copies`: 40 clips encoded again (H.264 at crf 30, AAC at 64 kbit/s): which share is found by
the cosines, and how many pairs of different clips are taken for copies.

    python studies/answers.py DEMO [BEFORE]

BEFORE is a result of an older commit, to keep beside this one's.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from command import trichord
from record import record

from trichord.api.model import embedder_of
from trichord.media.decoder import Decoder
from trichord.search import query_plan
from trichord.search.background import calibrate_by
from trichord.search.collection import StoredCollection
from trichord.search.engine import SearchEngine
from trichord.search.query import Query
from trichord.search.query_plan import Centre, QueryPlan
from trichord.search.query_vectors import QueryVectors
from trichord.search.snapshot import Snapshot
from trichord_world.grammar import say
from trichord_world.law import LAW, Scene
from trichord_world.truth import read_truth
from trichord_world.wordings import WORDINGS

SEED, PAIRS, K, COPIES = 0, 40, 10, 40
UNKNOWN = (
    "snow covered mountains", "a wedding dance", "a bowl of ramen", "the president's speech",
    "an elephant", "a cathedral", "quarterly tax return", "a chess tournament",
    "a violin concerto", "a submarine under ice",
)  # fmt: skip
"""What the world never shows, sounds or says; its runs have not learnt these words."""
LIMITS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
FITS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5)
Has = Callable[[Scene], bool]


def shows(thing: str, scene: Scene) -> bool:
    return scene.thing == thing and not scene.dark


def coloured(colour: str, scene: Scene) -> bool:
    return scene.colour == colour and not scene.dark


def sounds(thing: str, scene: Scene) -> bool:
    return scene.heard == thing and not scene.silent


class Archive:
    """An archive of clips whose scenes are known."""

    def __init__(self, place: Path, scenes: dict[str, Scene], decoder: Decoder) -> None:
        collection = StoredCollection.open(place)
        model = embedder_of(collection.description.run)
        self.engine = SearchEngine(collection, model, decoder, persistent=False)
        self.gallery = self.engine.gallery
        self.scenes = [scenes[Path(self.gallery.files[code]).stem] for code in self.gallery.file]
        self.whole = self.snapshot(np.arange(len(self.gallery)))

    def snapshot(self, rows: np.ndarray) -> Snapshot:
        """Some of the moments, calibrated as an archive of their own."""
        gallery, texts = self.gallery.take(rows), self.engine.reader.texts
        return Snapshot(
            collection=self.engine.collection,
            version=0,
            token=None,
            gallery=gallery,
            calibration=calibrate_by(texts, gallery),
            centres=(
                Centre.of(gallery.vision, gallery.has_vision),
                Centre.of(gallery.audio, gallery.has_audio),
            ),
            pattern=(gallery.has_vision + 2 * gallery.has_audio).astype(np.uint8),
            indexes=None,
        )

    def scores(self, snapshot: Snapshot, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of all moments, best first."""
        texts = self.engine.reader.texts
        sides = (texts.of([text], side)[0] for side in ("vision", "audio"))
        part = QueryVectors("text", *sides)
        plan = QueryPlan.of(
            [(part, 1.0)], self.engine.weighting, snapshot.calibration, snapshot.centres
        )
        [candidates] = snapshot.score([plan], [None])
        scored = snapshot.top_k(plan, candidates, len(snapshot.gallery))
        return scored.rows, sum(scored.totals)

    def having(self, has: Has) -> np.ndarray:
        """Which moments are of such scenes."""
        return np.array([has(scene) for scene in self.scenes])


def pairs_of(archive: Archive) -> dict[str, list[tuple[str, Has]]]:
    """All pairs that are there, worded: thing × colour and thing × sound."""
    found: dict[str, list[tuple[str, Has]]] = {"thing × colour": [], "thing × sound": []}
    for thing in LAW.things:
        for colour in LAW.colours:

            def both(scene: Scene, thing: str = thing, colour: str = colour) -> bool:
                return shows(thing, scene) and coloured(colour, scene)

            found["thing × colour"].append((worded(thing=thing, colour=colour), both))
        for heard in LAW.things:

            def both(scene: Scene, thing: str = thing, heard: str = heard) -> bool:
                return shows(thing, scene) and sounds(heard, scene)

            found["thing × sound"].append((worded(thing=thing, heard=heard), both))
    return {
        kind: [pair for pair in pairs if archive.having(pair[1]).any()]
        for kind, pairs in found.items()
    }


def worded(**facts: str) -> str:
    return say(facts, np.random.default_rng(SEED))


def singles_of() -> dict[str, list[tuple[str, Has]]]:
    return {
        "colour": [(worded(colour=one), partial(coloured, one)) for one in LAW.colours],
        "thing": [(worded(thing=one), partial(shows, one)) for one in LAW.things],
        "sound": [(worded(heard=one), partial(sounds, one)) for one in LAW.things],
    }


READINGS: dict[str, Callable[[np.ndarray], float]] = {
    "best score": lambda s: s[0],
    "best, by the query's own mean and spread": lambda s: (s[0] - s.mean()) / s.std(),
    "best, by its median and absolute deviation": lambda s: (
        (s[0] - np.median(s)) / np.median(abs(s - np.median(s)))
    ),
    "best less the second": lambda s: s[0] - s[1],
    "best less the tenth": lambda s: s[0] - s[9],
    "mean of the five best": lambda s: s[:5].mean(),
}


def presence(archive: Archive, queries: Sequence[tuple[str, Has]]) -> list[dict[str, Any]]:
    """For each query: the scores with and without what it is about."""
    answers: list[dict[str, Any]] = []
    for text, has in queries:
        there = archive.having(has)
        one: dict[str, Any] = {"text": text}
        for name, snapshot in (
            ("with", archive.whole),
            ("without", archive.snapshot(np.flatnonzero(~there))),
        ):
            rows, scores = archive.scores(snapshot, text)
            one[name] = scores
            one[f"chance {name}"] = chance_of(snapshot, scores[0])
            if name == "with":
                one["right"] = bool(there[rows[0]])
        answers.append(one)
    return answers


def chance_of(snapshot: Snapshot, score: float) -> float | None:
    """The chance of a best score; None in commits that know none."""
    best = getattr(snapshot.calibration.text, "best", None)
    if best is None:
        return None
    return round(float(best[0].chance(np.array([score]), len(snapshot.gallery))[0]), 4)


def area(there: Sequence[float], away: Sequence[float]) -> float:
    """Of two drawn at random, how often the one that is there has more."""
    pairs = np.array(there)[:, None] - np.array(away)[None]
    return round(float((pairs > 0).mean() + (pairs == 0).mean() / 2), 4)


def summary(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    right = float(np.mean([one["right"] for one in answers]))
    found: dict[str, Any] = {
        "queries": len(answers),
        "area": area([one["with"][0] for one in answers], [one["without"][0] for one in answers]),
        "right on top": round(right, 4),
        "bound": round(1 - (1 - right) ** 2 / 2, 4),
    }
    if answers[0]["chance with"] is not None:
        there, away = (
            np.array([one[f"chance {name}"] for one in answers]) for name in ("with", "without")
        )
        found["area by chance"] = area(-there, -away)
        found["weak by limit, there and not"] = {
            str(limit): [round(float((c >= limit).mean()), 3) for c in (there, away)]
            for limit in LIMITS
        }
    return found


def readings(answers: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {
        name: area(
            [read(one["with"]) for one in answers], [read(one["without"]) for one in answers]
        )
        for name, read in READINGS.items()
    }


def nothing_fits(test: Archive, validation: Archive) -> dict[str, Any]:
    random = np.random.default_rng(SEED)
    drawn = {
        kind: [pairs[i] for i in random.permutation(len(pairs))[:PAIRS]]
        for kind, pairs in pairs_of(test).items()
    }
    answers = {kind: presence(test, pairs) for kind, pairs in drawn.items()}
    chosen = [one for pairs in pairs_of(validation).values() for one in presence(validation, pairs)]
    single = {kind: presence(test, queries) for kind, queries in singles_of().items()}
    unknown = {text: test.scores(test.whole, text)[1][0] for text in UNKNOWN}
    return {
        **{kind: summary(found) for kind, found in answers.items()},
        "both": summary([one for found in answers.values() for one in found]),
        "single": {kind: summary(found) for kind, found in single.items()},
        "validation pairs": summary(chosen),
        "readings": readings(chosen),
        "unknown words": {
            text: {
                "best score": round(float(score), 3),
                "chance": chance_of(test.whole, score),
            }
            for text, score in unknown.items()
        },
    }


def minus(archive: Archive) -> dict[str, Any]:
    kept, left, rises = [], [], 0
    for thing in LAW.things:
        before = archive.engine.search(Query.of(f"a {thing}"), K)
        for colour in LAW.colours:
            after = archive.engine.search(Query.of(f"a {thing} -{colour}"), K)
            rises += after[0].score > before[0].score
            stays = {hit.moment for hit in after}
            for hit in before:
                scene = archive.scenes[archive.gallery.row_of(hit.moment.file, hit.moment.start)]
                if shows(thing, scene) or sounds(thing, scene):
                    (left if coloured(colour, scene) else kept).append(hit.moment in stays)
    return {
        "without the colour": len(kept),
        "of them stay": round(float(np.mean(kept)), 4),
        "with the colour": len(left),
        "of them leave": round(1 - float(np.mean(left)), 4),
        "top score rises": f"{rises} of {len(LAW.things) * len(LAW.colours)}",
    }


def minus_by_fit(archive: Archive) -> dict[str, Any]:
    """On validation clips, with other limits from which a moment is demoted."""
    usual, found = query_plan.EXCLUDED_FROM, {}
    for fit in FITS:
        query_plan.EXCLUDED_FROM = fit
        found[str(fit)] = minus(archive)
    query_plan.EXCLUDED_FROM = usual
    return found


def scenes(archive: Archive, **how: bool) -> dict[str, Any]:
    texts = [f"a {WORDINGS['thing'][thing][0]}" for thing in LAW.things]
    texts += [WORDINGS["heard"][thing][0] for thing in LAW.things]
    counts = [
        len({hit.moment.file for hit in archive.engine.search(Query.of(text, **how), K)})
        for text in texts
    ]
    return {"queries": len(texts), "mean": round(float(np.mean(counts)), 2), "least": min(counts)}


def copies(whole: Archive, again: Archive, fine: Archive) -> dict[str, Any]:
    from trichord.search.folding import COPY_FROM

    place = {Path(file).name: i for i, file in enumerate(whole.gallery.files)}
    rows = [place[Path(again.gallery.files[code]).name] for code in again.gallery.file]
    same = np.diagonal(alike(again, whole, rows))
    different = alike(fine, fine, np.arange(len(fine.gallery)))
    file = fine.gallery.file
    different = different[(file[:, None] < file[None])]
    return {
        "limit": COPY_FROM,
        "copies": len(same),
        "found, by limit": {
            str(t): round(float((same >= t).mean()), 3) for t in (0.95, 0.96, 0.97, 0.98, 0.99)
        },
        "pairs of different clips": len(different),
        "taken for copies, by limit": {
            str(t): int((different >= t).sum()) for t in (0.95, 0.96, 0.97, 0.98, 0.99)
        },
    }


def alike(one: Archive, other: Archive, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """The lesser of the cosines of two moments' pictures and sounds; -1 if one lacks a modality."""
    least = np.full((len(one.gallery), len(rows)), np.inf)
    for side in ("vision", "audio"):
        has, there = (
            getattr(one.gallery, f"has_{side}"),
            getattr(other.gallery, f"has_{side}")[rows],
        )
        cosines = getattr(one.gallery, side) @ getattr(other.gallery, side)[rows].T
        cosines = np.where(has[:, None] & there, cosines, np.inf)
        least = np.minimum(least, np.where(has[:, None] == there, cosines, -1.0))
    return least


def encode_again(source: Path, target: Path) -> None:
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        streams: dict[int, Any] = {}
        for stream in given.streams:
            if stream.type == "video":
                new = made.add_stream("libx264", rate=stream.average_rate, options={"crf": "30"})
                new.width, new.height, new.pix_fmt = stream.width, stream.height, "yuv420p"
            else:
                new = made.add_stream("aac", rate=stream.rate, layout=stream.layout.name)
                new.bit_rate = 64_000
            streams[stream.index] = new
        for packet in given.demux():
            for frame in packet.decode():
                made.mux(streams[packet.stream.index].encode(frame))
        for stream in streams.values():
            made.mux(stream.encode(None))


def main(demo: Path, before: Path | None) -> None:
    truth = {one.scene.id: one.scene for one in read_truth(demo / "world/truth.jsonl")}
    run = demo / "runs/slava-a-and-v/seed-0"
    with tempfile.TemporaryDirectory() as folder, Decoder(workers=1) as decoder:
        place = Path(folder)
        (place / "again").mkdir()
        for clip in sorted((demo / "world/test_videos").glob("*.mp4"))[:COPIES]:
            encode_again(clip, place / "again" / clip.name)

        def made(name: str, media: Path, more: str = "") -> Archive:
            trichord(f"index {media} {place / name} --model {run}{more}")
            return Archive(place / name, truth, decoder)

        test = made("test", demo / "world/test_videos")
        validation = made("val", demo / "world/val_videos")
        fine = made("fine", demo / "world/test_videos", " --seconds 2 --hop 1")
        again = made("copies", place / "again")
        result: dict[str, Any] = {
            "protocol": " ".join((__doc__ or "").split()),
            "seed": SEED,
            "moments": {"test": len(test.gallery), "validation": len(validation.gallery)},
            "presence": nothing_fits(test, validation),
            "minus": minus(test),
        }
        if hasattr(query_plan, "EXCLUDED_FROM"):
            result["minus by fit, validation"] = minus_by_fit(validation)
            result["scenes"] = {
                "not folded": scenes(fine),
                "folded": scenes(fine, fold=True),
            }
            result["copies"] = copies(test, again, fine)
        else:
            result["scenes"] = {"not folded": scenes(fine)}
        if before is not None:
            older = json.loads(before.read_text())
            result["before"] = {
                name: older[name] for name in ("presence", "minus", "scenes", "measured on")
            }
    record("answers", result)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python studies/answers.py DEMO [BEFORE]   (the folder of 'make demo')")
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else None)
