"""`trichord reproduce`: a run made again, and whether the numbers agree."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from trichord.cli.console import out
from trichord.cli.options import checked
from trichord.cli.places import RunPlace
from trichord.cli.training import quiet_ddp, train
from trichord.types import UserError
from trichord.types.rules import Device, InputFile, OutputFolder, require
from trichord.types.threads import set_torch_threads

if TYPE_CHECKING:
    from trichord.checkpoint import Run


def reproduce(arguments: list[str]) -> None:
    """`trichord reproduce RUN [--into DIR]`."""

    def run(
        run: Annotated[RunPlace, tyro.conf.arg(metavar="RUN")],
        /,
        *,
        into: Annotated[Path | None, OutputFolder()] = None,
        manifest: Annotated[Path | None, InputFile()] = None,
        device: Device | None = None,
    ) -> None:
        """Train a run's experiment again, and say whether the numbers agree bit for bit.

        Says first what is not as it was: versions, code, towers, machine. The exit code is 0 where
        losses, criteria and weights agree, 1 where they do not.

        Args:
            run: The run directory, complete.
            into: The run directory to make; RUN-again if not given. Repeat the command to go on after
                an interruption.
            manifest: Where the manifest lies now, if it was moved.
            device: cpu, cuda, or auto: a GPU if there is one; as the run was trained if not given.
        """
        repeat(run, into or run.with_name(f"{run.resolve().name}-again"), manifest, device)

    tyro.cli(checked(run), args=arguments, prog="trichord reproduce")


def repeat(path: Path, into: Path, manifest: Path | None, device: str | None) -> None:
    """Train a run again into another directory and compare the two.

    Raises:
        UserError: There is nothing to compare with, or the manifest is gone or another one.
        SystemExit: 1: they do not agree.
    """
    quiet_ddp()

    from trichord.checkpoint import Run
    from trichord.training.reproduction import compare_runs, table

    held, again = Run(path), Run(into)
    require(
        held.experiment().stages,
        f"{path} was imported or left as pretrained: nothing was trained in it.",
    )
    require(
        held.complete,
        f"{path} is not finished: repeat its 'trichord train' command, then reproduce it.",
    )
    require(
        not again.complete,
        f"{into} holds a finished run: delete it, or choose another directory by --into.",
    )
    noted = held.environment()
    again_as = as_trained(path, into, manifest_of(held, noted, manifest), noted, device)
    leads = os.environ.get("RANK", "0") == "0"
    if leads:
        tell_differences(held, noted)
    train(again_as)
    if not leads:
        return
    found = compare_runs(held, again)
    out.print(table(found, held, again))
    out.print(f"{path}: {'reproduced,' if found.exact else 'not reproduced'} bit for bit.")
    if not found.exact:
        sys.exit(1)


def manifest_of(run: "Run", noted: dict[str, Any], given: Path | None) -> Path:
    """The manifest that a run was trained on.

    Raises:
        UserError: It is not known, gone, or another one now.
    """
    from trichord.media import file_signature

    origin = noted.get("origin") or {}
    if given is None and "path" not in origin:
        raise UserError(f"{run.path} did not note where its manifest lies: name it by --manifest.")
    path = given or Path(origin["path"])
    if not path.is_file():
        raise UserError(
            f"{path}, the manifest of {run.path}, is gone: name where it lies now by --manifest."
        )
    if file_signature(path) != noted.get("manifest"):
        raise UserError(
            f"{path} is not the manifest that {run.path} was trained on, or was changed since: "
            "restore it, or name the right one by --manifest."
        )
    return path


def as_trained(
    run: Path, into: Path, manifest: Path, noted: dict[str, Any], device: str | None
) -> list[str]:
    """The arguments of `trichord train` that make a run again, into another directory."""
    origin = noted.get("origin") or {}
    options = {
        "--from": origin.get("source", "features"),
        "--features": origin.get("features"),
        "--device": device or origin.get("device", "auto"),
    }
    arguments = [f"{run / 'experiment.json'}", f"{manifest}", f"{into}"]
    for option, value in options.items():
        arguments += [option, str(value)] if value is not None else []
    return [*arguments, *(["--sharding"] if origin.get("sharding") else [])]


def tell_differences(run: "Run", noted: dict[str, Any]) -> None:
    """Say what is not as it was when a run was trained; its number of threads is taken up."""
    from trichord.checkpoint.environment import differences, made_with

    if "threads" in noted:
        set_torch_threads(int(noted["threads"]))  # sums are taken in another order otherwise
    now = made_with(run.experiment()) | {"ranks": int(os.environ.get("WORLD_SIZE", "1"))}
    changes = differences(noted, now)
    if not changes:
        out.print("Versions, code, towers and machine are those that the run was made with.")
        return
    out.print("Not as it was when the run was made, so that the last bits may differ:")
    for line in changes:
        out.print(f"  {line}", markup=False)
