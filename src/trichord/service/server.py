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
    from trichord.search.collection import Collection
    from trichord.search.nearest import Settings
    from trichord.search.query_model import QueryModel

QUERY_SECONDS = 30.0
"""That decoding a client's file may take."""


class Listening(TypedDict, total=False):
    """Where to listen, and to whom.

    `host` is the address (127.0.0.1), other than loopback only with a `token`, which every request
    must then show; `port` (8000) of 0 is any that is free; `names` are further host names that
    requests may use.
    """

    host: str
    port: int
    token: str | None
    names: Sequence[str]


def serve(
    where: str | Path,
    *,
    load: "Callable[[Collection], Embedder | QueryModel]",
    roots: Sequence[Path] = (),
    settings: "Settings | None" = None,
    workers: int = 2,
    ready: Callable[[str], object] = lambda _: None,
    **where_to_listen: Unpack[Listening],
) -> None:
    """Serve a collection until it is interrupted.

    Args:
        where: The collection's folder, or `s3://bucket/prefix`.
        load: Gives the model of the collection.
        roots: Folders from which clients may have files added.
        settings: Of what finds candidates in a large collection; the usual ones if None.
        workers: Processes that decode what clients send.
        ready: Called with the address once it is listened at.
        where_to_listen: See `Listening`.

    Raises:
        UserError: The address is open to others and there is no token, or it is taken; a root is no
            folder; there is no such collection; or the extra `serve` is not installed.
    """
    _require_extra()
    from trichord.media.decoder import Decoder
    from trichord.media.plan import Limits
    from trichord.search.collection import Collection
    from trichord.search.engine import SearchEngine
    from trichord.service.app import create
    from trichord.service.security import Access

    host, port = where_to_listen.get("host", "127.0.0.1"), where_to_listen.get("port", 8000)
    names = tuple(where_to_listen.get("names", ()))
    access = Access(host=host, token=where_to_listen.get("token"), names=names)
    folders = [_folder(root) for root in roots]
    collection = Collection.open(where)
    with _listening(host, port) as listening:
        model = load(collection)
        limits = Limits(wall_seconds=QUERY_SECONDS, cpu_seconds=QUERY_SECONDS)
        with _settled(), Decoder(workers=workers, limits=limits) as decoder:
            engine = SearchEngine(collection, model, decoder, settings=settings)
            server = server_of(create(engine, access=access, roots=folders))
            ready(_address(listening))
            server.run(sockets=[listening])


def server_of(app: "FastAPI", allowance: Allowance | None = None) -> "uvicorn.Server":
    """The server that answers an application's requests over sockets.

    Slow clients before the application sees a request are a reverse proxy's business: see
    docs/how-to/serve.md.
    """
    import uvicorn

    allowance = allowance or Allowance()
    settings: dict[str, Any] = {
        # Of uvicorn's two parsers the one that bounds heads, trailers and requests sent ahead. The other
        # one, httptools, takes 5 % less of a search's processor time.
        "http": "h11",
        "h11_max_incomplete_event_size": allowance.head_bytes,
        "limit_concurrency": allowance.connections,
        "timeout_keep_alive": allowance.keep_alive_seconds,
        "ws": "none",
        "access_log": False,  # it would write down the page's token
        "log_level": "warning",
        "server_header": False,
        "timeout_graceful_shutdown": 5,
    }
    return uvicorn.Server(uvicorn.Config(app, **settings))


@contextmanager
def _settled() -> Generator[None]:
    """Leave out of garbage collections what is there by now, modules and the model.

    Going through it takes a quarter of a second, in which nobody is answered. Galleries come later and
    are not left out: each goes once the next is there.
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
        raise UserError(f"--root {root} is no folder: name the folder that holds the media.")
    return root.resolve()


def _listening(host: str, port: int) -> socket.socket:
    """A socket at the address; taken before anything heavy is loaded."""
    if not 0 <= port <= 65_535:  # some systems take the remainder
        raise UserError(f"--port {port}: choose a port from 0 (any that is free) to 65535.")
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=512)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"--host {host} --port {port} cannot be listened at ({why}): choose another port."
        ) from error


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
