"""How well a line is found by other words: full text, meaning, and both; and how both are joined.

    python studies/word_search.py DATA

DATA holds `annotations/clotho/val.csv`: five captions of each sound, by five people. The first caption of a
sound is a line that is said in its file; the second is the query, which says the same in other words. The
text encoder is that of `examples/real-towers` (WordLlama, whose wheel holds its weights), which must be
installed. Nothing is trained and nothing is chosen on these lines: the share of frequent words and the
chance from which a line counts are those of the package.

A sign "+" is rank fusion ("ranks"), or a sum of scores in standard deviations over the lines of a query
("scores"). Differences are of hits of the same queries, with intervals by resampling these. Writes
studies/results/word_search.json.
"""

import csv
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from record import ROOT, record

from trichord.search.gallery import Gallery
from trichord.search.meanings import Meanings
from trichord.search.query import Query
from trichord.search.query_vectors import TextVectors
from trichord.search.rank_fusion import fuse_ranks
from trichord.search.text_search import TextIndex, Wanted
from trichord.search.text_table import FileTexts, TextTable
from trichord.speech.transcript import SpokenSegment
from trichord.storage import Storage
from trichord.types import Moment

SECONDS = 4.0
RESAMPLES = 2000


class Words:
    """WordLlama, as the text side of a model."""

    texts_differ = False
    fingerprint = "wordllama"
    comparable = frozenset[tuple[str, str]]()

    def __init__(self) -> None:
        sys.path.insert(0, str(ROOT / "examples" / "real-towers"))
        from real_towers import WordLlamaEncoder

        self.encoder = WordLlamaEncoder()

    def embed_text(self, texts: Sequence[str], toward: str = "vision") -> np.ndarray:
        """Unit vectors of texts."""
        vectors = self.encoder.trunk(self.encoder.prepare(list(texts))).detach().numpy()
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main(data: Path) -> None:
    rows = list(csv.DictReader((data / "annotations/clotho/val.csv").open(encoding="utf-8")))
    lines, queries = ([row[f"caption_{n}"] for row in rows] for n in (1, 2))
    model = Words()
    with tempfile.TemporaryDirectory() as folder:
        index = stored(lines, model, Path(folder))
        texts = TextVectors(model)  # pyright: ignore[reportArgumentType]
        orders = {
            "all words": [found(index, query, loose=False) for query in queries],
            "any word": [found(index, query, loose=True) for query in queries],
            "meaning, lines that count": [
                [place(moment) for moment, _ in index.similar(query, texts, "speech")]
                for query in queries
            ],
        }
        scores = meaning_scores(index.table, texts, queries)
        orders["meaning, all lines"] = [np.argsort(-row, kind="stable").tolist() for row in scores]
        orders["any word + meaning (ranks)"] = joined(orders, "any word", "meaning, all lines")
        orders["all words + meaning that counts (ranks)"] = joined(
            orders, "all words", "meaning, lines that count"
        )
        orders["any word + meaning (scores)"] = [
            np.argsort(-(standard(bm25(index, query, len(lines))) + row), kind="stable").tolist()
            for query, row in zip(queries, scores, strict=True)
        ]
    record("word_search", result(orders, len(lines)))


def stored(lines: Sequence[str], model: Words, folder: Path) -> TextIndex:
    """Each line as what is said in a file of its own."""
    table = TextTable(Storage(folder))
    moments = [Moment(file=f"{i:05}", start=0.0, end=SECONDS) for i in range(len(lines))]
    table.put(
        [
            FileTexts(
                signature=moment.file,
                kind="speech",
                lines=(SpokenSegment(start=0.0, end=SECONDS, text=line, language="en"),),
                status="read",
            )
            for moment, line in zip(moments, lines, strict=True)
        ]
    )
    vectorless = table.without_meaning(model.fingerprint)
    vectors = model.embed_text([text for _, text in vectorless]).astype(np.float32)
    table.put_meaning([name for name, _ in vectorless], vectors, model.fingerprint)
    table.compact()
    none = np.zeros((len(moments), 1), np.float32)
    absent = np.zeros(len(moments), bool)
    gallery = Gallery.of(moments, vision=none, has_vision=absent, audio=none, has_audio=absent)
    return TextIndex(table, table.version, gallery, {one.file: [one.file] for one in moments})


def found(index: TextIndex, query: str, *, loose: bool) -> list[int]:
    """Lines by full text, best first."""
    wanted = Wanted.of(Query.of(query.replace('"', " ")), loose=loose)
    return [place(moment) for moment, _ in index.match(wanted, "speech")]


def bm25(index: TextIndex, query: str, count: int) -> np.ndarray:
    """The BM25 score of each line, 0 without any word."""
    wanted = Wanted.of(Query.of(query.replace('"', " ")), loose=True)
    scores = np.zeros(count)
    for match in index.lines_with(wanted, "speech"):
        scores[int(match.signature)] = match.score
    return scores


def meaning_scores(table: TextTable, texts: TextVectors, queries: Sequence[str]) -> np.ndarray:
    """Standardised cosines of queries and lines, in the order of lines."""
    meanings = Meanings.of(table, "speech", texts)
    order = np.argsort([int(signature) for signature, _ in meanings.lines])
    vectors = meanings.vectors[order]
    rows = [vectors @ vector for vector in texts.of(queries, "vision")]
    return np.stack([standard(row) for row in rows])


def standard(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.mean()) / max(float(scores.std()), 1e-9)


def joined(orders: Mapping[str, Sequence[list[int]]], one: str, other: str) -> list[list[int]]:
    pairs = zip(orders[one], orders[other], strict=True)
    return [fuse_ranks([(first, 1.0), (second, 1.0)]) for first, second in pairs]


def place(moment: Moment) -> int:
    return int(moment.file)


def result(orders: Mapping[str, Sequence[list[int]]], lines: int) -> dict[str, object]:
    hits = {
        name: {k: np.array([i in order[:k] for i, order in enumerate(own)]) for k in (1, 10)}
        for name, own in orders.items()
    }
    pairs = (
        ("any word", "all words"),
        ("meaning, all lines", "any word"),
        ("any word + meaning (ranks)", "any word"),
        ("any word + meaning (ranks)", "meaning, all lines"),
        ("any word + meaning (scores)", "any word + meaning (ranks)"),
        ("all words + meaning that counts (ranks)", "all words"),
    )
    return {
        "protocol": f"{lines} lines and queries: first and second caption of Clotho's validation sounds; "
        f"intervals: {RESAMPLES} resamples of queries",
        "ways": {
            name: {
                "R@1": round(float(hits[name][1].mean()), 3),
                "R@10": round(float(hits[name][10].mean()), 3),
                "lines found, mean": round(float(np.mean([len(one) for one in own])), 1),
                "queries without a line": round(float(np.mean([not one for one in own])), 3),
            }
            for name, own in orders.items()
        },
        "differences of R@10": {
            f"{one} − {other}": difference(hits[one][10], hits[other][10]) for one, other in pairs
        },
    }


def difference(one: np.ndarray, other: np.ndarray) -> list[float]:
    """Mean and 95 % interval."""
    values = one.astype(float) - other
    draws = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), (0.025, 0.975))
    return [round(float(each), 3) for each in (values.mean(), low, high)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
