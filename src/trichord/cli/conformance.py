"""`trichord check-encoder`: the conformance suite of encoders."""

from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from trichord.cli.console import out
from trichord.types import UserError

if TYPE_CHECKING:
    from trichord.config import EncoderConfig


def check_encoder(arguments: list[str]) -> None:
    """`trichord check-encoder KIND [--FIELD VALUE ...]`.

    Raises:
        UserError: There is no such encoder, or its weights are missing.
        SystemExit: 1: it does not keep to the protocol.
    """
    from trichord.config import check

    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return
    kind, *options = arguments
    config = _config(kind)
    chosen = tyro.cli(
        config,
        args=options,
        prog=f"trichord check-encoder {kind}",
        description="Check an encoder: one line a check; exit code 1 where one fails.",
    )
    check(chosen, "--")

    from trichord.api.conformance import run_checks

    failed = False
    for one in run_checks(chosen):
        said = f"{one.status} {one.name}" + (f": {one.reason}" if one.reason else "")
        out.print(said, markup=False, highlight=False, soft_wrap=True)
        failed |= one.status == "FAIL"
    if failed:
        raise SystemExit(1)


def _config(given: str) -> "type[EncoderConfig]":
    """The config class of a kind, or of FILE.py:NAME.

    Raises:
        UserError: There is none.
    """
    from trichord.config import ENCODERS, EncoderConfig
    from trichord.types.plugins import provide_file

    path, _, name = given.rpartition(":")
    if not path.endswith(".py"):
        return ENCODERS.find(given)
    found = vars(provide_file(Path(path))).get(name)
    if isinstance(found, type) and issubclass(found, EncoderConfig):
        return found
    raise UserError(
        f"{given}: the file has no encoder config of that name: subclass EncoderConfig."
    )


def _help() -> str:
    from trichord.config import ENCODERS

    return f"""\
usage: trichord check-encoder KIND|FILE.py:CONFIG [--FIELD VALUE ...]

Does an encoder keep to the protocol? One line a check: shapes, determinism, batches,
padding, freezing, saving, fingerprint, export. The exit code is 1 where one fails.

KIND is one of {", ".join(ENCODERS.kinds())}.
'trichord check-encoder KIND --help' shows its fields."""
