"""Export of a run: graphs, their preprocessing, and the description of a run."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from trichord.checkpoint import Progress, Run
from trichord.config import Cross, Experiment, TriModal, resolve_towers
from trichord.encoders.encoder import Encoder
from trichord.encoders.graph import Graph, Sizes
from trichord.exporting.graphs import require_exportable, write_graph
from trichord.models.embedder import Embedder
from trichord.types import Arithmetic, UserError

Form = Literal["graph", "eight_bit", "bfloat16"]
PREPARERS = ("tokenizer", "prompts", "processor", "extractor")
"""Attributes of an encoder that are saved beside its graph."""


@dataclass(frozen=True, kw_only=True)
class ExportSource:
    """A run or experiment to export.

    Attributes:
        name: Of the run or experiment.
        folder: The run's; None for an experiment.
        experiment: Its description.
        model: In evaluation mode, on the CPU.
    """

    name: str
    folder: Path | None
    experiment: Experiment
    model: Embedder


@contextmanager
def export_run(source: ExportSource, path: Path, form: Form) -> Generator[Run]:
    """Yield a run equal to the source, which is moved to `path` when the block ends without an error.

    Args:
        source: The run or experiment to export.
        path: The directory to write.
        form: ONNX graphs in float32 or with eight-bit matrices, or torch in bfloat16.

    Raises:
        UserError: `path` is not empty, an encoder is already a graph, or the fusion needs the text
            encoder's layers.
    """
    require_free(path)
    source.model.require_weights()
    for name, tower in source.model.encoders().items():
        if isinstance(tower.trunk, Graph):
            raise UserError(
                f"{source.name}: its {name} tower is a graph already: export the run that it came from."
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=".", suffix=".part") as place:
        run = Run(Path(place) / path.name)
        run.path.mkdir()
        if form == "bfloat16":
            _write_halved(source, run)
        else:
            _write_graphs(source, run, eight_bit=form == "eight_bit")
        weighting = None if source.folder is None else source.folder / "weighting.json"
        if weighting is not None and weighting.is_file():
            shutil.copy(weighting, run.path / weighting.name)
        yield run
        if path.is_dir():
            path.rmdir()
        run.path.rename(path)


def require_free(path: Path) -> None:
    """Require a new or empty directory.

    Raises:
        UserError: It is not empty.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} is not empty: choose another directory for the export.")


def _write_graphs(source: ExportSource, run: Run, *, eight_bit: bool) -> None:
    for name, tower in source.model.encoders().items():  # all of them before minutes go into one
        require_exportable(tower, run.path / f"{name}.onnx")
    model = _with_graphs(source.experiment.model, source.model)
    experiment = replace(source.experiment, model=model)
    _start(source, run, experiment, "eight_bit" if eight_bit else "graph")
    for name, tower in source.model.encoders().items():
        write_graph(tower, run.path / f"{name}.onnx", eight_bit=eight_bit)
        _write_preparation(tower, run.path / name)
    exported = resolve_towers(experiment, run.path).model.build().eval()
    if exported.fusion is not None and source.model.fusion is not None:
        try:
            exported.fusion.load_state_dict(source.model.fusion.state_dict())
        except RuntimeError as error:
            raise UserError(
                f"{source.name}: its fusion has layers of another size than its own options give, taken "
                "from the text tower: it cannot be exported; use --bf16."
            ) from error
    _finish(source, run, exported)


def _with_graphs(model: TriModal, exported: Embedder) -> TriModal:
    """The same model with encoders as graphs beside its description, and without captioner."""
    graphs: dict[str, Any] = {"arithmetic": "graph"}
    towers: dict[str, Any] = {
        name: replace(tower, name=f"./{name}", **graphs) for name, tower in model.towers().items()
    }
    fusion = model.fusion
    if isinstance(fusion, Cross) and fusion.from_text and fusion.form == "clip":
        # Its weights are in the run. It cannot start from the text encoder, whose layers are missing.
        trunk: Any = exported.text.trunk.model
        fusion = replace(fusion, from_text=False, heads=int(trunk.config.num_attention_heads))
    return replace(model, **towers, fusion=fusion, captioner=None)


def _write_preparation(tower: Encoder, folder: Path) -> None:
    """The preprocessing of an encoder, and its sizes."""
    folder.mkdir()
    for name in PREPARERS:
        if (preparer := getattr(tower, name, None)) is not None:
            preparer.save_pretrained(folder)
    positions = getattr(tower, "max_tokens", None) or 0
    Sizes(dim=tower.dim, width=tower.dim, positions=positions).write(folder)


def _write_halved(source: ExportSource, run: Run) -> None:
    """The same encoders, computed in bfloat16; those inside the run are copied."""
    towers: dict[str, Any] = {}
    copied_folders: set[Path] = set()
    for name, tower in source.experiment.model.towers().items():
        places = {one: Path(one) for one in tower.weight_names.values()}
        inside = {
            one: place
            for one, place in places.items()
            if source.folder is not None and place.is_dir() and place.is_relative_to(source.folder)
        }
        copied_folders.update(inside.values())
        tower = tower.renamed({one: f"./{place.name}" for one, place in inside.items()})
        towers[name] = replace(tower, arithmetic="bfloat16")
    experiment = replace(source.experiment, model=replace(source.experiment.model, **towers))
    _start(source, run, experiment, "bfloat16")
    for place in copied_folders:
        shutil.copytree(place, run.path / place.name)
    encoders = source.model.encoders().values()
    before: dict[Encoder, Arithmetic] = {one: one.arithmetic for one in encoders}
    for encoder in before:
        encoder.set_arithmetic("bfloat16")
    try:
        _finish(source, run, source.model)
    finally:
        for encoder, arithmetic in before.items():
            encoder.set_arithmetic(arithmetic)


def _start(source: ExportSource, run: Run, experiment: Experiment, form: Form) -> None:
    provenance = None
    if source.folder is not None:
        origin = Run(source.folder).provenance()
        provenance = replace(origin, settings=origin.settings | {"exported": form})
    run.start(experiment, f"exported from {source.name}", provenance)


def _finish(source: ExportSource, run: Run, model: Embedder) -> None:
    metrics = () if source.folder is None else tuple(Run(source.folder).metrics())
    run.finish(model, source.experiment.objective.build(), Progress(metrics=metrics))
