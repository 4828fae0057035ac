"""The best attainable recall on a generated world, from its known law. See docs/world.md.

Given a query and the perfectly perceived sight (or sound) of each clip of the gallery, the
posterior probability that clip i is the one asked for is proportional to p(query | what is
perceived of i). Ranking by that likelihood is therefore best for every k at once.
"""

from collections.abc import Sequence
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trichord_world.grammar import Facts, Grammar, Kind, facts_heard, facts_seen
from trichord_world.law import LAW, Law
from trichord_world.truth import Truth
from trichord_world.wordings import Attribute

Side = Literal["visual", "audio"]
Query = tuple[int, Facts]
"""The index of the clip asked for, and what the query asserts."""

TASKS: dict[str, tuple[Side, Kind | Literal["sound"]]] = {
    "visual<-visual": ("visual", "visual"),
    "visual<-audio": ("visual", "audio"),
    "visual<-audio_visual": ("visual", "audio_visual"),
    "audio<-audio": ("audio", "audio"),
    "audio<-visual": ("audio", "visual"),
    "audio<-audio_visual": ("audio", "audio_visual"),
    "visual<-sound": ("visual", "sound"),
    "visual<-composed": ("visual", "composed"),
    "audio<-composed": ("audio", "composed"),
}
"""Gallery and queries of each task: SLAVA's seven, and the composed captions on either gallery."""

_SEEN_TIED: tuple[Attribute, ...] = ("thing", "size", "speed")
_HEARD_TIED: tuple[Attribute, ...] = ("heard", "pitch", "tempo")


def ceiling(
    truth: Sequence[Truth],
    ks: Sequence[int] = (1, 5, 10),
    *,
    law: Law = LAW,
    grammar: Grammar | None = None,
) -> dict[str, dict[int, float]]:
    """Best attainable R@k of each task of `TASKS` on these clips: the mean over all queries.

    The gallery holds the clips that have its modality; queries whose clip lacks what the query or
    the gallery needs are left out. Equal likelihoods are ordered at random, in expectation.
    `grammar` is the one that wrote the captions, by default the default one. A task without
    queries is NaN.
    """
    spoken = grammar or Grammar()
    best: dict[str, dict[int, float]] = {}
    for task, (side, asked) in TASKS.items():
        shown = [
            one for one in truth if not (one.scene.dark if side == "visual" else one.scene.silent)
        ]
        queries = _queries(shown, asked)
        unsaid = 1.0 if asked == "sound" else spoken.unsaid(asked)
        hits = expected_hits(
            likelihood(shown, [facts for _, facts in queries], side, law=law, unsaid=unsaid),
            np.array([index for index, _ in queries], dtype=np.intp),
            ks,
        )
        best[task] = {k: float(h.mean()) if len(h) else float("nan") for k, h in hits.items()}
    return best


def likelihood(
    gallery: Sequence[Truth], queries: Sequence[Facts], side: Side, *, law: Law, unsaid: float
) -> NDArray[np.float64]:
    """p(query's facts | clip's perfectly perceived side) up to a factor a query: (query, clip).

    `unsaid` is the probability that such a query leaves out a phrase that is spoken.
    """
    perceived = [(facts_seen if side == "visual" else facts_heard)(one.scene) for one in gallery]
    agree = np.ones((len(queries), len(gallery)))
    for name in ("colour", "motion", "background") if side == "visual" else ("phrase", "gender"):
        agree *= _agreement(name, queries, perceived, unsaid if name == "phrase" else 1.0)
    own, other = (_SEEN_TIED, _HEARD_TIED) if side == "visual" else (_HEARD_TIED, _SEEN_TIED)
    for name in own:
        agree *= _agreement(name, queries, perceived, 1.0)
    table = _joint(law) if side == "visual" else _joint(law).transpose(3, 4, 5, 0, 1, 2)
    here = [_positions(name, perceived, law)[None, :] for name in own]
    there = [_positions(name, queries, law)[:, None] for name in other]
    return agree * table[*here, *there] / table[*here, -1, -1, -1]


def expected_hits(
    scores: NDArray[np.float64], answers: NDArray[np.intp], ks: Sequence[int]
) -> dict[int, NDArray[np.float64]]:
    """Chance that each query's answer is in the top k, equal scores being ordered at random."""
    own = np.take_along_axis(scores, answers[:, None], axis=1) if len(answers) else scores[:, :1]
    # Sums of the same probabilities in another order differ in the last bits: that is a tie.
    tied = np.isclose(scores, own, rtol=1e-9, atol=0.0)
    better = ((scores > own) & ~tied).sum(axis=1)
    return {k: np.clip((k - better) / np.maximum(tied.sum(axis=1), 1), 0, 1) for k in ks}


def _queries(gallery: Sequence[Truth], asked: Kind | Literal["sound"]) -> list[Query]:
    if asked != "sound":
        return [(i, facts) for i, one in enumerate(gallery) for facts in one.facts[asked]]
    heard = [(i, facts_heard(one.scene)) for i, one in enumerate(gallery)]
    return [(i, facts) for i, facts in heard if facts]


def _agreement(
    name: Attribute,
    queries: Sequence[Facts],
    perceived: Sequence[Facts],
    unsaid: float,
) -> NDArray[np.float64]:
    """1 where the query says nothing or the truth of an attribute, else 0: (query, clip).

    A query that says nothing counts `unsaid` towards clips that have something to say.
    """
    said = np.array([facts.get(name, "") for facts in queries], dtype=object)[:, None]
    true = np.array([facts.get(name, "") for facts in perceived], dtype=object)[None, :]
    return np.where(said == "", np.where(true == "", 1.0, unsaid), said == true)


def _positions(name: Attribute, rows: Sequence[Facts], law: Law) -> NDArray[np.intp]:
    """Where each row's value stands on its axis of `_joint`; -1, the sum, where it has none."""
    values: dict[Attribute, tuple[str, ...]] = {
        "thing": law.things,
        "size": law.sizes,
        "speed": law.speeds,
        "heard": law.things,
        "pitch": law.pitches,
        "tempo": law.speeds,
    }
    index = {value: i for i, value in enumerate(values[name])}
    return np.array([index[row[name]] if name in row else -1 for row in rows], dtype=np.intp)


def _joint(law: Law) -> NDArray[np.float64]:
    """P(thing, size, speed, heard, pitch, tempo); each axis ends with the sum over it."""
    things, sizes, speeds = len(law.things), len(law.sizes), len(law.speeds)
    same_thing = _tie(things, law.own)
    pitch, tempo = _tie(sizes, law.tie), _tie(speeds, law.tie)
    table = np.zeros((things, sizes, speeds, things, sizes, speeds))
    for thing, heard in product(range(things), repeat=2):
        own = thing == heard
        high = pitch if own else np.full_like(pitch, 1 / sizes)
        fast = tempo if own else np.full_like(tempo, 1 / speeds)
        table[thing, :, :, heard] = same_thing[thing, heard] * np.einsum("ip,jt->ijpt", high, fast)
    table /= things * sizes * speeds
    for axis in range(table.ndim):
        table = np.concatenate([table, table.sum(axis=axis, keepdims=True)], axis=axis)
    return table


def _tie(count: int, share: float) -> NDArray[np.float64]:
    """P(column | row): `share` on the diagonal, the rest spread evenly."""
    spread = np.full((count, count), (1 - share) / (count - 1))
    np.fill_diagonal(spread, share)
    return spread
