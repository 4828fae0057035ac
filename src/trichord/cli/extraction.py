"""`trichord extract`: frozen towers read once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from trichord.api.model import CLIP_CLAP, device_of, fetch_towers, is_run, require_model
from trichord.bulk.options import ALONE, BulkOptions
from trichord.cli.console import aside, bar, counted, out
from trichord.cli.options import checked
from trichord.cli.parts import MODEL, choose_parts
from trichord.cli.places import ModelName, RunPlace
from trichord.cli.threads import leave_cores, load_embedder
from trichord.config import Experiment, TriModal
from trichord.experiments import load_experiment
from trichord.features.reading import folder_of, require_media
from trichord.types import MODALITIES, Clip, Modality
from trichord.types.rules import (
    Device,
    InputFile,
    OutputFolder,
    Workers,
    require,
    require_legal,
)

if TYPE_CHECKING:
    from trichord.bulk.shards import WorkerModel
    from trichord.features.store import FeatureFolder
    from trichord.models.embedder import Embedder


@dataclass(frozen=True, kw_only=True)
class Brought:
    """Trunk features computed elsewhere."""

    vision: Annotated[Path | None, InputFile()] = None
    """Of pictures, `.npz` or Parquet, by clip id."""
    audio: Annotated[Path | None, InputFile()] = None
    """The same for sound."""
    text: Annotated[Path | None, InputFile()] = None
    """The same for captions, by caption text."""


NOTHING_BROUGHT = Brought()


def extract(arguments: list[str]) -> None:
    """`trichord extract MANIFEST`."""
    chosen, arguments = with_encoders(arguments)

    def run(
        manifest: Annotated[Path, tyro.conf.arg(metavar="MANIFEST"), InputFile()],
        /,
        *,
        model: ModelName = CLIP_CLAP,
        features: Annotated[Path | None, OutputFolder(bucket=True)] = None,
        brought: Annotated[Brought, tyro.conf.arg(name="")] = NOTHING_BROUGHT,
        start: RunPlace | None = None,
        device: Device = "auto",
        workers: Workers = 2,
        sharing: Annotated[BulkOptions, tyro.conf.arg(name="")] = ALONE,
    ) -> None:
        """Decode each clip once and cache what the frozen towers make of it; goes on where it stopped.

        Args:
            manifest: Clips as JSON lines.
            model: A run, a named model, a folder of weights, hub:USER/NAME, or an experiment. As in
                'trichord train', --model.vision KIND, --model.vision.name FOLDER and the like choose
                other encoders.
            features: Where to, a folder or s3://bucket/prefix; beside the manifest if not given.
            brought: Trunk features computed elsewhere.
            start: A run whose weights the experiment starts from, as in 'trichord train --start'.
            device: cpu, cuda, or auto: a GPU if there is one.
            workers: Processes that decode.
            sharing: How the work is shared out.
        """
        from trichord.corpora.manifest import read_manifest

        require(
            start is None or not is_run(Path(model)),
            f"--start {start}: '{model}' is a run and has weights; leave it out.",
        )
        clips = read_manifest(manifest)  # before anything heavy is loaded
        subject = chosen or model
        fetch_towers(subject)

        from trichord.features.importing import import_features

        named = device_of(device)
        embedder = load_embedder(subject, start)
        if sharing.runner == "process":  # others load their own
            embedder = embedder.to(named)
            leave_cores(workers, named)
        folder = folder_of(manifest, features)
        for name in MODALITIES:
            path: Path | None = getattr(brought, name)
            if path is not None:
                count = import_features(embedder, name, path, clips, folder)
                aside.print(f"{path}: {count} {name} features brought in.", soft_wrap=True)
        towers = towers_of(subject, named, decoders_of(sharing, workers), start)
        extract_all(embedder, clips, folder, workers, shared=(sharing, towers))

    tyro.cli(checked(run), args=arguments, prog="trichord extract")


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """The options that choose encoders; the parser knows the fields of a default."""

    model: TriModal


def with_encoders(arguments: list[str]) -> tuple[Experiment | None, list[str]]:
    """The experiment of --model with the encoders that options choose, and the other arguments.

    None if no option chooses an encoder.

    Raises:
        UserError: No such experiment or encoder, or --model is a run.
    """
    first = next((word for word in arguments if word.startswith(f"{MODEL}.")), None)
    if first is None:
        return None, arguments
    name, rest = CLIP_CLAP, list[str]()
    words = iter(arguments)
    for word in words:  # of an option that is given twice, the last one counts
        option, equals, value = word.partition("=")
        if option == MODEL:
            name = value if equals else next(words, "")
        else:
            rest.append(word)
    require_model(name)
    require(
        not is_run(Path(name)),
        f"{first}: '{name}' is a run and has encoders: leave the option out.",
    )
    experiment = load_experiment(name)
    known, rest = choose_parts(Encoders(model=experiment.model), rest)
    encoders, rest = tyro.cli(
        Encoders,
        args=rest,
        default=known,
        return_unknown_args=True,
        config=(tyro.conf.AvoidSubcommands,),
        prog="trichord extract",
    )
    unknown = [word for word in rest if word.startswith(f"{MODEL}.")]
    require(
        not unknown,
        f"{'; '.join(unknown)}: no such option: 'trichord extract {first} --help' lists all.",
    )
    require_legal(encoders)
    return replace(experiment, model=encoders.model), [*rest, MODEL, name]


def decoders_of(sharing: BulkOptions, workers: int) -> int:
    """Decoding processes of each that works; says where they are not as many in all as asked for."""
    each = sharing.decoders(workers)
    count = each * sharing.jobs
    if sharing.runner != "process" and count != workers:
        aside.print(
            f"{count} processes decode, {each} for each of --jobs {sharing.jobs}, instead of "
            f"--workers {workers}.",
            soft_wrap=True,
        )
    return each


def towers_of(
    model: str | Experiment, device: str, decoders: int, start: Path | None = None
) -> "WorkerModel":
    """A run or experiment as another process loads it."""
    from trichord.bulk.shards import WorkerModel

    if isinstance(model, str) and is_run(Path(model)):
        return WorkerModel(model=Path(model).absolute(), device=device, decoders=decoders)
    known = load_experiment(model) if isinstance(model, str) else model
    named = replace(known, start=start.absolute()) if start else known
    return WorkerModel(model=named, device=device, decoders=decoders)


def extract_all(
    embedder: "Embedder",
    clips: "Sequence[Clip]",
    folder: "FeatureFolder",
    workers: int,
    modalities: "Sequence[Modality]" = MODALITIES,
    shared: "tuple[BulkOptions, WorkerModel] | None" = None,
) -> None:
    """Read what has no features yet, with a bar; say what there was.

    Args:
        embedder: The model.
        clips: With their captions.
        folder: Where to.
        workers: Processes that decode.
        modalities: Whose towers are read.
        shared: How the work is shared out, and the model as others load it; None: it is not.

    Raises:
        UserError: As for `require_media`, of the clips that are to be decoded.
    """
    from trichord.bulk.runner import run_extraction, runner_of
    from trichord.bulk.shards import extraction_of, shards_of_clips, shards_of_texts
    from trichord.features.extraction import to_decode
    from trichord.media import Decoder

    require_media(to_decode(embedder, clips, folder, modalities))

    captions = [caption.text for clip in clips for caption in clip.captions]
    texts = list(dict.fromkeys(captions)) if "text" in modalities else []
    cut = embedder.text.count_cut(texts) if texts else 0
    statuses: list[str] = []
    sharing, towers = shared or (ALONE, None)
    whole = extraction_of(embedder, folder, modalities, towers)
    count = 1 if sharing.alone else sharing.shards
    waves = {
        ("captions", len(texts)): shards_of_texts(whole, texts, count),
        ("clips", len(clips)): shards_of_clips(whole, clips, count),
    }
    if sharing.runner != "process":  # workers are to start once
        both = [shard for shards in waves.values() for shard in shards]
        waves = {("captions and clips", len(texts) + len(clips)): both}
    with Decoder(workers=workers) as decoder, runner_of(sharing, embedder, decoder) as runner:
        for (what, total), shards in waves.items():
            with bar(what, total) as moving:
                for part in run_extraction(runner, shards):
                    statuses += part.statuses if part.what == "media" else ()
                    moving.advance(len(part.statuses), None if part.what == "media" else part.what)
    out.print(
        f"{folder.name}: {len(clips)} clips ({counted(statuses)}), {len(texts)} captions.",
        markup=False,
    )
    if cut:
        out.print(
            f"  {cut} captions are longer than the text tower's {embedder.text.max_tokens} "
            "tokens and were cut."
        )
