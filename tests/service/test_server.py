import asyncio
import contextlib
import gc
import json
import socket
import threading
import time
from http.client import HTTPConnection

import httpx
import pytest
import uvicorn

from trichord.service import serve
from trichord.service.allowance import Allowance
from trichord.service.security import Guard
from trichord.service.server import server_of
from trichord.types import UserError

SEARCH = {"parts": [{"text": "a red field"}]}
PATIENCE = 20.0
"""Seconds in which a slow machine does what takes milliseconds."""


def test_another_address_without_a_token_is_refused_before_anything_is_opened(tmp_path):
    with pytest.raises(UserError, match="--token"):
        serve(tmp_path / "nothing", load=lambda collection: None, host="0.0.0.0")


def test_a_collection_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="is not an archive"):
        serve(tmp_path / "nothing", load=lambda collection: None)


def test_a_root_is_a_folder(tmp_path):
    with pytest.raises(UserError, match="--root"):
        serve(tmp_path, load=lambda collection: None, roots=[tmp_path / "nothing"])


def test_a_port_that_is_taken_is_named(collection):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}"):
            serve(collection.name, load=lambda collection: None, port=port)


def test_a_missing_extra_is_named(collection, monkeypatch):
    monkeypatch.setattr("trichord.service.server.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'trichord\[serve\]'"):
        serve(collection.name, load=lambda collection: None)


def test_a_collection_is_served_until_the_end(collection, root, engine, monkeypatch):
    served, addresses, loaded, frozen = [], [], [], []

    def run(self, sockets):
        served.append((self.config, sockets[0].getsockname()))
        frozen.append(gc.get_freeze_count())

    monkeypatch.setattr(uvicorn.Server, "run", run)

    def load(collection):
        loaded.append(collection.description.run)
        return engine.model

    serve(collection.name, load=load, port=0, roots=[root], ready=addresses.append)
    [(config, (host, port))] = served
    assert loaded == ["/secret/runs/words"]
    assert addresses == [f"http://{host}:{port}/"]
    assert host == "127.0.0.1"
    assert not config.access_log
    assert frozen[0] > 10_000  # no collection goes through the modules while somebody waits
    assert gc.get_freeze_count() == 0
    assert config.app.state.archive.roots == (root.resolve(),)
    config.app.state.archive.close()


@pytest.fixture
def live(serving):
    """Starts servers; gives the address of each."""
    running = []

    def live(**limits):
        allowance = Allowance(**limits)
        app = serving(allowance=allowance)
        server = server_of(app, allowance)
        listening = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((server, thread, listening))
        return listening.getsockname(), app

    yield live
    for server, thread, listening in running:
        server.should_exit = True
        thread.join(PATIENCE)
        listening.close()


def talk(address, said, *, then=None):
    """Say something over a socket, and hear what comes until the other side ends it."""
    with socket.create_connection(address, timeout=PATIENCE) as line:
        line.sendall(said)
        if then is not None:
            then(line)
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while portion := line.recv(65536):
                heard += portion
        return heard


def post(path, length, body=b"", kind="application/json"):
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    return head.encode() + f"Content-Length: {length}\r\n\r\n".encode() + body


def test_ten_gigabytes_that_are_announced_are_refused_and_the_line_is_cut(live):
    address, _ = live()
    for path in ("/api/uploads", "/api/search"):
        heard = talk(address, post(path, 10_000_000_000))
        assert heard.startswith(b"HTTP/1.1 413 ")
        assert b'{"error":"The body is larger than ' in heard


def test_an_endless_body_is_refused_and_the_line_is_cut(live):
    address, _ = live()

    def go_on(line):
        with contextlib.suppress(OSError):
            for _ in range(1000):
                line.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    head = (
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    heard = talk(address, head, then=go_on)
    assert heard == b"" or heard.startswith(b"HTTP/1.1 413 ")


def test_nobody_is_waited_for_longer_than_half_a_minute():
    usual = Allowance()
    assert max(usual.body_seconds, usual.idle_seconds, usual.keep_alive_seconds) <= 30


def test_a_connection_that_is_silent_between_two_requests_is_closed(live):
    address, _ = live(keep_alive_seconds=1)
    assert talk(address, HEALTH + b"\r\n").count(b"HTTP/1.1 200 ") == 1


def test_a_body_that_does_not_come_is_not_waited_for(live):
    address, _ = live(idle_seconds=0.2)
    heard = talk(address, post("/api/search", 100, b"{"))
    assert heard.startswith(b"HTTP/1.1 408 ")


def test_an_answer_that_takes_its_time_is_not_cut(live, engine):
    address, _ = live(keep_alive_seconds=0)
    engine.gate.clear()
    threading.Timer(0.8, engine.gate.set).start()
    answer = httpx.post(f"http://{address[0]}:{address[1]}/api/search", json=SEARCH, timeout=60)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_a_malformed_head_is_refused(live, said):
    address, _ = live()
    heard = b""
    with contextlib.suppress(OSError):  # it may be cut while we are still talking
        heard = talk(address, said)
    assert heard == b"" or heard.startswith(b"HTTP/1.1 400 ")


HEALTH = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n"
LAST = HEALTH + b"Connection: close\r\n\r\n"
CHUNKED = (
    b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def padded(size):
    """A head of so many bytes."""
    return HEALTH + b"X: " + b"y" * (size - len(HEALTH) - 7) + b"\r\n\r\n"


@pytest.mark.parametrize(("size", "status"), [(1000, b"200"), (1300, b"400")])
def test_a_head_that_drips_is_at_most_so_long(live, size, status):
    address, _ = live(head_bytes=1000)
    with socket.create_connection(address, timeout=PATIENCE) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            for first in range(0, size, 300):
                line.sendall(padded(size)[first : first + 300])
                time.sleep(0.05)
        assert line.recv(65536).startswith(b"HTTP/1.1 " + status)


def test_each_head_of_a_connection_has_the_same_room_and_so_has_one_behind_a_body(live):
    address, _ = live(head_bytes=1000)
    search = json.dumps(SEARCH).encode() + b" " * 3000
    heard = talk(address, 2 * padded(900) + post("/api/search", len(search), search) + LAST)
    assert heard.count(b"HTTP/1.1 200 ") == 4


@pytest.mark.parametrize(
    "endless",
    [
        b"2\r\n{}\r\n0\r\nX: " + b"y" * 3000,  # a trailer
        b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 500,
        b"2;x=" + b"y" * 3000,  # an extension of a portion
    ],
)
def test_what_stands_between_and_behind_portions_of_a_body_has_an_end(live, endless):
    address, _ = live(head_bytes=1000)
    heard = talk(address, CHUNKED + endless)  # returns: the connection is closed
    assert heard.count(b"HTTP/1.1 ") <= 1
    assert b"HTTP/1.1 200 " not in heard


def test_a_trailer_is_no_part_of_the_head(live, monkeypatch):
    scopes = []
    examine = Guard._examine

    def watched(self, scope):
        scopes.append(scope)
        return examine(self, scope)

    monkeypatch.setattr(Guard, "_examine", watched)
    address, _ = live()
    search = json.dumps(SEARCH).encode()
    portion = b"%x\r\n" % len(search) + search + b"\r\n"
    heard = talk(address, CHUNKED + portion + b"0\r\nAuthorization: x\r\n\r\n" + LAST)
    assert heard.count(b"HTTP/1.1 200 ") == 2
    names = [name for name, _ in scopes[0]["headers"]]
    assert names == [b"host", b"content-type", b"transfer-encoding"]


def test_requests_that_are_sent_ahead_wait_for_their_turn(live, engine):
    address, _ = live()
    search = json.dumps(SEARCH).encode()
    engine.gate.clear()
    threading.Timer(0.3, engine.gate.set).start()
    said = post("/api/search", len(search), search) + 40 * (HEALTH + b"\r\n") + LAST
    assert talk(address, said).count(b"HTTP/1.1 200 ") == 42


def test_who_leaves_before_requests_sent_together_are_answered_is_no_mistake(live, engine, caplog):
    address, _ = live()
    search = json.dumps(SEARCH).encode()
    engine.gate.clear()
    talk(
        address,
        2 * post("/api/search", len(search), search),
        then=lambda line: line.shutdown(socket.SHUT_RDWR),
    )
    engine.gate.set()
    wait_for(lambda: engine.batches)
    assert talk(address, LAST).startswith(b"HTTP/1.1 200 ")
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: elsewhere\r\n"])
def test_a_request_names_its_host_once(live, hosts):
    address, _ = live()
    heard = talk(address, b"GET /api/health HTTP/1.1\r\n" + hosts + b"\r\n")
    assert heard.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Content-Length : 2\r\n",
        b"X: a\x00b\r\n",
    ],
)
def test_heads_that_two_readers_could_understand_differently_are_refused(live, head):
    address, _ = live()
    heard = talk(address, b"POST /api/search HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n{}")
    assert heard.startswith(b"HTTP/1.1 400 ")


def test_an_upload_that_breaks_off_leaves_nothing(live):
    address, app = live()
    archive = app.state.archive
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + b"x" * 5000
    )
    said = post("/api/uploads", 100_000, body, "multipart/form-data; boundary=edge")

    def running(count):
        return b"trichord_requests_running %d.0" % count in archive.metrics.exposition().body

    def leave(line):
        wait_for(lambda: running(1))
        line.shutdown(socket.SHUT_RDWR)

    talk(address, said, then=leave)
    wait_for(lambda: running(0))
    assert not list(archive.uploads.folder.iterdir())
    assert len(archive.uploads) == 0


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def health(line):
    line.request("GET", "/api/health")
    with line.getresponse() as answer:
        return answer.status, answer.headers, json.loads(answer.read())


def test_a_connection_too_many_is_refused(live):
    address, _ = live(connections=3)

    def lately():
        with contextlib.closing(HTTPConnection(*address, timeout=PATIENCE)) as line:
            line.request("GET", "/api/health")
            with line.getresponse() as answer:
                return answer.status

    with contextlib.closing(HTTPConnection(*address, timeout=PATIENCE)) as first:
        with contextlib.closing(HTTPConnection(*address, timeout=PATIENCE)) as second:
            assert (health(first)[0], health(second)[0]) == (200, 200)
            assert lately() == 503
        wait_for(lambda: lately() == 200)


def test_under_ten_times_its_load_it_says_so_and_recovers(live, engine):
    address, _ = live(requests=8, searches=8)

    async def ask(client):
        return await client.post("/api/search", json=SEARCH)

    async def crowd():
        limits = httpx.Limits(max_connections=200)
        base = f"http://{address[0]}:{address[1]}"
        async with httpx.AsyncClient(base_url=base, limits=limits, timeout=60) as client:
            engine.gate.clear()
            asyncio.get_running_loop().call_later(1.0, engine.gate.set)
            busy = await asyncio.gather(*(ask(client) for _ in range(80)))
            later = [await ask(client) for _ in range(5)]
            return busy, later

    busy, later = asyncio.run(crowd())
    codes = {answer.status_code for answer in busy}
    assert codes == {200, 503}
    assert all("retry-after" in answer.headers for answer in busy if answer.status_code == 503)
    assert [answer.status_code for answer in later] == [200] * 5
