"""Correctness on a GPU, for the GPU kit (`gpu.py`): losses, fusions, captions, a step, DDP.

Losses are compared with double precision on the CPU. Fusions and towers cast to single precision
themselves, so their reference is single precision on the CPU with the plain attention. Captions are
compared with the likelihood that teacher forcing gives their words on the CPU. So each part can fail on
a machine without a GPU, too.

Each part yields names and checks; a check has an error for each precision and `passed`.
"""

import copy
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from gpu_models import SMALL, captioned, clips, features, moved, pretrained
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel

from trichord.config import Cross, Experiment, GlobalToGlobal, InfoNCE
from trichord.config.model import FUSIONS
from trichord.losses.objective import Objective
from trichord.models.beams import Decoding
from trichord.models.decoding import GeneratedCaption, write
from trichord.models.embedder import Embedder
from trichord.models.fusion import Fusion
from trichord.training.optimizers import build_optimizer, choose_what_trains, set_rate
from trichord.types.tensors import Batch, Embeddings, Features, Padded, Targets, Words
from trichord.types.terms import LOSSES

TOLERANCE = {"float32": (1e-4, 1e-4), "bfloat16": (2e-2, 1e-1)}
"""Of values and of gradients, as a share of their length. In half precision scores have three digits and
the softmax of them has two; training lives with that."""
CPU = torch.device("cpu")
Check = dict[str, object]
Named = Mapping[str, Tensor]
ROWS, DIM = 96, 64
LENGTHS = {"vision": [3, 0, 2, 3, 1, 3], "audio": [2, 3, 0, 1, 3, 2], "text": [5, 3, 8, 1, 4, 2]}
"""Steps of each clip: ragged, and some clips lack a modality."""


def error(ours: Tensor, reference: Tensor) -> float:
    """Length of the difference as a share of the reference's length; infinite if it is not a number."""
    if ours.shape != reference.shape:
        return float("inf")
    ours, reference = (one.detach().to(CPU, torch.float64) for one in (ours, reference))
    apart = float((ours - reference).norm()) / (float(reference.norm()) or 1.0)
    return apart if apart < float("inf") else float("inf")


def check(found: Mapping[str, Named], reference: Named) -> Check:
    """Compare each precision's values with the reference, gradients under their own tolerance."""
    entry: Check = {}
    passed = True
    for precision, values in found.items():
        apart = [0.0, 0.0]
        for name, one in reference.items():
            kind = name.startswith("gradient")
            share = error(values[name], one) if name in values else float("inf")
            apart[kind] = max(apart[kind], share)
        entry[precision] = {"error": apart[0], "of gradients": apart[1]}
        passed = passed and values.keys() == reference.keys()
        passed = passed and all(a <= b for a, b in zip(apart, TOLERANCE[precision], strict=True))
    return entry | {"passed": passed}


def half(device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16)


@contextmanager
def plainly() -> Iterator[None]:
    """The attention as a formula: fused kernels are what is to be compared."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def losses(device: torch.device) -> Iterator[tuple[str, Check]]:
    """Every registered term, in one tile, in tiles, and with equal texts: value and gradients."""
    settings = {
        "one tile": InfoNCE(),
        "tiles": InfoNCE(tile=32),
        "equal texts": InfoNCE(same_text="positives", tile=32),
    }
    for (label, config), name in product(settings.items(), LOSSES.kinds()):
        reference = loss_values(config, name, CPU, torch.float64)
        found = {"float32": loss_values(config, name, device, torch.float32)}
        with half(device):
            found["bfloat16"] = loss_values(config, name, device, torch.float32)
        yield f"{name}, {label}", check(found, reference)


def loss_values(
    config: InfoNCE, name: str, device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Value and gradients of a term."""
    objective = Objective(config, (name,)).to(device, dtype)
    leaves = loss_inputs(device, dtype)
    embeddings = embeddings_of(leaves)
    rows = {name: torch.ones(ROWS, dtype=torch.bool)}
    texts = torch.arange(ROWS) // 3 if config.same_text == "positives" else None
    value = objective(embeddings, rows, texts)[name]
    wanted = leaves | dict(objective.named_parameters())
    gradients = torch.autograd.grad(value, list(wanted.values()), allow_unused=True)
    named = zip(wanted, gradients, strict=True)
    return {"value": value} | {f"gradient of {key}": one for key, one in named if one is not None}


def loss_inputs(device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Vectors of clips whose modalities are near one another, similarities, logits of words."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    # Clips are near one another, too: `tt` compares a text with itself, and of rows far from the others
    # its gradient would be a difference of rounded ones.
    common = draw(ROWS, DIM) + 2 * draw(1, DIM)
    sides = ("text", "audio", "vision", "masked")
    drawn = {name: F.normalize(common + draw(ROWS, DIM), dim=1) for name in sides}
    drawn["similarity"] = 0.1 * draw(ROWS, ROWS) + 0.3 * torch.eye(ROWS, dtype=torch.float64)
    drawn["logits"] = 3 * draw(2 * ROWS, 50)
    return {name: one.to(device, dtype).requires_grad_() for name, one in drawn.items()}


def embeddings_of(leaves: Mapping[str, Tensor]) -> Embeddings:
    """A model's output, and a teacher's."""
    like = leaves["text"]
    random = torch.Generator().manual_seed(1)

    def whole(vectors: Tensor) -> Features:
        there = torch.ones(len(vectors), 1, dtype=torch.bool, device=vectors.device)
        return Features(vectors, vectors[:, None], there)

    taught = [
        whole(
            F.normalize(
                one.detach().cpu() + 0.1 * torch.randn(ROWS, DIM, generator=random), dim=1
            ).to(like)
        )
        for one in (leaves["audio"], leaves["vision"], leaves["text"], leaves["text"])
    ]
    pairs = ("audio", "vision"), ("audio", "text"), ("vision", "text")
    teacher = Targets(*taught, scales={frozenset(pair): 20.0 for pair in pairs})
    places = torch.arange(2 * ROWS, device=like.device)
    words = Words(leaves["logits"], places % 50, places // 2)
    sides = {side: whole(leaves[side]) for side in ("text", "audio", "vision", "masked")}
    return Embeddings(**sides, similarity=leaves["similarity"], words=words, teacher=teacher)


def fusions(device: torch.device, place: Path) -> Iterator[tuple[str, Check]]:
    """Every registered fusion in each of its forms: similarities and gradients."""
    _, model = pretrained(SMALL, place)
    for name, config in forms():
        torch.manual_seed(0)
        fusion = config.build(model).eval()
        with plainly():
            reference = similarities(fusion, CPU)
        there = copy.deepcopy(fusion).to(device)
        found = {"float32": similarities(there, device)}
        with half(device):
            found["bfloat16"] = similarities(there, device)
        yield name, check(found, reference)


def forms() -> Iterator[tuple[str, GlobalToGlobal | Cross]]:
    """Fusions by name.

    Raises:
        ValueError: One of them is new here: add its forms.
    """
    if FUSIONS.own.keys() != {GlobalToGlobal.kind, Cross.kind}:
        raise ValueError(f"The fusions are {sorted(FUSIONS.own)}: add what is new to `forms`.")
    yield GlobalToGlobal.kind, GlobalToGlobal()
    for level, form in product(("global_to_local", "tight", "local_to_local"), ("clip", "bert")):
        yield f"{level}, {form}", Cross(level=level, form=form, from_text=False, layers=2)


def similarities(fusion: Fusion, device: torch.device) -> dict[str, Tensor]:
    """Similarities of texts and clips, and the gradients of their weighted sum."""
    sides = {
        side: moved(features(SMALL.dim, lengths, seed), device)
        for seed, (side, lengths) in enumerate(LENGTHS.items())
    }
    leaves: dict[str, Tensor] = {}
    for side, one in sides.items():
        leaves[f"{side} steps"], leaves[f"{side} vectors"] = one.steps, one.pooled
    for leaf in leaves.values():
        leaf.requires_grad_()
    matrix = fusion(sides["text"], sides["vision"], sides["audio"])
    weights = torch.linspace(-1, 1, matrix.numel(), device=device).view_as(matrix)
    wanted = leaves | {name: one for name, one in fusion.named_parameters() if one.requires_grad}
    gradients = torch.autograd.grad(
        (weights * matrix).sum(), list(wanted.values()), allow_unused=True
    )
    # All in one vector: a bias whose gradient cancels out would be compared with rounding.
    together = torch.cat([one.flatten() for one in gradients if one is not None])
    return {"similarity": matrix, "gradient": together}


def captions(device: torch.device, place: Path) -> Iterator[tuple[str, Check]]:
    """Teacher forcing, and captions written greedily and with beams, with and without a cut."""
    model = talkative(place)
    there = copy.deepcopy(model).to(device)
    with plainly():
        reference = forced_logits(model, CPU)
    found = {"float32": forced_logits(there, device)}
    with half(device):
        found["bfloat16"] = forced_logits(there, device)
    yield "teacher forcing", check(found, reference)
    ways = {"greedy": Decoding(beams=1), "5 beams": Decoding(beams=5)}
    ways["3 beams, mean"] = Decoding(beams=3, length_penalty=1.0)
    for name, decoding in ways.items():
        found = {"float32": written(there, device, decoding)}
        with half(device):
            found["bfloat16"] = written(there, device, decoding)
        with plainly():
            entry = {key: likelihoods(model, one) for key, one in found.items()}
            own = written(model, CPU, decoding)
        passed = all(one["error"] <= TOLERANCE[key][0] for key, one in entry.items())
        same = [a[0].tokens == b[0].tokens for a, b in zip(own, found["float32"], strict=True)]
        # Two captions may be as likely as one another, up to rounding: so words alone decide nothing.
        yield (
            name,
            {**entry, "best captions equal to the CPU's": sum(same) / len(same), "passed": passed},
        )


def talkative(place: Path) -> Embedder:
    """A model whose captions differ in length: with fresh weights all are cut."""
    _, model = captioned(SMALL, place)
    torch.manual_seed(0)
    assert model.captioner is not None
    with torch.no_grad():
        for part in (model.text, model.captioner):
            for value in part.parameters():
                nn.init.normal_(value, std=0.15)
        model.captioner.bias[model.word_encoder().end] += 4.0
    return model


def media(device: torch.device) -> tuple[Features, Features]:
    sides = ("vision", "audio")
    both = [features(SMALL.dim, LENGTHS[side], seed) for seed, side in enumerate(sides)]
    return moved(both[0], device), moved(both[1], device)


def forced_logits(model: Embedder, device: torch.device) -> dict[str, Tensor]:
    """Logits of known captions."""
    ids = clips(SMALL, len(LENGTHS["vision"]), CPU, words=True).words
    assert ids is not None
    with torch.inference_mode():
        return {"logits": forced(model, ids.values.to(device), *media(device))[0]}


def forced(
    model: Embedder, ids: Tensor, vision: Features, audio: Features
) -> tuple[Tensor, Tensor]:
    """Logits of each next token of captions, and these tokens."""
    mask = torch.ones_like(ids, dtype=torch.bool)
    encoder = model.word_encoder()
    text = encoder(encoder.trunk_features(Padded(ids[:, None], mask[:, :1])))
    assert model.captioner is not None
    words = model.captioner(text, Padded(ids, mask), vision, audio, encoder.table)
    return words.logits, words.targets


def written(
    model: Embedder, device: torch.device, decoding: Decoding
) -> list[list[GeneratedCaption]]:
    return write(model, *media(device), replace(decoding, longest=SMALL.tokens))


def likelihoods(model: Embedder, found: list[list[GeneratedCaption]]) -> dict[str, float]:
    """The largest error of captions' likelihoods, relative to teacher forcing on the CPU."""
    vision, audio = media(CPU)
    apart = [0.0 if len(found) == len(vision.mask) else float("inf")]
    for clip, captions_of_clip in enumerate(found):
        for caption in captions_of_clip:
            rows = (
                Features(one.pooled[[clip]], one.steps[[clip]], one.mask[[clip]])
                for one in (vision, audio)
            )
            with torch.inference_mode():
                logits, targets = forced(model, torch.tensor([caption.tokens]), *rows)
            exact = float(-F.cross_entropy(logits.double(), targets, reduction="sum"))
            apart.append(abs(caption.log_likelihood - exact) / abs(exact))
    return {"error": max(apart), "captions": len(apart) - 1}


class Step(nn.Module):
    """Model and objective: from a batch to its loss, as a training step computes it."""

    def __init__(self, experiment: Experiment, model: Embedder) -> None:
        super().__init__()
        choose_what_trains(model, experiment.stages[0])
        self.model = model
        self.objective = experiment.objective.build(experiment.terms)
        self.terms = experiment.terms

    def forward(self, batch: Batch, *, halved: bool = False) -> Tensor:
        """The loss; with `halved` the model runs in bfloat16, never the objective."""
        rows = torch.ones(len(batch.ids), dtype=torch.bool)
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=halved):
            embeddings = self.model(batch)
        return sum(self.objective(embeddings, dict.fromkeys(self.terms, rows)).values())


def steps(device: torch.device, place: Path) -> Iterator[tuple[str, Check]]:
    """Towers, heads and loss together: the loss and the gradient of all weights."""
    for name, made in {"pretraining": pretrained, "captioning": captioned}.items():
        words = name == "captioning"
        module = Step(*made(SMALL, place)).eval()
        with plainly():
            reference = step_values(module, CPU, words=words)
        module = module.to(device)
        found = {
            precision: step_values(module, device, words=words, halved=precision == "bfloat16")
            for precision in TOLERANCE
        }
        yield name, check(found, reference)


def step_values(
    module: nn.Module, device: torch.device, *, words: bool = False, halved: bool = False
) -> dict[str, Tensor]:
    """The loss, and the gradient of all weights as one vector."""
    module.zero_grad(set_to_none=True)
    loss = module(clips(SMALL, 8, device, words=words), halved=halved)
    loss.backward()
    return {"loss": loss.detach(), "gradient": gradient_of(module.parameters())}


def gradient_of(parameters: Iterable[nn.Parameter]) -> Tensor:
    return torch.cat([one.grad.flatten() for one in parameters if one.grad is not None])


def determinism(device: torch.device, place: Path) -> Iterator[tuple[str, Check]]:
    """The same bits in two runs: three steps of training with dropout, and captions.

    By default torch's fused attention adds gradients in any order on a GPU; a run that must repeat to
    the bit asks torch for deterministic algorithms, and so does the check. The default is reported.
    """
    repeats: dict[str, bool] = {}
    for strict in (False, True):
        torch.use_deterministic_algorithms(strict, warn_only=True)
        try:
            repeats["asked for" if strict else "by default"] = torch.equal(
                *(trained(device, place) for _ in range(2))
            )
        finally:
            torch.use_deterministic_algorithms(False)
    yield "weights after three steps", {"repeats": repeats, "passed": repeats["asked for"]}
    model = talkative(place).to(device)
    once, again = (written(model, device, Decoding()) for _ in range(2))
    yield "captions", {"passed": once == again}


def trained(device: torch.device, place: Path) -> Tensor:
    """All weights that trained for three steps with dropout in half precision."""
    experiment, model = captioned(SMALL, place)
    module = Step(experiment, model.to(device)).to(device).train()
    stage = experiment.stages[0]
    optimizer = build_optimizer(stage, model, module.objective)
    torch.manual_seed(0)
    batch = clips(SMALL, 8, device, words=True)
    for number in range(3):
        set_rate(optimizer, stage.optimizer, 300 + number, 1000)  # after the warm-up
        optimizer.zero_grad(set_to_none=True)
        module(batch, halved=True).backward()
        optimizer.step()
    return torch.cat([one.detach().flatten() for one in module.parameters() if one.requires_grad])


def one_rank(device: torch.device, place: Path) -> Iterator[tuple[str, Check]]:
    """DDP of one rank (NCCL on a GPU, Gloo on a CPU) gives the loss and gradients of none."""
    module = Step(*pretrained(SMALL, place)).eval().to(device)
    reference = step_values(module, device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        store = dist.FileStore(str(Path(folder) / "store"), 1)
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
        try:
            parallel = DistributedDataParallel(module, find_unused_parameters=True)
            found = {"float32": step_values(parallel, device)}
        finally:
            dist.destroy_process_group()
    yield f"DDP over {backend}", check(found, reference)
