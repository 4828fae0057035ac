"""`trichord import`: published checkpoints as finished runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from trichord.cli.console import aside, out
from trichord.cli.options import checked
from trichord.config import CLIP
from trichord.types.rules import InputFile, OutputFolder, Range

if TYPE_CHECKING:
    from trichord.checkpoint import Run

Place = Annotated[Path, tyro.conf.arg(metavar="RUN"), OutputFolder(empty=True)]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How a checkpoint of CLIP4VLA was trained."""

    fusion: Literal["global_to_global", "global_to_local", "tight", "local_to_local"] | None = None
    """As it was trained; global_to_local where it has a transformer for it, if not given."""
    audio_type: Annotated[float | Literal["none", "both", "clip"] | None, Range(0, 1)] = None
    """From verbal (0) to nonverbal (1); if not given 0.5, or 1 with a head for ESC-50, or none without
    tokens."""
    segments: Annotated[int, Range(1, 1000)] = 16
    """Of sound at most, from a clip's middle: MSR-VTT 16, VATEX and AudioCaps 6."""
    words: Annotated[int, Range(2, 1000)] = 32
    """Tokens of a text at most; captions of VATEX 48."""
    reads: tuple[Literal["vision", "audio"], ...] | None = None
    """What its captioner writes captions from; both if not given."""
    absent: Literal["masked", "zeros"] = "zeros"
    """Clips without sound: zero vectors as published, or the picture alone."""


AS_USUAL = Trained()


def published(arguments: list[str]) -> None:
    """`trichord import clip|clip4vla`."""
    kinds: dict[str, Callable[..., None]] = {"clip": checked(clip), "clip4vla": checked(clip4vla)}
    tyro.extras.subcommand_cli_from_dict(kinds, args=arguments, prog="trichord import")


globals()["import"] = published  # `main` calls a command by its name, and this one is a keyword


def clip(
    source: Annotated[str, tyro.conf.arg(metavar="FILE|HUB")],
    run: Place,
    /,
    *,
    tokenizer: str = CLIP,
    activation: Literal["quick_gelu", "gelu"] | None = None,
) -> None:
    """A CLIP -> a run with its text and vision towers and a fresh audio tower.

    Args:
        source: A state_dict (.safetensors, or a pickle without code), a folder, or a hub name.
        run: The run directory to make.
        tokenizer: For a state_dict: a folder, a hub name, or OpenAI's bpe_simple_vocab_16e6.txt[.gz].
        activation: For a state_dict; as the config beside it says, if not given. OpenAI's is quick_gelu.
    """
    from trichord.training.importing import import_clip

    report(import_clip(source, run, tokenizer=tokenizer, activation=activation))


def clip4vla(
    checkpoint: Annotated[Path, tyro.conf.arg(metavar="FILE"), InputFile()],
    run: Place,
    /,
    *,
    tokenizer: str = CLIP,
    recipe: Annotated[Trained, tyro.conf.arg(name="")] = AS_USUAL,
) -> None:
    """A checkpoint of CLIP4VLA's authors -> a run that is equal to their model.

    Args:
        checkpoint: pytorch_model.bin, or its tensors as .safetensors.
        run: The run directory to make.
        tokenizer: A folder, a hub name, or OpenAI's bpe_simple_vocab_16e6.txt[.gz].
        recipe: How it was trained.
    """
    from trichord.training.clip4vla_checkpoint import CheckpointOptions
    from trichord.training.importing import import_clip4vla

    asked = CheckpointOptions(
        fusion=recipe.fusion,
        token=recipe.audio_type,
        segments=recipe.segments,
        absent=recipe.absent,
        reads=recipe.reads,
        words=recipe.words,
    )
    report(import_clip4vla(checkpoint, run, tokenizer=tokenizer, options=asked))


def report(run: "Run") -> None:
    """Say what there is now, what was assumed, and what was left out."""
    from trichord.evaluation.classes.published_head import FILE as HEAD
    from trichord.training.importing import NOTES

    experiment = run.experiment()
    fusion = experiment.model.fusion
    how = getattr(fusion, "level", fusion.kind) if fusion else "none"
    writes, classifies = experiment.model.captioner is not None, (run.path / HEAD).is_file()
    more = [", with a captioner"] * writes + [", with a head for classes"] * classifies
    out.print(f"{run.path}: {experiment.system}, fusion {how}{''.join(more)}. Next:", markup=False)
    out.print(f"  trichord evaluate {run.path} MANIFEST", markup=False)
    if writes:
        out.print(f"  trichord caption {run.path} FILE...", markup=False)
    if classifies:
        out.print(f"  trichord probe {run.path} MANIFEST --method published", markup=False)
    for name, said in run.environment()[NOTES].items():
        aside.print(f"  {name}: {said}", markup=False, soft_wrap=True)
