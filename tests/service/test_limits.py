import asyncio

import httpx
import pytest

from trichord.service.allowance import Allowance

SEARCH = {"parts": [{"text": "a red field"}]}
JSON = {"Content-Type": "application/json"}


def exchange(app, portions, headers, path="/api/search", pause=0.0):
    """Send a body portion by portion; gives the response's start, and how many portions were taken."""
    taken, sent = 0, []

    async def receive():
        nonlocal taken
        await asyncio.sleep(pause)
        if taken >= len(portions):
            await asyncio.sleep(60)
        taken += 1
        return {"type": "http.request", "body": portions[taken - 1], "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": path, "scheme": "http",
        "query_string": b"", "client": ("127.0.0.1", 1), "root_path": "", "raw_path": path.encode(),
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"), *headers],
    }  # fmt: skip
    asyncio.run(asyncio.wait_for(app(scope, receive, send), 30))
    return sent[0], taken


def header(start, name):
    return dict(start["headers"]).get(name)


@pytest.mark.parametrize("path", ["/api/search", "/api/uploads", "/nowhere", "/api/health"])
def test_a_body_that_says_it_is_too_large_is_refused_unread(serving, path):
    start, taken = exchange(serving(), [b"x"], [(b"content-length", b"10000000000")], path)
    assert (start["status"], taken) == (413, 0)
    assert header(start, b"connection") == b"close"


@pytest.mark.parametrize("said", [b"-1", b"1e3", b"x", b"9" * 30, b""])
def test_a_length_that_is_no_number_is_refused(serving, said):
    start, taken = exchange(serving(), [], [(b"content-length", said)])
    assert (start["status"], taken) == (400, 0)


def test_a_body_of_no_said_length_is_refused_once_it_is_too_large(serving):
    app = serving(allowance=Allowance(body_bytes=1000))
    start, taken = exchange(app, [b"x" * 300] * 100, [(b"transfer-encoding", b"chunked")])
    assert (start["status"], taken) == (413, 4)
    assert header(start, b"connection") == b"close"


def test_a_body_that_lies_about_its_length_is_counted(serving):
    app = serving(allowance=Allowance(body_bytes=1000))
    start, taken = exchange(app, [b"x" * 600] * 100, [(b"content-length", b"10")])
    assert (start["status"], taken) == (413, 2)


def test_a_body_that_does_not_come_is_not_waited_for(serving):
    app = serving(allowance=Allowance(idle_seconds=0.05))
    start, _ = exchange(app, [], [(b"content-length", b"10")])
    assert start["status"] == 408
    assert header(start, b"connection") == b"close"


def test_a_body_that_drips_is_not_waited_for(serving):
    app = serving(allowance=Allowance(body_seconds=0.2))
    start, taken = exchange(app, [b" "] * 1000, [(b"content-length", b"1000")], pause=0.02)
    assert start["status"] == 408
    assert taken < 1000


def test_an_answer_before_the_bodys_end_ends_the_connection(serving):
    start, _ = exchange(serving(), [b"x"] * 5, [(b"content-length", b"50")], path="/nowhere")
    assert start["status"] == 404
    assert header(start, b"connection") == b"close"


def test_what_is_within_the_limits_is_answered(ask):
    assert ask("POST", "/api/search", json=SEARCH).status_code == 200


async def _statuses(app, count):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        asked = [client.post("/api/search", json=SEARCH, timeout=60) for _ in range(count)]
        return await asyncio.gather(*asked)


def test_beyond_so_many_requests_at_once_there_is_a_503_and_then_room_again(serving, engine):
    app = serving(allowance=Allowance(requests=5))

    async def crowd():
        engine.gate.clear()
        asyncio.get_running_loop().call_later(0.5, engine.gate.set)
        return await _statuses(app, 50)

    busy = asyncio.run(crowd())
    codes = [response.status_code for response in busy]
    assert sorted(set(codes)) == [200, 503]
    assert codes.count(200) == 5
    refused = next(response for response in busy if response.status_code == 503)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json() == {"error": "The server is busy: try again in a moment."}
    later = asyncio.run(_statuses(app, 5))
    assert [response.status_code for response in later] == [200] * 5


def test_health_is_answered_under_any_load(serving, engine):
    app = serving(allowance=Allowance(requests=0, streams=0))

    async def look():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [
                (await client.get(path)).status_code
                for path in ("/api/health", "/metrics", "/api/collection", "/api/media/" + "0" * 24)
            ]

    assert asyncio.run(look()) == [200, 200, 503, 503]
