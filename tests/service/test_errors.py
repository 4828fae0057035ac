"""Bad input of every kind: the right code, one clear sentence, and nothing leaked."""

import asyncio
import json
import socket
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pytest

SECRET = "a secret of the server"
CLIMBS = [
    "../secret", "../../secret", "../" * 12 + "etc/passwd", "..\\..\\secret", "..%2f..%2fsecret",
    "%2e%2e/%2e%2e/secret", "%2e%2e%2fsecret", "%252e%252e%252fsecret", "..%c0%af..%c0%afsecret",
    "..%ef%bc%8fsecret", "....//....//secret", "..;/..;/secret", "/etc/passwd", "//etc/passwd",
    "%2fetc%2fpasswd", "file:///etc/passwd", "C:\\Windows\\win.ini", "\\\\host\\share", "~/secret",
    "~root/.ssh/id_rsa", "secret%00", "secret%00.mp4", "..%00/secret", "/proc/self/environ",
    "/proc/self/fd/0", "/dev/stdin", "/dev/zero", ".", "..", "./secret", "%2e", "%2e%2e", "...",
    "secret/", "secret/.", "./././secret", "a/../../secret", "a/b/c/../../../../secret",
    "%u002e%u002e/secret", "..%5csecret", "..%255csecret", "%c0%ae%c0%ae/secret", "..%09/secret",
    "..%0d%0a/secret", "${HOME}/secret", "$(cat secret)", "`cat secret`", "|cat secret",
    "' OR '1'='1", "*", "?", "[a-z]*", "%", "%%", "%zz", "\u2024\u2024/secret", "\uff0e\uff0e/secret",
]  # fmt: skip


@pytest.fixture
def secret(tmp_path):
    """A file beside the archive, and the answers in which no part of it may appear."""
    (tmp_path / "secret").write_text(SECRET)
    return tmp_path


def keeps_silent(response, place):
    text = response.text
    assert SECRET not in text
    assert "root:" not in text
    assert str(place) not in text
    assert "Traceback" not in text


def test_there_are_fifty_climbs():
    assert len(set(CLIMBS)) >= 50


@pytest.mark.parametrize(
    "route", ["/api/media/", "/api/thumbnails/", "/api/jobs/", "/static/", "/"]
)
def test_no_path_in_an_address_leads_anywhere(serving, secret, route):
    """As a server hands it on: clients such as httpx tidy an address before they send it."""
    app = serving()
    for one in [*CLIMBS, *map(unquote, CLIMBS), *(unquote(unquote(one)) for one in CLIMBS)]:
        status, kind, text = handed_on(app, route + one)
        assert SECRET not in text
        assert "root:" not in text
        assert str(secret) not in text
        assert status in (404, 405, 422), one
        assert kind == "application/json"
        assert set(json.loads(text)) == {"error"}


def handed_on(app, path):
    """Status, media type and text of an answer to a GET of exactly this path."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "path": path, "scheme": "http",
        "query_string": b"", "client": ("127.0.0.1", 1), "root_path": "", "raw_path": b"/",
        "headers": [(b"host", b"localhost")],
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    start, *portions = sent
    text = b"".join(one.get("body", b"") for one in portions).decode()
    return start["status"], dict(start["headers"])[b"content-type"].decode(), text


def test_no_path_to_be_added_leads_out_of_the_roots(requests, secret):
    climbs = [one for one in CLIMBS if one not in (".", "...", "*", "?", "%2e")]
    asked = [("POST", "/api/add", {"json": {"paths": [one]}}) for one in climbs]
    for response in requests(asked):
        keeps_silent(response, secret)
        assert response.status_code == 400
        assert response.json() == {
            "error": "A path is not in the folders that may be added from, or is not there."
        }


def test_no_path_to_be_filtered_by_says_anything(requests, secret):
    body = {"parts": [{"text": "x"}]}
    asked = [("POST", "/api/search", {"json": {**body, "where": {"path": one}}}) for one in CLIMBS]
    for response in requests(asked):
        keeps_silent(response, secret)
        assert response.status_code in (200, 400, 422)


def test_folders_above_the_roots_cannot_be_guessed(found, root):
    """A filter that matched whole paths would say yes to the right name and no to any other."""
    above = [part for part in root.parts if part != "/"]
    guesses = [
        *above,
        "/".join(above[-2:]),
        f"{root.name}/more",
        *(f"*{one[:3]}*" for one in above),
    ]
    guesses += [f"[/]{'/'.join(above)}/*", "?" * len(str(root)) + "/*", f"*{root.name}/*.mp4"]
    shown = ("red.mp4", "still.png", "more/tone.wav")
    for guess in guesses:
        if not any(guess.strip("*") in name for name in shown):
            assert found("x", where={"path": guess}) == [], guess


def test_nothing_can_be_added_without_roots(ask):
    response = ask("POST", "/api/add", options={"roots": ()}, json={"paths": ["/"]})
    assert response.status_code == 400
    assert "--root" in response.json()["error"]


def test_script_in_names_and_captions_comes_back_as_inert_json(
    requests, collection, root, engine, rendered, noted
):
    evil = "<script>alert(1)<\u2215script>\"'`;--.mp4"
    path = root / evil
    path.write_bytes((rendered / "red.mp4").read_bytes())
    said = "</script><img src=x onerror=alert(1)> \u2028 {{7*7}}"
    file = noted(path, [said])
    [entry] = file.entries
    collection.table.put([replace(file, entries=(replace(entry, tags=("<b>bold</b>",)),))])
    engine.refresh()
    search = ("POST", "/api/search", {"json": {"parts": [{"text": said}]}})
    found, listed = requests([search, ("GET", "/api/collection", {})])
    hit = found.json()["hits"][0]
    assert hit["name"] == evil
    assert hit["caption"] == said
    assert hit["tags"] == ["<b>bold</b>"]
    assert "<b>bold</b>" in listed.json()["tags"]
    for response in (found, listed):
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "script-src" not in response.headers["content-security-policy"]
    (media,) = requests([("GET", hit["media"], {})])
    assert media.headers["content-type"] == "video/mp4"
    assert media.headers["content-disposition"] == "inline"
    assert media.headers["content-security-policy"].startswith("default-src 'none'; img-src 'self'")
    assert "script-src" not in media.headers["content-security-policy"]


def test_vectors_that_are_no_numbers_break_nothing(ask, collection, root, engine, found):
    [file] = collection.table.read_files([str(root / "red.mp4")])
    bad = np.full(8, np.nan, np.float32)
    spoiled = (replace(file.entries[0], vision=bad), *file.entries[1:])
    collection.table.put([replace(file, entries=spoiled)])
    engine.refresh()
    response = ask("POST", "/api/search", json={"parts": [{"text": "a redder field"}], "k": 100})
    assert response.status_code == 200
    assert "NaN" not in response.text
    hits = response.json()["hits"]
    assert all(np.isfinite(hit["score"]) for hit in hits)
    assert len({hit["name"] for hit in hits}) > 1  # the others are found as before


BAD_BODIES = {
    "NaN": b'{"parts":[{"text":"x"}],"visual_weight":NaN}',
    "Infinity": b'{"parts":[{"text":"x","weight":Infinity}]}',
    "too large a number": b'{"parts":[{"text":"x"}],"audio_weight":1e999}',
    "100 kB of text": json.dumps({"parts": [{"text": "x" * 100_000}]}).encode(),
    "no text": b'{"parts":[{"text":""}]}',
    "no part": b'{"parts":[]}',
    "no parts": b"{}",
    "an empty part": b'{"parts":[{}]}',
    "two in a part": b'{"parts":[{"text":"x","moment":"00"}]}',
    "17 parts": json.dumps({"parts": [{"text": "x"}] * 17}).encode(),
    "k of 0": b'{"parts":[{"text":"x"}],"k":0}',
    "k of 1001": b'{"parts":[{"text":"x"}],"k":1001}',
    "k of a text": b'{"parts":[{"text":"x"}],"k":"many"}',
    "k as a text": b'{"parts":[{"text":"x"}],"k":"5"}',
    "k of half": b'{"parts":[{"text":"x"}],"k":1.5}',
    "a truth for a number": b'{"parts":[{"text":"x"}],"visual_weight":true}',
    "a number for a truth": b'{"parts":[{"text":"x"}],"group":1}',
    "a number for a time": b'{"parts":[{"text":"x"}],"where":{"since":1700000000}}',
    "seconds for a time": b'{"parts":[{"text":"x"}],"where":{"since":"1700000000"}}',
    "an unknown name": b'{"parts":[{"text":"x"}],"limit":5}',
    "an unknown name in a part": b'{"parts":[{"text":"x","file":"/etc/passwd"}]}',
    "an audio type token beyond 1": b'{"parts":[{"text":"x"}],"audio_type":1.5}',
    "a weight below 0": b'{"parts":[{"text":"x"}],"visual_weight":-1}',
    "a path as a moment": b'{"parts":[{"moment":"../../etc/passwd"}]}',
    "a path as an upload": b'{"parts":[{"upload":"/etc/passwd"}]}',
    "a time out of the calendar": b'{"parts":[{"text":"x"}],"where":{"since":"0001-01-01T00:00:00"}}',
    "no JSON": b"hello",
    "half of it": b'{"parts":[{"text":"x"',
    "nothing": b"",
    "an array": b"[]",
    "a number": b"1",
    "depth": b"[" * 100_000,
    "bytes": b"\xff\xfe\x00",
    "a lone surrogate's half": b'{"parts":[{"text":"\\ud800"}]}',
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_gets_one_clear_sentence(ask, name):
    headers = {"Content-Type": "application/json"}
    response = ask("POST", "/api/search", content=BAD_BODIES[name], headers=headers)
    assert response.status_code in (400, 422)
    said = response.json()
    assert set(said) == {"error"}
    assert 10 < len(said["error"]) <= 300
    assert "\n" not in said["error"]


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_ten_thousand_form_fields_are_no_search(ask, kind):
    body = "&".join(f"a{i}=b" for i in range(10_000)).encode()
    response = ask("POST", "/api/search", content=body, headers={"Content-Type": kind})
    assert response.status_code == 422
    upload = ask("POST", "/api/uploads", content=body, headers={"Content-Type": kind})
    assert upload.status_code == 415


def test_ten_thousand_fields_are_no_upload(ask):
    fields = {f"field{i}": (None, "x") for i in range(10_000)}
    response = ask("POST", "/api/uploads", files=fields)
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"parts": [{"moment": "0" * 40}]}, 404),
        ({"parts": [{"moment": "0" * 39}]}, 404),
        ({"parts": [{"upload": "0" * 32}]}, 404),
        ({"parts": [{"text": "   "}]}, 400),
        ({"parts": [{"text": "-leash"}]}, 400),
        ({"parts": [{"text": "x"}], "visual_weight": 0, "audio_weight": 0}, 400),
        ({"parts": [{"text": "x"}], "audio_type": 0.5}, 400),
        ({"parts": [{"text": "x"}], "where": {"min_duration": 5, "max_duration": 2}}, 400),
    ],
)
def test_a_search_that_cannot_be_answered_says_why(ask, collection, body, status):
    response = ask("POST", "/api/search", json=body)
    assert response.status_code == status
    assert collection.name not in response.text
    assert "/" not in response.json()["error"].replace("and/or", "")


def test_whole_numbers_may_have_a_point_as_in_json(found):
    assert len(found("x", k=2.0)) == 2


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/search", "POST"),
        ("/api/media/" + "0" * 24, "GET, HEAD"),
        ("/api/jobs/" + "0" * 24, "GET"),
        ("/openapi.json", "GET, HEAD"),
        ("/static/page.js", "GET, HEAD"),
    ],
)
def test_another_method_is_told_which_there_are(ask, path, allowed):
    response = ask("PUT", path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)


ELSEWHERE = [
    "http://127.0.0.1:{port}/x.mp4", "HTTP://localhost:{port}/x.mp4", "http://0x7f000001:{port}/",
    "http://017700000001:{port}/", "http://2130706433:{port}/", "http://[::ffff:127.0.0.1]:{port}/",
    "http://127.1:{port}/", "http://169.254.169.254/latest/meta-data/", "tcp://127.0.0.1:{port}",
    "rtsp://127.0.0.1:{port}/x", "concat:http://127.0.0.1:{port}/x", "//127.0.0.1:{port}/x.mp4",
    "hls+http://127.0.0.1:{port}/x.m3u8", "crypto+http://127.0.0.1:{port}/x", "s3://127.0.0.1:{port}/x",
]  # fmt: skip
PLAYLISTS = [
    "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
    "ffconcat version 1.0\nfile {url}\n",
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n",
    "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><Period><AdaptationSet>"
    "<Representation><BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "<svg xmlns='http://www.w3.org/2000/svg'><image href='{url}'/></svg>",
]


def test_no_address_that_a_client_names_is_ever_asked(requests):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        asked = []
        for one in ELSEWHERE:
            url = one.format(port=port)
            asked += [
                ("POST", "/api/search", {"json": {"parts": [{"text": url}]}}),
                ("POST", "/api/search", {"json": {"parts": [{"upload": url}]}}),
                (
                    "POST",
                    "/api/search",
                    {"json": {"parts": [{"text": "x"}], "where": {"path": url}}},
                ),
                ("POST", "/api/embed", {"json": {"texts": [url]}}),
                ("POST", "/api/add", {"json": {"paths": [url]}}),
                ("GET", "/api/media/" + url, {}),
                ("GET", "/api/collection", {"headers": {"X-Forwarded-For": url, "Referer": url}}),
            ]
        for one in PLAYLISTS:
            content = one.format(url=f"http://127.0.0.1:{port}/x.ts", port=port).encode()
            asked.append(("POST", "/api/uploads", {"files": {"file": ("x.mp4", content)}}))
        statuses = [response.status_code for response in requests(asked)]
        assert set(statuses) <= {200, 400, 404, 415, 422}
        assert statuses[-len(PLAYLISTS) :] == [415] * len(PLAYLISTS)
        listening.settimeout(0.0)
        with pytest.raises(BlockingIOError):  # nobody has come
            listening.accept()
