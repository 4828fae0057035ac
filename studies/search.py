"""Search of 100,000 moments by sight and sound, one query and 16 at once, beside faiss's flat index.

    OMP_NUM_THREADS=1 python studies/search.py [--moments 100000] [--width 512]

Writes studies/results/search.json. Faiss is asked twice a query, once of what is seen and once of
what is heard, and gives two lists of ten; ours is the list of the ten best by both together, standardised,
exactly scored and explained. Vectors of queries are at hand in both cases, as those of known texts are.
A tenth of the moments has no sound and a tenth nothing to see.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from record import record

from trichord.search.calibration import calibrate
from trichord.search.collection import StoredCollection
from trichord.search.description import Description
from trichord.search.filters import Filter
from trichord.search.gallery import Gallery
from trichord.search.hits import hits_of
from trichord.search.query_plan import Centre, QueryPlan
from trichord.search.query_vectors import QueryVectors
from trichord.search.snapshot import Snapshot
from trichord.types import Moment
from trichord.types.comparable import ALL_PAIRS

AT_ONCE = 16
K = 10
REPEATS = 15
A_FILE = 40
FILTERS = {
    "none": Filter(),
    "folder with a tenth of the files": Filter(path="/archive/3"),
    "with sound": Filter(has_audio=True),
}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--moments", type=int, default=100_000)
    options.add_argument("--width", type=int, default=512)
    asked = options.parse_args()
    faiss.omp_set_num_threads(1)
    gallery = made(asked.moments, asked.width)
    with tempfile.TemporaryDirectory() as folder:
        snapshot = held(gallery, Path(folder) / "collection")
    texts = unit(np.random.default_rng(5).normal(size=(AT_ONCE, asked.width)) + 0.3)
    flat = [faiss.IndexFlatIP(asked.width), faiss.IndexFlatIP(asked.width)]
    for index, vectors in zip(flat, (gallery.vision, gallery.audio), strict=True):
        index.add(vectors)
    result = {
        "moments": asked.moments,
        "width": asked.width,
        "k": K,
        "processor milliseconds a call, least of several": measured(snapshot, flat, texts),
    }
    record("search", result)


def measured(
    snapshot: Snapshot, flat: list[faiss.IndexFlatIP], texts: np.ndarray
) -> dict[str, object]:
    found: dict[str, object] = {}
    for count in (1, AT_ONCE):
        beside = milliseconds(lambda n=count: [index.search(texts[:n], K) for index in flat])
        found[f"{count} at once, two faiss flat searches"] = beside
        for name, where in FILTERS.items():
            ours = milliseconds(lambda n=count, w=where: search(snapshot, texts[:n], w))
            found[f"{count} at once, filter: {name}"] = {"ours": ours, "ratio": ours / beside}
    return found


def search(snapshot: Snapshot, texts: np.ndarray, where: Filter) -> None:
    """What the engine does with prepared queries, and the filter's mask."""
    asked = [
        QueryPlan.of(
            [(QueryVectors("text", text, text), 1.0)],
            (1.0, 1.0),
            snapshot.calibration,
            snapshot.centres,
        )
        for text in texts
    ]
    mask = None if where.open else where.mask(snapshot.gallery)
    found = snapshot.score(asked, [mask] * len(asked))
    for plan, candidates in zip(asked, found, strict=True):
        hits_of(snapshot.top_k(plan, candidates, K), snapshot.gallery)


def made(count: int, width: int) -> Gallery:
    """Moments of nothing in particular, some of them lacking sight or sound."""
    rng = np.random.default_rng(0)
    has_vision, has_audio = np.arange(count) % 10 != 3, np.arange(count) % 10 != 7
    vision, audio = (
        unit(rng.standard_normal((count, width), np.float32) + shift) for shift in (0.5, 0.2)
    )
    vision[~has_vision], audio[~has_audio] = 0.0, 0.0
    moments = [
        Moment(
            file=f"/archive/{i // A_FILE % 10}/{i // A_FILE:06}.mp4",
            start=5.0 * (i % A_FILE),
            end=5.0 * (i % A_FILE) + 10.0,
        )
        for i in range(count)
    ]
    moments.sort(key=lambda one: (one.file, one.start))
    return Gallery.of(
        moments, vision=vision, has_vision=has_vision, audio=audio, has_audio=has_audio
    )


def held(gallery: Gallery, place: Path) -> Snapshot:
    """The gallery as an engine holds it."""
    width = gallery.vision.shape[1]
    description = Description(
        run="run", fingerprint="none", seconds=10.0, hop=5.0, vision_dim=width, audio_dim=width
    )
    texts = unit(np.random.default_rng(1).normal(size=(60, width)) + 0.3)
    return Snapshot(
        collection=StoredCollection.begin(place, description),
        version=0,
        token=None,
        gallery=gallery,
        calibration=calibrate(gallery, texts, texts, comparable=ALL_PAIRS),
        centres=(
            Centre.of(gallery.vision, gallery.has_vision),
            Centre.of(gallery.audio, gallery.has_audio),
        ),
        pattern=(gallery.has_vision + 2 * gallery.has_audio).astype(np.uint8),
        indexes=None,
    )


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def milliseconds(work: Callable[[], object]) -> float:
    """Processor time, which other work on the machine disturbs least."""
    taken: list[float] = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return round(1000 * min(taken), 3)


if __name__ == "__main__":
    main()
