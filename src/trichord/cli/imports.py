"""`trichord import`: published checkpoints as finished runs."""

from collections.abc import Callable
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
) -> None:
    """OpenAI's CLIP -> a run with its text and vision towers and a fresh audio tower.

    Args:
        source: A state_dict (.safetensors, or a pickle without code), a folder, or a hub name.
        run: The run directory to make.
        tokenizer: For a state_dict: a folder, a hub name, or OpenAI's bpe_simple_vocab_16e6.txt[.gz].
    """
    from trichord.training.importing import import_clip

    report(import_clip(source, run, tokenizer=tokenizer))


def clip4vla(
    checkpoint: Annotated[Path, tyro.conf.arg(metavar="FILE"), InputFile()],
    run: Place,
    /,
    *,
    tokenizer: str = CLIP,
    fusion: Literal["global_to_global", "global_to_local", "tight", "local_to_local"] | None = None,
    sound_token: Annotated[float | Literal["none", "both", "clip"] | None, Range(0, 1)] = None,
    segments: Annotated[int, Range(1, 1000)] = 16,
    absent: Literal["masked", "zeros"] = "zeros",
) -> None:
    """A checkpoint of CLIP4VLA's authors -> a run that is equal to their model.

    Args:
        checkpoint: pytorch_model.bin, or its tensors as .safetensors.
        run: The run directory to make.
        tokenizer: A folder, a hub name, or OpenAI's bpe_simple_vocab_16e6.txt[.gz].
        fusion: As it was trained; global_to_local where it has a transformer for it, if not given.
        sound_token: From verbal (0) to nonverbal (1); 0.5, or none without tokens, if not given.
        segments: Of sound at most, from a clip's middle: MSR-VTT 16, VATEX and AudioCaps 6.
        absent: Clips without sound: zero vectors as published, or sight alone.
    """
    from trichord.training.importing import Recipe, import_clip4vla

    recipe = Recipe(fusion=fusion, token=sound_token, segments=segments, absent=absent)
    report(import_clip4vla(checkpoint, run, tokenizer=tokenizer, recipe=recipe))


def report(run: "Run") -> None:
    """Say what there is now, and what the checkpoint held besides."""
    from trichord.training.importing import CAPTIONER, PROBE

    experiment = run.experiment()
    fusion = experiment.model.fusion
    how = getattr(fusion, "level", fusion.kind) if fusion else "none"
    out.print(f"{run.path}: {experiment.system}, fusion {how}. Next:", markup=False)
    out.print(f"  trichord evaluate {run.path} MANIFEST", markup=False)
    for name in (CAPTIONER, PROBE):
        if (run.path / name).is_file():
            aside.print(f"  {name}: kept for later, nothing reads it yet.", markup=False)
