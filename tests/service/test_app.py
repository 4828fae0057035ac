import asyncio
import json
import re
from itertools import pairwise

import httpx
import numpy as np
import pytest

from trichord.search.hits import WEAK_FROM
from trichord.service.catalogue import file_id
from trichord.service.security import Access


def test_a_text_finds_its_moment(found):
    hit = found("a redder field")[0]
    assert (hit["name"], hit["start"], hit["end"], hit["kind"]) == ("red.mp4", 2.0, 4.0, "video")
    assert hit["caption"] == "a redder field"
    assert hit["score"] == pytest.approx((hit["visual"] or 0) + (hit["audio"] or 0))
    assert "/" not in hit["id"] + hit["file"]


def test_names_are_shown_from_the_roots(found, root):
    names = {hit["name"] for hit in found("x", k=100)}
    assert names == {"red.mp4", "still.png", "more/tone.wav"}
    assert not any(str(root) in json.dumps(hit) for hit in found("x", k=100))


def test_what_the_model_does_not_read_of_a_query_is_noted(ask):
    def notes(text):
        return ask("POST", "/api/search", json={"parts": [{"text": text}]}).json()["notes"]

    assert notes("a red field") == []
    [foreign] = notes("красное поле")
    assert foreign.startswith("The query has letters that are not Latin (Cyrillic)")
    [cut] = notes("a red field " * 10)
    assert "the end was left out" in cut


def test_k_bounds_the_hits(found):
    assert len(found("x", k=2)) == 2


def test_a_minus_makes_two_parts(ask):
    body = {"parts": [{"text": 'a red field -"a redder field"', "weight": 2.0}], "fold": False}
    answer = ask("POST", "/api/search", json=body).json()
    assert answer["parts"] == ["a red field", "−a redder field"]
    best, *_ = answer["hits"]
    assert best["caption"] == "a red field"
    assert len(best["parts"]) == 2
    assert best["visual"] == pytest.approx(sum(part["visual"] for part in best["parts"]))
    alone = ask("POST", "/api/search", json={"parts": [{"text": "a red field"}]}).json()["hits"]
    assert best["score"] == alone[0]["score"]
    assert not best["demoted"]
    last = answer["hits"][-1]
    assert (last["caption"], last["demoted"]) == ("a redder field", True)
    assert last["score"] < 0


def test_hits_of_one_scene_are_one_and_say_how_likely_they_are(ask):
    body = {"parts": [{"text": "a red field"}], "k": 100}
    folded = ask("POST", "/api/search", json=body).json()["hits"]
    plain = ask("POST", "/api/search", json={**body, "fold": False}).json()["hits"]
    scene, *_ = folded
    assert [hit["id"] for hit in plain if hit["name"] == "red.mp4"] == [
        scene["id"], *(hit["id"] for hit in scene["more"])
    ]  # fmt: skip
    assert len(plain) == sum(1 + len(hit["more"]) for hit in folded) > len(folded)
    assert all(hit["more"] == [] for hit in plain)
    for one, next_one in pairwise(plain):
        assert 0 <= one["chance"] <= next_one["chance"] <= 1
        assert one["weak"] == (one["chance"] >= WEAK_FROM)
    least = plain[1]["score"]
    some = ask("POST", "/api/search", json={**body, "fold": False, "min_score": least}).json()
    assert some["hits"] == plain[:2]


def test_filters_are_passed_on(found):
    assert {hit["kind"] for hit in found("x", where={"has_audio": True})} == {"audio"}
    assert {hit["name"] for hit in found("x", where={"path": "more"})} == {"more/tone.wav"}
    assert found("x", where={"since": "2100-01-01T00:00:00Z"}) == []


@pytest.mark.parametrize("group", [False, True])
def test_hits_in_missing_files_say_so_where_they_are_asked_for(ask, root, group):
    (root / "red.mp4").unlink()

    def marks(**where):
        body = {"parts": [{"text": "a red field"}], "k": 100, "group": group, "where": where}
        answer = ask("POST", "/api/search", json=body).json()
        hits = [hit for one in answer["groups"] for hit in one["hits"]] if group else answer["hits"]
        return {(one["name"], one["missing"]) for hit in hits for one in (hit, *hit["more"])}

    there = {("more/tone.wav", False), ("still.png", False)}
    assert marks() == there
    assert marks(missing=True) == there | {("red.mp4", True)}


def test_more_like_a_moment_leaves_it_out(ask, found):
    this = found("a red field")[0]
    body = {"parts": [{"moment": this["id"], "by": "visual"}]}
    answer = ask("POST", "/api/search", json=body).json()
    assert this["id"] not in {hit["id"] for hit in answer["hits"]}
    assert answer["parts"] == ["like red.mp4 at 0 s"]


def test_groups_have_a_file_each(ask):
    body = {"parts": [{"text": "a redder field"}], "group": True, "k": 2, "fold": False}
    answer = ask("POST", "/api/search", json=body).json()
    assert answer["groups"][0]["name"] == "red.mp4"
    assert [hit["start"] for hit in answer["groups"][0]["hits"]] == [2.0, 0.0]
    assert len({group["file"] for group in answer["groups"]}) == len(answer["groups"]) == 2
    assert answer["hits"] == [group["hits"][0] for group in answer["groups"]]


def test_a_curve_goes_over_the_file(ask, root):
    body = {"parts": [{"text": "a redder field"}], "file": file_id(str(root / "red.mp4")), "k": 5}
    curve = ask("POST", "/api/timeline", json=body).json()
    assert (curve["start"], curve["end"]) == ([0.0, 2.0], [2.0, 4.0])
    assert curve["score"][1] > curve["score"][0]
    assert curve["audio"] == [None, None]
    assert ask("POST", "/api/timeline", json={**body, "file": "0" * 24}).status_code == 404


def test_texts_are_embedded(ask, engine):
    response = ask("POST", "/api/embed", json={"texts": ["a", "b"]})
    expected = engine.model.embed_text(["a", "b"])
    np.testing.assert_allclose(response.json()["vectors"], expected, rtol=1e-6)
    assert ask("POST", "/api/embed", json={"texts": []}).status_code == 422
    assert ask("POST", "/api/embed", json={"texts": ["x"] * 65}).status_code == 422
    assert ask("POST", "/api/embed", json={"texts": [" "]}).status_code in (200, 400)


def test_an_upload_is_searched_with_and_embedded(serving, rendered, engine):
    app = serving()

    async def all_of():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            content = (rendered / "still.png").read_bytes()
            sent = await client.post("/api/uploads", files={"file": ("x.mp4", content)})
            name = sent.json()["upload"]
            by_it = await client.post(
                "/api/search", json={"parts": [{"upload": name}, {"text": "yellow"}]}
            )
            vector = await client.post("/api/embed", json={"upload": name})
            deaf = await client.post(
                "/api/search", json={"parts": [{"upload": name, "as": "audio"}]}
            )
            return sent, by_it, vector, deaf

    sent, by_it, vector, deaf = asyncio.run(all_of())
    assert sent.json()["kind"] == "image"
    assert by_it.status_code == 200, by_it.text
    assert by_it.json()["parts"] == ["the uploaded picture", "yellow"]
    assert len(vector.json()["vectors"]) == 1
    assert deaf.status_code == 400
    assert deaf.json()["error"].startswith("The uploaded sound has no sound")
    assert str(app.state.archive.uploads.folder) not in deaf.text


def test_an_upload_is_decoded_once_however_often_it_is_weighted(serving, rendered, engine):
    """Each move of one of the page's dials is a search."""
    app, read = serving(), []
    embed = engine.model.embed_media
    engine.model.embed_media = lambda *given: (read.append(1), embed(*given))[1]

    async def all_of():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            content = (rendered / "red.mp4").read_bytes()
            sent = [
                await client.post("/api/uploads", files={"file": ("x.mp4", content)})
                for _ in range(2)
            ]
            names = [one.json()["upload"] for one in sent]
            return [
                await client.post(
                    "/api/search",
                    json={"parts": [{"upload": name}], "visual_weight": sight, "audio_weight": 1.0},
                )
                for name in names
                for sight in (0.5, 1.0, 2.0)
            ]

    answers = asyncio.run(all_of())
    assert [one.status_code for one in answers] == [200] * 6
    assert len(read) == 1


def test_the_collection_is_described_without_its_place(ask, collection):
    response = ask("GET", "/api/collection")
    said = response.json()
    assert said["name"] == "collection"
    assert (said["files"], said["moments"], said["seconds"]) == (3, 4, 2.0)
    assert said["statuses"] == {"ok": 4}
    assert said["tags"] == ["tagged"]
    assert said["captions"] is True
    assert said["model"] == "words"
    assert said["add"] is True
    assert "/" not in response.text


def test_adding_goes_on_in_the_background(serving, root, collection, monkeypatch):
    from trichord.search.indexing import Indexed

    def index(collection, model, decoder, places):
        for place in places:
            yield Indexed(file=str(place), change="new", status="ok")

    monkeypatch.setattr("trichord.search.indexing.index", index)
    app = serving()

    async def all_of():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            started = await client.post("/api/add", json={"paths": ["more", "red.mp4"]})
            while True:
                job = await client.get(f"/api/jobs/{started.json()['job']}")
                if job.json()["state"] != "running":
                    return started, job
                await asyncio.sleep(0.02)

    started, job = asyncio.run(all_of())
    assert started.status_code == 202
    assert job.json() == {
        "job": started.json()["job"], "state": "done", "files": 2, "done": 2,
        "changes": {"new": 2}, "statuses": {"ok": 2}, "failed": 0, "latest": "red.mp4",
        "seconds": job.json()["seconds"], "error": None,
    }  # fmt: skip


def test_searches_that_wait_together_are_answered_together(serving, engine):
    app = serving()

    async def crowd():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            engine.gate.clear()
            asyncio.get_running_loop().call_later(0.5, engine.gate.set)
            asked = [
                client.post(
                    "/api/search",
                    json={"parts": [{"text": text}], "k": k, "fold": False},
                    timeout=60,
                )
                for k, text in enumerate(["a red field", "yellow", "a redder field"] * 3, start=1)
            ]
            return await asyncio.gather(*asked)

    found = asyncio.run(crowd())
    assert [len(one.json()["hits"]) for one in found] == [1, 2, 3, 4, 4, 4, 4, 4, 4]
    best = [one.json()["hits"][0]["caption"] for one in found]
    assert best == ["a red field", "yellow", "a redder field"] * 3
    assert sum(engine.batches) == 9
    assert len(engine.batches) <= 2  # what came first, and all the others


def test_metrics_count_by_route_and_never_by_address(requests):
    addresses = [("GET", f"/api/media/{i:024x}", {}) for i in range(20)]
    *_, last = requests(
        [*addresses, ("GET", "/x/y", {}), ("BREW", "/", {}), ("GET", "/metrics", {})]
    )
    lines = last.text.splitlines()
    counted = 'trichord_requests_total{method="GET",route="/api/media/{file}",status="404"} 20.0'
    assert counted in lines
    assert any(
        'method="other",route="other"' in line or 'method="other",route="/"' in line
        for line in lines
    )
    assert "trichord_moments 4.0" in lines
    assert not any("000000" in line for line in lines)


def test_the_interface_describes_itself_and_loads_nothing_from_elsewhere(ask):
    schema = ask("GET", "/openapi.json").json()
    assert {"/api/search", "/api/timeline", "/api/uploads", "/api/add", "/api/media/{file}"} <= set(
        schema["paths"]
    )
    assert "security" not in schema
    assert schema["components"]["securitySchemes"] == {
        "token": {"type": "http", "scheme": "bearer"}
    }
    tags = {tag["name"] for tag in schema["tags"]}
    for path, there in schema["paths"].items():
        for one in there.values():
            assert set(one["tags"]) <= tags, path
    own = {
        path: set(one["responses"])
        for path, there in schema["paths"].items()
        for one in there.values()
    }
    assert own["/api/health"] == {"200", "403", "500"}
    assert own["/api/files/{file}"] == {"200", "403", "404", "422", "500", "503"}
    assert own["/api/media/{file}"] == {
        "200", "206", "304", "403", "404", "415", "416", "422", "500", "503",
    }  # fmt: skip
    assert "507" in own["/api/uploads"]
    assert not any("507" in codes for path, codes in own.items() if path != "/api/uploads")
    for name in ("SearchRequest", "TimelineRequest", "EmbedRequest", "AddRequest"):
        assert schema["components"]["schemas"][name]["examples"], name


def test_the_examples_of_the_description_can_be_sent(ask):
    schemas = ask("GET", "/openapi.json").json()["components"]["schemas"]
    for name, path in (("SearchRequest", "/api/search"), ("EmbedRequest", "/api/embed")):
        for example in schemas[name]["examples"]:
            assert ask("POST", path, json=example).status_code == 200, example


def test_the_page_of_the_interface_loads_only_its_own_files(ask):
    assert ask("GET", "/redoc").status_code == 404
    page = ask("GET", "/docs")
    for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
        assert ask("GET", name).status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "http" not in page.text


def test_where_there_is_a_token_the_description_asks_for_it(ask):
    options = {"access": Access(token="a-token-of-more-than-16")}
    shown = {"Authorization": "Bearer a-token-of-more-than-16"}
    schema = ask("GET", "/openapi.json", options=options, headers=shown).json()
    assert schema["security"] == [{"token": []}]
    for path, there in schema["paths"].items():
        for one in there.values():
            assert ("401" in one["responses"]) == (path != "/api/health")
    assert schema["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    open_to_all = [
        path for path, there in schema["paths"].items()
        if any(one.get("security") == [] for one in there.values())
    ]  # fmt: skip
    assert open_to_all == ["/api/health"]
