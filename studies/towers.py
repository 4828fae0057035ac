"""Towers at full size on a processor: what pays, and what it costs in cosine.

ViT-B/32's vision tower with random weights reads 16 pictures, and its text tower 16 captions, in the ways
below; the ways alternate, `ROUNDS` times each after a first call that does not count, on one thread. Time
is the process's own, the best of the rounds, beside a bare product of matrices measured in every round.
Ways that start with `ours` are what the product runs: `graph` and `int8 graph` are towers of `trichord
export`, the latter one step at a time, so that vectors do not depend on the batch; `at once` shows what
that costs. Cosines are to `transformers` in single precision.

With the stand-ins' trained weights the three forms of `trichord export` are compared with the towers on
clips and captions of the generated world, by the export's own check.

Patch dropout: a step (forward, backward, AdamW) of a small tower of ViT-B/16's grid, eight pictures.
Ragged clips: how many steps the trunk is given, and how many are real.

    python studies/towers.py [FOLDER]
"""

import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from record import record
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from trichord.checkpoint import fresh_model
from trichord.cli.main import main as trichord
from trichord.config import ClipText, ClipVision, Experiment
from trichord.corpora.manifest import read_manifest
from trichord.encoders.clip import ClipVisionEncoder
from trichord.encoders.encoder import Encoder
from trichord.encoders.graph import Graph, Sizes
from trichord.encoders.patch_dropout import drop_patches
from trichord.experiments import load_experiment
from trichord.exporting.folder import ExportSource, Form, export_run
from trichord.exporting.graphs import write_graph
from trichord.exporting.parity import QUERIES, compare
from trichord.media import Decoder
from trichord.media.plan import DecodeRequest
from trichord.types.tensors import Padded
from trichord_world.small import SmallClip, build_clip

BATCH, ROUNDS, PRODUCT = 16, 3, 1024
FORMS: tuple[Form, ...] = ("graph", "eight_bit", "bfloat16")
Way = Callable[[], Tensor]


def random_towers(place: Path) -> Path:
    """A `transformers` folder of ViT-B/32 with random weights and the published sizes."""
    towers = place / "random-vit-b-32"
    build_clip(SmallClip(side=224, patch=32), ("a dog barks",), towers, seed=0)
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config={"eos_token_id": 1})).save_pretrained(towers)
    return towers


def vit_flops(layers: int, width: int, tokens: int, patch: int) -> float:
    """Of one picture: four projections and a hidden layer of four widths, attention, patches."""
    block = 2 * 12 * width**2 * tokens + 4 * tokens**2 * width
    return layers * block + 2 * (tokens - 1) * 3 * patch**2 * width


def sgemm() -> float:
    """Operations a second of a bare product of matrices."""
    left, right = torch.randn(2, PRODUCT, PRODUCT)
    return 2 * PRODUCT**3 / spent(lambda: left @ right)


def spent(way: Way) -> float:
    start = time.process_time()
    way()
    return time.process_time() - start


def alternate(ways: dict[str, Way], flops: float) -> dict[str, Any]:
    """Rates, cosines to the first way and shares of the bare product's operations."""
    with torch.inference_mode():
        first, began = {}, {}
        for name, way in ways.items():
            start = time.perf_counter()  # compilers are other processes
            first[name] = way().float()
            began[name] = time.perf_counter() - start
        times: dict[str, list[float]] = {name: [] for name in ways}
        products = []
        for _ in range(ROUNDS):
            for name, way in ways.items():
                times[name].append(spent(way))
            products.append(sgemm())
    plain, *_ = ways
    bare = max(products)
    return {
        "bare product, GFLOP/s": round(bare / 1e9, 1),
        "ways": {
            name: {
                "a second": round(BATCH / min(all_), 2),
                "times plain": round(min(times[plain]) / min(all_), 2),
                "share of the bare product": round(BATCH * flops / min(all_) / bare, 2),
                "lowest cosine": round(
                    float(F.cosine_similarity(first[name], first[plain]).min()), 6
                ),
                "first call, s": round(began[name], 1),
            }
            for name, all_ in times.items()
        },
    }


def read(tower: Encoder, steps: Tensor) -> Tensor:
    """What the product does: trunk in portions, then the head."""
    return tower.head(tower.run_trunk(steps))


def as_graph(tower: Encoder, place: Path, *, eight_bit: bool) -> Graph:
    """The tower exported and read back as a trunk."""
    name = place / f"{type(tower).__name__}-{8 if eight_bit else 32}"
    write_graph(tower, Path(f"{name}.onnx"), eight_bit=eight_bit)
    known: Any = tower
    Sizes(dim=known.dim, width=known.dim).write(name)
    return Graph(str(name), getattr(tower, "_lengths", None))


def at_once(graph: Graph, steps: Tensor) -> Tensor:
    return torch.from_numpy(graph.session.run(None, {"steps": steps.numpy()})[0])


def vision(towers: Path, place: Path) -> dict[str, Any]:
    """All ways of ViT-B/32's vision tower."""
    steps = torch.randn(BATCH, 3, 224, 224)
    plain, eager = (
        CLIPVisionModelWithProjection.from_pretrained(towers, attn_implementation=kind).eval()
        for kind in ("sdpa", "eager")
    )

    def ours() -> ClipVisionEncoder:
        return ClipVision(name=str(towers)).build().eval()

    tower, halved, compiled, both = (ours() for _ in range(4))
    halved.set_arithmetic("bfloat16")
    both.set_arithmetic("bfloat16")
    for one in (compiled, both):
        one.compile_trunk()
    wide, narrow = (as_graph(tower, place, eight_bit=eight_bit) for eight_bit in (False, True))
    ways: dict[str, Way] = {
        "transformers": lambda: plain(pixel_values=steps).image_embeds,
        "transformers, eager attention": lambda: eager(pixel_values=steps).image_embeds,
        "torch, dynamic int8": dynamic(plain, steps),
        "ours": lambda: read(tower, steps),
        "ours, compiled": lambda: read(compiled, steps),
        "ours, bfloat16": lambda: read(halved, steps),
        "ours, bfloat16 compiled": lambda: read(both, steps),
        "ours, graph": lambda: wide(steps),
        "ours, int8 graph": lambda: narrow(steps),
        "int8 graph, at once": lambda: at_once(narrow, steps),
    }
    flops = vit_flops(12, 768, 50, 32)
    files = {name: one.file.stat().st_size for name, one in (("graph", wide), ("int8", narrow))}
    weights = sum(value.numel() * 4 for value in tower.state_dict().values())
    return {
        "GFLOP a picture": round(flops / 1e9, 2),
        "bytes of weights read a batch": weights,
        "bytes of files": files,
        **alternate(ways, flops),
    }


def dynamic(plain: nn.Module, steps: Tensor) -> Way:
    """Quantisation by torch itself, which it keeps for those who use it already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        narrow = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8)
    return lambda: narrow(pixel_values=steps).image_embeds


def text(towers: Path, place: Path) -> dict[str, Any]:
    """Ways of its text tower, on captions of twelve tokens."""
    tower = ClipText(name=str(towers)).build().eval()
    ids = torch.randint(2, 40_000, (BATCH, 12))
    ids[:, -1] = tower.end
    plain = CLIPTextModelWithProjection.from_pretrained(towers).eval()
    halved = ClipText(name=str(towers), arithmetic="bfloat16").build().eval()
    wide, narrow = (as_graph(tower, place, eight_bit=eight_bit) for eight_bit in (False, True))
    ways: dict[str, Way] = {
        "transformers": lambda: plain(input_ids=ids).text_embeds,
        "ours": lambda: read(tower, ids),
        "ours, bfloat16": lambda: read(halved, ids),
        "ours, graph": lambda: wide(ids),
        "ours, int8 graph": lambda: narrow(ids),
        "int8 graph, at once": lambda: at_once(narrow, ids),
    }
    flops = 12 * (2 * 12 * 512**2 * 12 + 4 * 12**2 * 512)
    return {"GFLOP a caption": round(flops / 1e9, 3), **alternate(ways, flops)}


def trained(place: Path) -> dict[str, Any]:
    """Cosines of exported stand-ins on clips and captions of the generated world."""
    world, manifest = place / "world", place / "clips.jsonl"
    trichord(["world", str(world), "--train", "4", "--val", "4", "--test", "16", "--seed", "11"])
    trichord(["prepare", "avcaps", str(world), str(manifest)])
    clips = read_manifest(manifest)
    experiment: Experiment = load_experiment("world-clip-clap")
    model = fresh_model(experiment)
    source = ExportSource(name="world-clip-clap", folder=None, experiment=experiment, model=model)
    captions = dict.fromkeys(caption.text for clip in clips for caption in clip.captions)
    texts = [*QUERIES, *captions][: 8 * BATCH]
    requests = [DecodeRequest(path=clip.path, plan=model.plan) for clip in clips]
    with Decoder(workers=1) as decoder:
        decoded = [one for [one] in decoder.decode_all(requests)]
    found: dict[str, Any] = {"clips": len(clips), "texts": len(texts)}
    for form in FORMS:
        with export_run(source, place / form, form) as run:
            named = zip([clip.id for clip in clips], decoded, strict=True)
            agreed = compare(model, run.load(), texts, named)
        found[form] = {
            name: {"lowest": round(one.lowest, 6), "mean": round(one.mean, 6)}
            for name, one in agreed.items()
        }
    return found


def patch_dropout() -> dict[str, Any]:
    """Steps a second of a small tower of ViT-B/16's grid, at three shares."""
    config = CLIPVisionConfig(
        hidden_size=192, intermediate_size=768, num_hidden_layers=6, num_attention_heads=6,
        patch_size=16,
    )  # fmt: skip
    torch.manual_seed(0)
    tower: Any = CLIPVisionModelWithProjection(config).train().vision_model
    optimizer = torch.optim.AdamW(tower.parameters(), fused=True)
    pixels = torch.randn(8, 3, 224, 224)

    def step(share: float) -> Tensor:
        hidden = tower.embeddings(pixels)
        hidden = drop_patches(hidden, share) if share else hidden
        read = tower.encoder(inputs_embeds=tower.pre_layrnorm(hidden)).last_hidden_state
        loss = tower.post_layernorm(read[:, 0]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    shares = (0.0, 0.5, 0.75)
    times: dict[float, list[float]] = {share: [] for share in shares}
    for number in range(ROUNDS + 1):
        for share in shares:
            took = spent(lambda share=share: step(share))
            if number:
                times[share].append(took)
    return {
        f"{share:g}": {
            "steps a second": round(1 / min(times[share]), 2),
            "times without": round(min(times[0.0]) / min(times[share]), 2),
        }
        for share in shares
    }


def ragged(towers: Path) -> dict[str, int]:
    """Frames that a trunk is given for clips of 3, 0, 12 and 1 of them, padded to twelve."""
    tower = ClipVision(name=str(towers)).build().eval()
    given = 0

    def count(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal given
        given += len(inputs[0])

    tower.trunk.register_forward_pre_hook(count)
    rows = [torch.randn(n, 3, 224, 224) for n in (3, 0, 12, 1)]
    padded = Padded.stack(rows)
    with torch.inference_mode():
        tower.trunk_features(padded)
        in_training, given = given, 0
        tower.trunk_features_of_rows(rows)
    return {
        "real": sum(map(len, rows)),
        "padded": padded.mask.numel(),
        "given in training": in_training,
        "given at inference": given,
        "bytes to the device in training": padded.values.nbytes,
        "bytes to the device at inference": sum(row.nbytes for row in rows),
    }


def main(place: Path) -> None:
    torch.set_num_threads(1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    towers = random_towers(place)
    torch.manual_seed(0)
    record(
        "towers",
        {
            "protocol": " ".join((__doc__ or "").split()),
            "pictures": vision(towers, place),
            "captions": text(towers, place),
            "trained stand-ins, cosines": trained(place),
            "patch dropout": patch_dropout(),
            "steps given to the trunk": ragged(towers),
        },
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with TemporaryDirectory() as folder:
            main(Path(folder))
