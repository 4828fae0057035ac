"""The command `export`: a run for deployment."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import tyro

from trichord.cli.console import aside, bar, out
from trichord.cli.options import require_unset
from trichord.cli.places import ModelName
from trichord.types.rules import (
    Distinct,
    InputPlace,
    OutputFolder,
    Range,
    Workers,
    require,
    require_legal,
)

if TYPE_CHECKING:
    from trichord.exporting.folder import ExportSource, Form
    from trichord.media import Decoded
    from trichord.media.plan import DecodePlan, Span
    from trichord.models.embedder import Embedder

    Compared = tuple[list[str], list[tuple[Path, Span]]]
    """Texts, and files with the span that is taken of each."""

Item = TypeVar("Item")
MANIFEST = ".jsonl"


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the towers of a run as ONNX graphs, and check that they give its vectors.

    The folder is a run as far as 'index', 'search', 'serve', 'extract' and 'evaluate' are concerned; it
    does not train. Its vectors and those of the run are not put into one archive.
    """

    model: Annotated[tyro.conf.Positional[ModelName], tyro.conf.arg(metavar="RUN|EXPERIMENT")]
    """A run, or an experiment such as 'clip-clap' for CLIP and CLAP as published."""
    folder: Annotated[
        tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER"), OutputFolder(empty=True)
    ]
    """The directory to make."""
    check: Annotated[tuple[Path, ...], InputPlace(), Distinct()] = ()
    """Media files, folders, and manifests with their captions to compare vectors of; noise and a few
    texts if not given."""
    clips: Annotated[int, Range(1, 1_000_000)] = 64
    """How many clips and captions to compare at most."""
    least: Annotated[float, Range(-1, 1)] = 0.999
    """The lowest cosine between a vector of the run and the exported one that is accepted."""
    int8: bool = False
    """Multiply in eight bits: about three times as fast on a CPU with VNNI, files a quarter the size."""
    bf16: bool = False
    """Stay in torch, in half precision: for GPUs, and for processors that multiply in bfloat16."""
    workers: Workers = 2
    """Processes that decode."""


def export(arguments: list[str]) -> None:
    """`trichord export RUN|EXPERIMENT FOLDER`."""
    options = tyro.cli(Export, args=arguments, prog="trichord export")
    require_legal(options)
    require(
        not (options.int8 and options.bf16), "--int8 and --bf16 exclude each other: choose one."
    )
    if not options.check:
        require_unset(options, "noise, which is compared without --check", "clips", "workers")
    held = _to_check(options)  # before anything heavy is loaded

    from trichord.exporting.folder import export_run

    source = _source(options.model)
    form: Form = "eight_bit" if options.int8 else "bfloat16" if options.bf16 else "graph"
    aside.print(f"Writing {', '.join(source.model.encoders())} ...", markup=False, soft_wrap=True)
    with export_run(source, options.folder, form) as run:
        sizes = {path.name: path.stat().st_size for path in sorted(run.path.glob("*.onnx"))}
        _check(options, held, source.model, run.load())
    if source.model.captioner is not None and not options.bf16:
        aside.print("  Its captioner stays behind: 'trichord caption' needs the run itself.")
    written = [f"{name} {size / 2**20:.1f} MiB" for name, size in sizes.items()]
    out.print(f"{options.folder}: {', '.join(written) or 'torch, bfloat16'}. Next:", markup=False)
    out.print(f"  trichord index PATH... ARCHIVE --model {options.folder}", markup=False)


def _source(model: str) -> "ExportSource":
    from trichord.api.model import is_run
    from trichord.checkpoint import Run
    from trichord.cli.threads import load_embedder
    from trichord.experiments import load_experiment
    from trichord.exporting.folder import ExportSource

    embedder = load_embedder(model)
    folder = Path(model) if is_run(Path(model)) else None
    experiment = Run(folder).experiment() if folder else load_experiment(model)
    return ExportSource(name=model, folder=folder, experiment=experiment, model=embedder)


def _to_check(options: Export) -> "Compared":
    """Of what the user named, as many as asked for, evenly chosen.

    Raises:
        UserError: A place is missing or has no media.
    """
    from trichord.corpora.manifest import read_manifest
    from trichord.search.survey import media_at

    manifests = [path for path in options.check if path.suffix == MANIFEST]
    places = [path for path in options.check if path.suffix != MANIFEST]
    known = [clip for path in manifests for clip in read_manifest(path)]
    texts = dict.fromkeys(caption.text for clip in known for caption in clip.captions)
    clips: list[tuple[Path, Span]] = [(Path(clip.path), (clip.start, clip.end)) for clip in known]
    clips += [(path, (0.0, None)) for path in (media_at(places) if places else ())]
    return _some(list(texts), options.clips), _some(clips, options.clips)


def _some(items: Sequence[Item], count: int) -> list[Item]:
    """At most so many, evenly chosen."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def _check(options: Export, held: "Compared", run: "Embedder", other: "Embedder") -> None:
    """Print how near the vectors are.

    Raises:
        UserError: A vector is too far away, or a named clip cannot be read.
    """
    from trichord.exporting.parity import QUERIES, compare, noise

    texts, clips = held
    decoded = _decoded(clips, run.plan, options.workers) if clips else noise(run)
    found = compare(run, other, texts or QUERIES, decoded)
    said = f"{len(texts)} captions" if texts else f"{len(QUERIES)} texts of our own"
    what = f"{len(clips)} clips" if clips else "noise, for want of --check"
    out.print(f"Cosines to {options.model}, on {what} and {said}:", markup=False)
    for name, one in found.items():
        out.print(f"  {name:<10} lowest {one.lowest:.6f}, mean {one.mean:.6f}", markup=False)
    for name, one in found.items():
        require(
            one.lowest >= options.least,
            f"the {name} tower has a cosine of {one.lowest:.4f} at '{one.worst}', below --least "
            f"{options.least:g}: {options.folder} is not written; lower --least or leave out --int8.",
        )


def _decoded(
    clips: "list[tuple[Path, Span]]", plan: "DecodePlan", workers: int
) -> "Iterator[tuple[str, Decoded]]":
    from trichord.media import Decoder
    from trichord.media.plan import DecodeRequest
    from trichord.media.probe import USABLE

    with Decoder(workers=workers) as decoder, bar("clips", len(clips)) as moving:
        requests = (DecodeRequest(path=path, spans=(span,), plan=plan) for path, span in clips)
        for (path, _), [one] in zip(clips, decoder.decode_all(requests), strict=True):
            moving.advance(note=path.name)
            if one.status in USABLE:
                yield str(path), one
            else:
                aside.print(f"  {path}: {one.label}", markup=False, soft_wrap=True)
