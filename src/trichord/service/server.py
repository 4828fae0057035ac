"""Serving a collection over HTTP."""

import gc
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from trichord.service.allowance import Allowance
from trichord.types import UserError

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from trichord.models.embedder import Embedder
    from trichord.search.collection import StoredCollection
    from trichord.search.nearest import Settings
    from trichord.search.query_model import QueryModel

QUERY_SECONDS = 30.0
"""Time limit for decoding a client's file."""


class Listening(TypedDict, total=False):
    """Where to listen, and who has access.

    `host` is the address (127.0.0.1); other than loopback it needs a `token`, which every request must then
    have. `port` is 8000; 0 is any free one. `names` are further host names of requests. Pages of the sites
    `origins` may ask and read too. With `show_paths` clients see the full paths of files. With
    `open_folders` the page may have this machine open the folder of a file.
    """

    host: str
    port: int
    token: str | None
    names: Sequence[str]
    origins: Sequence[str]
    show_paths: bool
    open_folders: bool


def serve(
    where: str | Path,
    *,
    load: "Callable[[StoredCollection], Embedder | QueryModel]",
    roots: Sequence[Path] = (),
    settings: "Settings | None" = None,
    workers: int = 2,
    ready: Callable[[str], object] = lambda _: None,
    **where_to_listen: Unpack[Listening],
) -> None:
    """Serve a collection until it is interrupted.

    Args:
        where: The collection's folder, or `s3://bucket/prefix`.
        load: Loads the model of the collection.
        roots: Folders from which clients may add files.
        settings: Settings of the search in large collections; None: the defaults.
        workers: Processes that decode uploads.
        ready: Called with the address when the service listens.
        where_to_listen: See `Listening`.

    Raises:
        UserError: The address is open to others and there is no token, or folders are to be opened; it is
            in use; a root is not a folder; there is no such collection; or the extra `serve` is not
            installed.
    """
    _require_extra()
    from trichord.media.decoder import Decoder
    from trichord.media.plan import Limits
    from trichord.search.collection import StoredCollection
    from trichord.search.engine import SearchEngine
    from trichord.service.app import create
    from trichord.service.security import Access

    host, port = where_to_listen.get("host", "127.0.0.1"), where_to_listen.get("port", 8000)
    names, origins = (tuple(where_to_listen.get(name, ())) for name in ("names", "origins"))
    token, show_paths = where_to_listen.get("token"), where_to_listen.get("show_paths", False)
    opens = where_to_listen.get("open_folders", False)
    access = Access(host=host, token=token, names=names, origins=origins, open_folders=opens)
    folders = [_folder(root) for root in roots]
    collection = StoredCollection.open(where)
    with _listening(host, port) as listening:
        model = load(collection)
        limits = Limits(wall_seconds=QUERY_SECONDS, cpu_seconds=QUERY_SECONDS)
        with _frozen_garbage(), Decoder(workers=workers, limits=limits) as decoder:
            engine = SearchEngine(collection, model, decoder, settings=settings)
            server = server_of(create(engine, access=access, roots=folders, show_paths=show_paths))
            ready(_address(listening))
            server.run(sockets=[listening])


def server_of(app: "FastAPI", allowance: Allowance | None = None) -> "uvicorn.Server":
    """The HTTP server of an application.

    A reverse proxy must protect it from clients that send requests slowly: see docs/how-to/serve.md.
    """
    import uvicorn

    allowance = allowance or Allowance()
    settings: dict[str, Any] = {
        # The one of uvicorn's two parsers that limits heads, trailers and pipelined requests. The other
        # one, httptools, takes 5 % less processor time for a search.
        "http": "h11",
        "h11_max_incomplete_event_size": allowance.head_bytes,
        "limit_concurrency": allowance.connections,
        "timeout_keep_alive": allowance.keep_alive_seconds,
        "ws": "none",
        "access_log": False,  # it would log the page's token
        "log_level": "warning",
        "server_header": False,
        "timeout_graceful_shutdown": 5,
    }
    return uvicorn.Server(uvicorn.Config(app, **settings))


@contextmanager
def _frozen_garbage() -> Generator[None]:
    """Exclude existing objects (modules, the model) from garbage collection.

    Traversing them takes a quarter of a second, in which no request is answered. Galleries are created
    later, and are freed when the next one is loaded.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _require_extra() -> None:
    for name in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        if find_spec(name) is None:
            raise UserError(
                f"Serving needs {name}, which is not installed: pip install 'trichord[serve]'."
            )


def _folder(root: Path) -> Path:
    if not root.is_dir():
        raise UserError(f"--root {root} is not a folder: name the folder that holds the media.")
    return root.resolve()


def _listening(host: str, port: int) -> socket.socket:
    """A socket at the address, opened before anything heavy is loaded."""
    if not 0 <= port <= 65_535:  # some systems take the remainder
        raise UserError(f"--port {port}: choose a port from 0 (any that is free) to 65535.")
    try:
        addresses = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        family, _, _, _, address = addresses[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"--host {host} --port {port} cannot be listened on ({why}): choose another port."
        ) from error


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
