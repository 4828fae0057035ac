"""Losses that several processes share; run by their test.

usage: spread_losses.py FOLDER    under a launcher's environment

Each rank takes its rows of batches that all draw alike, and keeps values and gradients for the test.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812

from trichord.config import InfoNCE
from trichord.distributed import all_gather_with_grad, process_group, rank, world_size
from trichord.losses.info_nce import info_nce, intra_nce
from trichord.losses.objective import Objective
from trichord.types.tensors import Embeddings, Features, Targets, Words

SIDES = ("text", "audio", "vision", "masked")
TERMS = ("av", "at", "vt", "aa", "mt", "tt", "vv", "ct", "lm")
PLAIN = [
    (kind, rows, tile, directions)
    for rows, tile in ((1, 4), (2, 1), (7, 3), (64, 10), (1000, 300), (64, 500))
    for kind in ("nce", "intra", "grouped")
    for directions in ("both", "a_to_b", "b_to_a")
    if directions == "both" or (rows, tile) == (7, 3)
]
OBJECTIVES = {
    "masked": InfoNCE(tile=3),
    "zeros": InfoNCE(tile=4, absent="zeros"),
    "published": InfoNCE(tile=2048, absent="zeros", directions="b_to_a"),
    "positives": InfoNCE(tile=5, same_text="positives"),
    "newer": InfoNCE(tile=3, matryoshka=(4, 2), matryoshka_weights=(0.5, 2.0)),
    "newer positives": InfoNCE(tile=2048, same_text="positives"),
    "taught": InfoNCE(tile=3),
    "taught, zeros": InfoNCE(tile=2048, absent="zeros", teacher_temperature=0.2),
}
TAUGHT = ("av-distil", "at-distil", "vt-distil", "a-distil", "v-distil", "t-distil")
NEWER = ("av", "av-sigmoid", "at-sigmoid", "vt-sigmoid", "tva-volume", "tva-area")


def terms_of(name):
    """Terms of an objective; not every loss goes with every setting."""
    if name.startswith("taught"):
        return TAUGHT
    return NEWER if name.startswith("newer") else TERMS


def parts(rows, count, kind):
    """How many rows each rank has: uneven ones, be it none."""
    if count == 1:
        return [rows]
    if kind == "intra":  # the first rank has none
        return [0, *parts(rows, count - 1, "nce")]
    first = (rows + 1) // 3
    return [first, *parts(rows - first, count - 1, "nce")]


def bounds(sizes, place):
    first = sum(sizes[:place])
    return slice(first, first + sizes[place])


def sides(rows, dim=16):
    """Unit vectors, the partners of which are near, and group numbers."""
    random = torch.Generator().manual_seed(rows)
    one = F.normalize(torch.randn(rows, dim, generator=random), dim=-1)
    other = F.normalize(one + 0.2 * torch.randn(rows, dim, generator=random), dim=-1)
    return one, other, torch.randint(-1, rows // 3 + 1, (rows,), generator=random)


def clips(rows=12, dim=8):
    """A batch of clips: vectors of all sides, which clips have them, words, texts, and who asks."""
    random = torch.Generator().manual_seed(0)
    vectors = {
        side: F.normalize(torch.randn(rows, dim, generator=random), dim=-1) for side in SIDES
    }
    there = {side: torch.rand(rows, generator=random) < 0.8 for side in SIDES}
    there["audio"][:6] = False  # the first ranks are without a sound
    there["masked"] &= there["audio"]
    places = torch.tensor([0, 0, 3, 7, 7, 7, 8, 11])
    words = torch.randn(len(places), 5, generator=random), places % 5, places
    wanted = {term: torch.rand(rows, generator=random) < 0.9 for term in TERMS}
    texts = torch.randint(0, 4, (rows,), generator=random)
    wanted |= {term: torch.rand(rows, generator=random) < 0.9 for term in NEWER[1:]}
    wanted |= {term: torch.rand(rows, generator=random) < 0.9 for term in TAUGHT}
    return vectors, there, words, texts, wanted


def teacher(rows, dim=8):
    """What a teacher knows of some of twelve clips; it has seen one that the student has not."""
    random = torch.Generator().manual_seed(1)
    vectors = {
        side: F.normalize(torch.randn(12, dim, generator=random), dim=-1)[rows]
        for side in ("audio", "vision", "text", "sound_text")
    }
    there = torch.arange(12)[rows, None] != 10
    known = {side: Features(one * there, one[:, None], there) for side, one in vectors.items()}
    pairs = (("audio", "vision"), ("audio", "text"), ("vision", "text"))
    return Targets(**known, scales={frozenset(pair): 7.0 for pair in pairs})


def kept(inputs, value, terms=None):
    gradients = torch.autograd.grad(value, inputs, allow_unused=True, materialize_grads=True)
    found = {} if terms is None else {name: term.detach() for name, term in terms.items()}
    return {"value": value.detach(), "gradients": gradients, **found}


def plain(kind, rows, tile, directions):
    ours = bounds(parts(rows, world_size(), kind), rank())
    one, other, groups = (side[ours] for side in sides(rows))
    inputs = [x.requires_grad_() for x in (one, other, torch.tensor(14.3))]
    if kind == "intra":
        value = intra_nce(*inputs, directions, tile=tile)
    else:
        chosen = groups if kind == "grouped" else None
        value = info_nce(*inputs, directions, tile=tile, groups=chosen)
    return kept(inputs, value)


def features(vectors, there):
    if not there.any():
        return None
    pooled = vectors * there[:, None]
    return Features(pooled, pooled[:, None], there[:, None])


def objective(name):
    return Objective(OBJECTIVES[name], terms_of(name))


def whole(name, place, count):
    """All terms of a batch of clips, of which this rank has a part."""
    vectors, there, (logits, targets, places), texts, wanted = clips()
    ours = bounds(parts(12, count, "nce"), place)
    vectors = {side: rows[ours].clone().requires_grad_() for side, rows in vectors.items()}
    here = (places >= ours.start) & (places < ours.stop)
    logits = logits[here].clone().requires_grad_()
    likeness = all_gather_with_grad(vectors["text"]) @ all_gather_with_grad(vectors["vision"]).T
    words = Words(logits, targets[here], places[here] - ours.start) if here.any() else None
    embeddings = Embeddings(
        **{side: features(rows, there[side][ours]) for side, rows in vectors.items()},
        similarity=likeness,
        words=words,
        teacher=teacher(ours) if name.startswith("taught") else None,
    )
    loss = objective(name)
    terms = loss(embeddings, {term: wanted[term][ours] for term in terms_of(name)}, texts[ours])
    inputs = [*vectors.values(), logits, *loss.parameters()]
    return kept(inputs, torch.stack([*terms.values()]).sum(), terms)


def lonely():
    """Pairs of which all ranks together have one, and then two: no term, and one."""
    found = []
    for rows in (1, 2):
        one, other, _ = sides(rows)
        ours = slice(0, rows) if rank() == world_size() - 1 else slice(0, 0)
        here = torch.zeros(3, dtype=torch.bool)
        here[: ours.stop] = True
        vectors = [F.pad(side[ours], (0, 0, 0, 3 - ours.stop)) for side in (one, other)]
        embeddings = Embeddings(None, *(features(each, here) for each in vectors))
        found.append(objective("masked")(embeddings, {"av": torch.ones(3, dtype=torch.bool)}))
    return [sorted(each) for each in found]


def everything():
    found = {case: plain(*case) for case in PLAIN}
    found |= {name: whole(name, rank(), world_size()) for name in OBJECTIVES}
    return found | {"lonely": lonely()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group("cpu"):
        torch.save(everything(), Path(sys.argv[1]) / f"{rank()}.pt")
