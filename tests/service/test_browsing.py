"""Files over HTTP without a query, pages of hits, and what changes while an archive is indexed."""

import os
from datetime import UTC, datetime

import pytest

from trichord.service.browsing import list_files
from trichord.service.catalogue import Catalogue, file_id
from trichord.service.schemas import FilesRequest


@pytest.fixture
def dated(root, collection, noted):
    """The archive with times: the film of March, the picture of February, the sound of January."""
    notes = {
        "red.mp4": ["a red field", "a redder field"], "still.png": ["yellow"], "more/tone.wav": ["a tone"],
    }  # fmt: skip
    for month, name in ((3, "red.mp4"), (2, "still.png"), (1, "more/tone.wav")):
        at = datetime(2026, month, 1, tzinfo=UTC).timestamp()
        os.utime(root / name, (at, at))
    collection.table.put(
        [noted(root / name, said, vision=name != "more/tone.wav") for name, said in notes.items()]
    )
    return collection


@pytest.fixture
def listed(dated, ask):
    """The names of listed files, and the answer."""

    def listed(**asked):
        response = ask("GET", "/api/files", params=asked)
        assert response.status_code == 200, response.text
        return [file["name"] for file in response.json()["files"]], response.json()

    return listed


def test_files_are_listed_with_what_is_known_of_them(listed, root):
    names, answer = listed()
    assert names == ["red.mp4", "still.png", "more/tone.wav"]
    assert answer["total"] == 3
    assert answer["folders"] == [{"path": "more", "files": 1}]
    first = answer["files"][0]
    assert first == {
        "file": file_id(str(root / "red.mp4")), "name": "red.mp4", "path": None, "kind": "video",
        "changed": "2026-03-01T00:00:00Z", "size": (root / "red.mp4").stat().st_size, "seconds": 4.0,
        "moments": 2, "media": f"/api/media/{first['file']}",
        "thumbnail": f"/api/thumbnails/{first['file']}4000000000000000",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"kind": "video"}, ["red.mp4"]),
        ({"kind": "audio"}, ["more/tone.wav"]),
        ({"kind": "image"}, ["still.png"]),
        ({"sort": "oldest"}, ["more/tone.wav", "still.png", "red.mp4"]),
        ({"sort": "name"}, ["more/tone.wav", "red.mp4", "still.png"]),
        ({"sort": "longest"}, ["red.mp4", "more/tone.wav", "still.png"]),
        ({"path": "more"}, ["more/tone.wav"]),
        ({"since": "2026-02-01"}, ["red.mp4", "still.png"]),
        ({"until": "2026-02-10T00:00:00Z"}, ["still.png", "more/tone.wav"]),
        ({"min_duration": "3"}, ["red.mp4"]),
        ({"has_audio": "true"}, ["more/tone.wav"]),
        ({"tags": "tagged", "kind": "image"}, ["still.png"]),
        ({"offset": 1, "limit": 1}, ["still.png"]),
        ({"offset": 9}, []),
    ],
)
def test_files_by_filter_order_and_page(listed, asked, names):
    assert listed(**asked)[0] == names


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": 0}, {"limit": 101}, {"offset": -1}, {"sort": "random"}, {"kind": "text"}, {"x": 1},
        {"path": "/etc"}, {"path": "../x"}, {"since": "yesterday"}, {"min_duration": "nan"},
    ],
)  # fmt: skip
def test_a_senseless_list_is_refused_in_a_sentence(ask, asked):
    response = ask("GET", "/api/files", params=asked)
    assert response.status_code == 422
    assert set(response.json()) == {"error"}


def test_folders_are_those_directly_below(collection, root, noted, engine):
    for name in ("more/deep/a.wav", "more/deep/b.wav", "more/other/c.wav"):
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_bytes(b"")
        collection.table.put([noted(root / name, [name], vision=False)])
    catalogue = Catalogue(collection.table.gallery(), [root])
    [top] = list_files(catalogue, FilesRequest(), False).folders
    assert (top.path, top.files) == ("more", 4)
    below = list_files(catalogue, FilesRequest(path="more"), False).folders
    assert [(one.path, one.files) for one in below] == [("more/deep", 2), ("more/other", 1)]
    assert list_files(catalogue, FilesRequest(path="more/deep"), False).folders == []


def test_a_file_has_its_moments_in_order_of_time(dated, ask, root):
    file = file_id(str(root / "red.mp4"))
    answer = ask("GET", f"/api/files/{file}").json()
    assert (answer["name"], answer["moments"], answer["kind"]) == ("red.mp4", 2, "video")
    first, second = answer["timeline"]
    assert (first["start"], first["end"], first["caption"]) == (0.0, 2.0, "a red field")
    assert (first["visual"], first["audio"], first["tags"]) == (True, False, ["tagged"])
    assert (second["caption"], second["tags"]) == ("a redder field", [])
    assert second["thumbnail"] == f"/api/thumbnails/{second['id']}"
    page = ask("GET", f"/api/files/{file}", params={"offset": 1, "limit": 1}).json()
    assert [one["id"] for one in page["timeline"]] == [second["id"]]
    assert ask("GET", f"/api/files/{'0' * 24}").status_code == 404


def test_full_paths_are_shown_only_where_the_server_was_told_to(dated, ask, root):
    for path, where in ((None, {}), (str(root / "red.mp4"), {"options": {"show_paths": True}})):
        for address in ("/api/files", f"/api/files/{file_id(str(root / 'red.mp4'))}"):
            answer = ask("GET", address, **where).json()
            assert answer.get("files", [answer])[0]["path"] == path


def test_a_file_that_is_gone_is_listed_without_a_size(dated, ask, root):
    (root / "red.mp4").unlink()
    assert ask("GET", "/api/files").json()["files"][0]["size"] is None


def test_hits_have_pages_and_a_least_score(found):
    def hits(**asked):
        return found("a redder field", fold=False, **asked)

    whole = hits(k=4)
    assert len(whole) == 4
    assert hits(k=2, offset=1) == whole[1:3]
    assert hits(k=1000, offset=2) == whole[2:]  # deeper than a batch goes
    assert hits(offset=10_000) == []
    least = (whole[1]["score"] + whole[2]["score"]) / 2
    assert hits(min_score=least) == whole[:2]
    assert hits(min_score=least, offset=1) == whole[1:2]


def test_groups_have_pages_and_a_least_score_too(ask):
    def groups(**asked):
        body = {"parts": [{"text": "a redder field"}], "group": True, **asked}
        return ask("POST", "/api/search", json=body).json()["groups"]

    whole = groups()
    assert groups(k=1, offset=1) == whole[1:2]
    best = whole[0]["hits"][0]["score"]
    [only] = groups(min_score=best)
    assert [hit["score"] for hit in only["hits"]] == [best]
    assert groups(min_score=best + 1) == []


def test_hits_say_when_their_file_was_changed_and_can_be_filtered_by_kind(dated, found):
    assert {hit["name"] for hit in found("x", where={"kind": "image"})} == {"still.png"}
    assert found("yellow")[0]["changed"] == "2026-02-01T00:00:00Z"


def test_the_status_tells_of_changes_and_jobs(
    requests, collection, engine, noted, root, monkeypatch
):
    from trichord.search.indexing import Indexed

    def index(collection, model, decoder, places):
        yield Indexed(file=str(root / "more" / "tone.wav"), change="new", status="no_video")
        yield Indexed(file=str(root / "red.mp4"), change="changed", status="corrupt")
        yield Indexed(file=str(root / "still.png"), change="removed", status="corrupt")

    monkeypatch.setattr("trichord.search.indexing.index", index)
    status = ("GET", "/api/status", {})
    before, _, *later = requests(
        [status, ("POST", "/api/add", {"json": {"paths": ["."]}}), *[status] * 400]
    )  # so often, because the job's thread waits for its turn on a busy machine
    assert before.json() == {
        "version": collection.table.version, "files": 3, "moments": 4, "job": None,
    }  # fmt: skip
    job = later[-1].json()["job"]
    assert (job["state"], job["files"], job["done"], job["failed"]) == ("done", 3, 2, 1)
    assert job["latest"] == "red.mp4"
    assert job["seconds"] >= 0


def test_a_change_by_another_process_changes_the_version(serving, collection, root, noted):
    app = serving()
    archive = app.state.archive
    before = archive.status()
    (root / "new.wav").write_bytes(b"")
    collection.table.put([noted(root / "new.wav", ["new"], vision=False)])
    archive.refresh()
    after = archive.status()
    assert after.version > before.version
    assert (after.files, after.moments) == (before.files + 1, before.moments + 1)
