"""Exact search and structures over many moments of sight and sound, beside bare faiss.

    python studies/nearest.py VECTORS.npz [--moments 100000] [--backends scan]
        [--threads 1] [--cache FOLDER]

A call adds its backends to those of earlier calls with as many moments, each beside the exact searches of
its own run (the results hold graphs and inverted lists, which the package had at the time); CACHE keeps the
drawn vectors and what was built, so that a long measurement can be made a backend at a time.

VECTORS.npz holds what a run makes of real clips: `vision` and `audio` (clip, dim) with `has_vision` and
`has_audio` (clip), `text` (caption, dim) and `owner` (caption), the clip of each caption. From them
moments and queries are drawn (see `Law`). Adds the machine, the protocol and what was measured to
studies/results/nearest.json, under the number of moments. A million of these takes 9 GiB.

Latency is wall time, which other work on the machine prolongs; processor time a query is what ratios
are made of. A query's recall@10 is the share of the ten best moments of exact search in float64 that is
found, on queries other than those that the search budget was chosen by.
"""

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import faiss
import numpy as np
from law import (
    DIM,
    MOMENTS_A_FILE,
    QUERIES,
    RESIDUE,
    SAME_FILE,
    Gallery,
    Law,
    gallery_of,
    queries_of,
)
from record import RESULTS, circumstances, record

from trichord.search.candidates import ExactCandidates
from trichord.search.nearest import (
    AnnIndexes,
    Approximate,
    Exact,
    FaissScan,
    Nearest,
    Settings,
)
from trichord.search.nearest.approximate import recall
from trichord.search.nearest.exact import inner_products, no_neighbours, rank_rows, slack
from trichord.search.nearest.half_precision import HalfPrecision

K = 10
BATCH = 16
BACKENDS = {"scan": FaissScan()}
BUILDING = "processor seconds to build all sides and measure recall"
SLOW = ("faiss Flat", "Exact", "Exact, half precision first")
TOWARD = {"vision": ("text→sight", "sound→sight", "picture→sight"), "audio": ("text→sound",)}


class Flat:
    """Bare faiss: scores all."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.index = faiss.IndexFlatIP(DIM)
        self.index.add(vectors)

    def search(self, queries: np.ndarray, k: int, allowed: None = None) -> tuple:
        """See `Exact.search`."""
        cosines, rows = self.index.search(queries, k)
        return rows, cosines


class HalfFirst:
    """Exact search after a first pass in half precision, as several searches at once are answered."""

    def __init__(self, exact: Exact) -> None:
        self.exact = exact
        began = time.process_time()
        self.half = HalfPrecision.of([(exact.vectors, exact.has)])
        self.seconds = time.process_time() - began

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> tuple:
        """See `Exact.search`."""
        vectors, found = self.exact.vectors, no_neighbours(len(queries), k)
        # A score is the product itself, of rows that have a vector.
        coefficients = np.zeros((2, len(queries), 2))
        coefficients[0, :, 1], coefficients[1, :, 0] = 1.0, -np.inf
        scores, errors = self.half.scores([queries.astype(np.float64)], coefficients)
        if allowed is not None:
            scores[:, ~allowed[self.half.rows]] = -np.inf
        for i, query in enumerate(queries):

            def score(rows: np.ndarray, query: np.ndarray = query) -> np.ndarray:
                return inner_products(vectors[rows], query[None])

            bounded = ExactCandidates(
                scores[i], self.half.rows, slack(query), float(errors[i]), score
            )
            found[0][i], found[1][i] = rank_rows(vectors, bounded.best(k), query, k)
        return found


class Bare:
    """A structure's own answer: what it proposes for k, in its own order and rounding."""

    def __init__(self, ours: Approximate, vectors: np.ndarray) -> None:
        self.ours, self.vectors = ours, vectors

    def search(self, queries: np.ndarray, k: int, allowed: None = None) -> tuple:
        """See `Exact.search`."""
        rows = self.ours.index.candidates(queries, k, self.ours.budget)
        return rows, np.zeros(rows.shape)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("vectors", type=Path)
    options.add_argument("--moments", type=int, default=100_000)
    options.add_argument("--backends", nargs="*", choices=[*BACKENDS], default=[*BACKENDS])
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--cache", type=Path)
    asked = options.parse_args()
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    law = Law.of(asked.vectors)
    # Queries come from files that are not in the gallery: nothing of theirs can be found again.
    chosen, fresh = queries_of(law, rng), queries_of(law, rng)
    folder = asked.cache or Path(tempfile.mkdtemp())
    try:
        gallery = gallery_of(law, asked.moments, rng, folder)
        result = {
            "protocol": protocol(asked, law, gallery, fresh),
            "measured": measure(asked, gallery, chosen, fresh, folder),
            "load after": os.getloadavg(),
            "peak MiB of the whole run": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    finally:
        if asked.cache is None:
            shutil.rmtree(folder)
    file = RESULTS / "nearest.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    name = f"{asked.moments:,} moments"
    results.pop("note", None)  # of figures that this call replaces
    results[name] = {**joined(results.get(name, {}), result), "measured on": circumstances()}
    record("nearest", results)


def joined(before: dict, now: dict) -> dict:
    """A result with what earlier calls measured of other backends."""
    if before.get("protocol", {}).get("vectors") != now["protocol"]["vectors"]:
        return now
    kept = {"protocol": ("settings",), "measured": ("vision", "audio", BUILDING)}
    whole = dict(now)
    for part, names in kept.items():
        older = before[part]
        whole[part] = {**now[part], **{n: {**older.get(n, {}), **now[part][n]} for n in names}}
    return whole


def measure(
    asked: argparse.Namespace,
    gallery: Gallery,
    chosen: dict[str, np.ndarray],
    fresh: dict[str, np.ndarray],
    folder: Path,
) -> dict[str, object]:
    """All searches of each side; the structures of both are built first."""
    built, processor = {}, {}
    for name in asked.backends:
        settings = Settings(backend=BACKENDS[name], exact_up_to=0, threads=asked.threads)
        began = time.process_time()
        built[name] = AnnIndexes(folder / name, gallery, 1, chosen, settings)
        built[name].wait()
        processor[name] = time.process_time() - began
        print(name, built[name].report("vision"), built[name].report("audio"), flush=True)
    sides = ("vision", "audio")
    return {
        BUILDING: processor,
        **{side: of_side(side, getattr(gallery, side), built, fresh) for side in sides},
    }


def of_side(
    side: str, vectors: np.ndarray, built: dict[str, AnnIndexes], fresh: dict[str, np.ndarray]
) -> dict[str, object]:
    exact = Exact(vectors, np.ones(len(vectors), bool))
    asked = {name: fresh[name] for name in TOWARD[side]}
    truths = {name: exact.search(queries, K) for name, queries in asked.items()}
    flat = Flat(vectors)
    half = HalfFirst(exact)
    searches: dict[str, Nearest] = {
        "faiss Flat": flat,
        "Exact": exact,
        "Exact, half precision first": half,
    }
    found: dict[str, dict[str, object]] = {name: {} for name in searches}
    found["Exact, half precision first"] = {
        "processor seconds to build": half.seconds,
        "MiB": sum(one.vectors.nbytes for one in half.half.groups.values()) / 2**20,
    }
    for name, structures in built.items():
        report = structures.report(side)
        if not report.recall:
            continue
        found[name] = {
            "backend": report.backend,
            "used": report.used,
            "build seconds": report.seconds,
            "MiB on disk": report.bytes / 2**20,
            "search budget": report.budget,
            "recall@10 of the queries the search budget was chosen by": report.recall,
        }
        if report.used:
            searches[name] = ours = structures.nearest(side)
            searches[f"{name}, bare"] = Bare(ours, vectors)
            found[f"{name}, bare"] = {}
    for name, search in searches.items():
        found[name] |= timed(search, asked, slow=name in SLOW)
        if not name.endswith("bare"):
            found[name]["recall@10"] = recalls(search, asked, truths)
        else:
            found[name]["recall@10"] = overlaps(search, asked, truths)
        print(side, name, json.dumps(found[name], ensure_ascii=False), flush=True)
        if name == "faiss Flat":
            reference = found[name]
        found[name]["processor time / faiss Flat's"] = {
            way: found[name]["processor ms a query"][way] / reference["processor ms a query"][way]
            for way in ("one at a time", f"{BATCH} at once")
        }
        if not name.endswith("bare") and not name.startswith("faiss"):
            found[name]["filtered"] = filtered(search, exact, asked)
    return found


def recalls(search: Nearest, asked: dict, truths: dict) -> dict[str, float]:
    return {
        name: recall(
            search.search(queries, K)[1] + 1e-6 * isinstance(search, Flat), truths[name][1]
        )
        for name, queries in asked.items()
    }


def overlaps(search: Nearest, asked: dict, truths: dict) -> dict[str, float]:
    found = {}
    for name, queries in asked.items():
        rows = search.search(queries, K)[0]
        same = [len({*mine} & {*right}) for mine, right in zip(rows, truths[name][0], strict=True)]
        found[name] = sum(same) / (K * len(queries))
    return found


def filtered(search: Nearest, exact: Exact, asked: dict) -> dict[str, dict[str, float]]:
    """Of moments by chance, and of those of the files that the queries like least."""
    count = len(exact.has)
    queries = next(iter(asked.values()))[:16]
    by_chance = np.random.default_rng(1).random(count)
    unlike = exact.vectors @ queries.mean(axis=0)
    found = {}
    for name, allowed in {
        "every second": by_chance < 0.5,
        "every tenth": by_chance < 0.1,
        "one in a thousand": by_chance < 0.001,
        "the half that is unlike the queries": unlike < np.median(unlike),
    }.items():
        began = time.process_time()
        mine = search.search(queries, K, allowed)[1]
        taken = time.process_time() - began
        truth = exact.search(queries, K, allowed)[1]
        found[name] = {"recall@10": recall(mine, truth), "ms a query": 1e3 * taken / len(queries)}
    return found


def timed(search: Nearest, asked: dict[str, np.ndarray], slow: bool) -> dict[str, object]:
    """One at a time on one thread, 16 at once on one, and one at a time on each of two threads."""
    # The kinds take turns, so that each has the same share in every number.
    queries = np.stack([*asked.values()], axis=1).reshape(-1, DIM)[: 16 if slow else 320]
    search.search(queries[:1], K)
    walls, processor = [], time.process_time()
    for query in queries:
        began = time.perf_counter()
        search.search(query[None], K)
        walls.append(time.perf_counter() - began)
    single = (time.process_time() - processor) / len(queries)
    batches = [queries[i : i + BATCH] for i in range(0, len(queries) - BATCH + 1, BATCH)]
    began, processor = time.perf_counter(), time.process_time()
    for batch in batches:
        search.search(batch, K)
    at_once = (time.process_time() - processor) / (BATCH * len(batches))
    batched = BATCH * len(batches) / (time.perf_counter() - began)
    return {
        "ms, one at a time": {
            "p50": 1e3 * float(np.median(walls)),
            "p99": 1e3 * float(np.quantile(walls, 0.99)),
        },
        "processor ms a query": {"one at a time": 1e3 * single, f"{BATCH} at once": 1e3 * at_once},
        "queries a second": {
            "one thread, 16 at once": batched,
            "two threads, one at a time": by_two(
                lambda i: search.search(queries[i : i + 1], K), len(queries)
            ),
            "two threads, 16 at once": BATCH
            * by_two(lambda i: search.search(batches[i], K), len(batches)),
        },
        "MiB resident": resident(),
    }


def by_two(ask: Callable[[int], object], count: int) -> float:
    """Calls a second."""

    def some(first: int) -> None:
        faiss.omp_set_num_threads(1)  # OpenMP counts threads for each thread that asks
        for i in range(first, count, 2):
            ask(i)

    with ThreadPoolExecutor(2) as pool:
        began = time.perf_counter()
        list(pool.map(some, range(2)))
        return count / (time.perf_counter() - began)


def resident() -> dict[str, float]:
    """Of the whole process, which holds all vectors, and of one side once more for faiss Flat."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    return {
        "own": int(sizes["RssAnon"][0]) / 1024,
        "mapped files": int(sizes["RssFile"][0]) / 1024,
    }


def protocol(asked: argparse.Namespace, law: Law, gallery: Gallery, fresh: dict) -> dict:
    spread = {}
    for side in ("vision", "audio"):
        some = getattr(gallery, side)[:: max(1, asked.moments // 20_000)]
        values = np.linalg.eigvalsh(np.cov(some.T))
        spread[side] = {
            "length of the mean": float(np.linalg.norm(some.mean(axis=0))),
            "effective dimensions": float(values.sum() ** 2 / (values**2).sum()),
            "cosines of queries, mean and spread": {
                name: [float((fresh[name] @ some.T).mean()), float((fresh[name] @ some.T).std())]
                for name in TOWARD[side]
            },
        }
    return {
        "vectors": f"{Law.__doc__.split('.')[0]}; width {law.width}, end to end to {DIM}; "
        f"files of {MOMENTS_A_FILE} moments that share {SAME_FILE:.0%} of the variance; "
        f"{RESIDUE:.0%} of it even in all directions",
        "of each side": spread,
        "k": K,
        "queries of each kind": QUERIES,
        "building threads": asked.threads,
        "searching threads": 1,
        "settings": {name: asdict(BACKENDS[name]) for name in asked.backends},
    }


if __name__ == "__main__":
    main()
