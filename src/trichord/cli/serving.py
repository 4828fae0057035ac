"""The command that serves an archive: `serve`."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from trichord.cli.console import out
from trichord.cli.places import CollectionPlace, require_backend
from trichord.types import UserError
from trichord.types.rules import (
    Checked,
    Device,
    Distinct,
    InputFile,
    InputFolder,
    Range,
    Spelling,
    Workers,
    require_legal,
)

TOKEN = "TRICHORD_TOKEN"
HOST_NAME = Spelling(
    r"[A-Za-z0-9][\w.-]*|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*",
    "a host name or an address, without a port",
)
"""Requests are compared with it after their port is taken off: with one it would match none."""


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Search an archive in the browser and over HTTP, until interrupted.

    It listens to this machine alone unless --host says otherwise; then every request must show a
    token, which is read from --token-file or from the environment variable TRICHORD_TOKEN.
    """

    collection: Annotated[tyro.conf.Positional[CollectionPlace], tyro.conf.arg(metavar="ARCHIVE")]
    """What 'trichord index' made: a folder or s3://bucket/prefix."""
    host: Annotated[str, Spelling(r"\S+", "an address or a host name")] = "127.0.0.1"
    """Address to listen at."""
    port: Annotated[int, Range(0, 65_535)] = 8000
    """Port to listen at; 0 takes a free one."""
    token_file: Annotated[Path | None, InputFile()] = None
    """A file whose first line is the token."""
    root: Annotated[tuple[Path, ...], InputFolder(), Distinct()] = ()
    """Folders from which files may be added over HTTP."""
    name: Annotated[tuple[str, ...], HOST_NAME, Distinct()] = ()
    """Further host names under which it may be asked for."""
    allow_origin: Annotated[tuple[str, ...], Distinct()] = ()
    """Other sites whose pages may use the API, such as https://example.org; where there is a token, they
    must send it."""
    show_paths: bool = False
    """Show the full paths of files, so that the page can copy them; otherwise clients see paths below
    --root, or below the common folder of all files."""
    open_folders: bool = False
    """Let the page open the folder of a file in this machine's file manager. Only where the service listens
    to this machine alone, without --name and --allow-origin."""
    backend: Annotated[str | None, Checked(require_backend)] = None
    """What finds candidates in a large archive: faiss-scan, or one of a package or --plugin."""
    device: Device = "auto"
    """Of the model: cpu, cuda, or auto: a GPU if there is one. Without torch it is the processor."""
    workers: Workers = 2
    """Processes that decode."""


def serve(arguments: list[str]) -> None:
    """`trichord serve ARCHIVE`."""
    options = tyro.cli(Serve, args=arguments, prog="trichord serve")
    require_legal(options)
    from trichord.api.collection_model import persistent_model_of
    from trichord.cli.threads import loader_on
    from trichord.search.nearest import settings_for_backend
    from trichord.service.server import serve as listen

    listen(
        options.collection,
        load=partial(persistent_model_of, load=loader_on(options.device)),
        host=options.host,
        port=options.port,
        token=_token(options.token_file),
        roots=options.root,
        names=options.name,
        origins=options.allow_origin,
        show_paths=options.show_paths,
        open_folders=options.open_folders,
        settings=settings_for_backend(options.backend),
        workers=options.workers,
        ready=lambda address: out.print(f"{address} (Ctrl-C ends it)", markup=False),
    )


def _token(file: Path | None) -> str | None:
    """The token; never an option itself, which every process of the machine could read."""
    if file is None:
        return os.environ.get(TOKEN) or None
    try:
        first = file.read_text().splitlines()[:1]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--token-file {file} cannot be read: {error}") from error
    if not first or not first[0].strip():
        raise UserError(f"--token-file {file} is empty: write the token into its first line.")
    return first[0].strip()
