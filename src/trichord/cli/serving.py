"""The command that serves a collection: `serve`."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from trichord.cli.console import out
from trichord.cli.options import checked
from trichord.cli.places import CollectionPlace, require_backend
from trichord.types import UserError
from trichord.types.rules import Checked, Distinct, InputFile, InputFolder, Range, Spelling, Workers

TOKEN = "TRICHORD_TOKEN"
HOST_NAME = Spelling(
    r"[A-Za-z0-9][\w.-]*|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*",
    "a host name or an address, without a port",
)
"""Requests are compared with it after their port is taken off: with one it would match none."""


def serve(arguments: list[str]) -> None:
    """`trichord serve ARCHIVE`."""

    def run(
        collection: Annotated[CollectionPlace, tyro.conf.arg(metavar="ARCHIVE")],
        /,
        *,
        host: Annotated[str, Spelling(r"\S+", "an address or a host name")] = "127.0.0.1",
        port: Annotated[int, Range(0, 65_535)] = 8000,
        token_file: Annotated[Path | None, InputFile()] = None,
        root: Annotated[tuple[Path, ...], InputFolder(), Distinct()] = (),
        name: Annotated[tuple[str, ...], HOST_NAME, Distinct()] = (),
        backend: Annotated[str | None, Checked(require_backend)] = None,
        workers: Workers = 2,
    ) -> None:
        """Search an archive in the browser and over HTTP, until interrupted.

        It listens to this machine alone unless --host says otherwise; then every request must show a
        token, which is read from --token-file or from the environment variable TRICHORD_TOKEN.

        Args:
            collection: What 'trichord index' made: a folder or s3://bucket/prefix.
            host: Address to listen at.
            port: Port to listen at; 0 takes a free one.
            token_file: A file whose first line is the token.
            root: Folders from which files may be added over HTTP.
            name: Further host names under which it may be asked for.
            backend: What finds candidates in a large archive: faiss-scan, or one of a package or
                --plugin.
            workers: Processes that decode.
        """
        from trichord.api.collection_model import persistent_model_of
        from trichord.cli.threads import load_embedder
        from trichord.search.nearest import settings_for_backend
        from trichord.service.server import serve as listen

        listen(
            collection,
            load=partial(persistent_model_of, load=load_embedder),
            host=host,
            port=port,
            token=_token(token_file),
            roots=root,
            names=name,
            settings=settings_for_backend(backend),
            workers=workers,
            ready=lambda address: out.print(f"{address} (Ctrl-C ends it)", markup=False),
        )

    tyro.cli(checked(run), args=arguments, prog="trichord serve")


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
