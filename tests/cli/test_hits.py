"""What `search` prints for other programs, several queries at once, and `cut`."""

import csv
import io
import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from footage import make_movie, make_sound, noise
from PIL import Image

from trichord.api.model import embedder_of
from trichord.checkpoint import Progress, Run
from trichord.cli import main
from trichord.config import Experiment
from trichord.search.hits import WEAK_FROM


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    make_movie(folder / "film.mp4", seconds=8.0, sound=noise(8.0))
    make_sound(folder / "noise.wav", noise(4.0, seed=1))
    Image.fromarray(np.full((48, 64, 3), (250, 200, 0), np.uint8)).save(folder / "still.png")
    return folder


@pytest.fixture(scope="module")
def collection(tiny_trimodal, media, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    experiment = Experiment(system="made", model=tiny_trimodal)
    Run(run).start(experiment, "none")
    Run(run).finish(tiny_trimodal.build().eval(), experiment.objective.build(), Progress())
    made = tmp_path_factory.mktemp("collections") / "made"
    assert main(["index", str(media), str(made), "--model", str(run), "--seconds", "2"]) == 0
    return made


@pytest.fixture
def search(collection, capsys):
    """Runs a search; gives what it prints."""

    def search(*options):
        capsys.readouterr()
        assert main(["search", str(collection), *options]) == 0
        return capsys.readouterr().out

    return search


def test_hits_say_how_likely_they_are_and_weak_ones_are_set_off(search):
    hits = json.loads(search("a low bell", "--json", "--no-fold"))
    assert all((hit["chance"] >= WEAK_FROM) == hit["weak"] for hit in hits)
    assert any(hit["weak"] for hit in hits)
    table = search("a low bell", "--no-fold")
    assert "chance" in table
    assert table.count("(weak)") == sum(hit["weak"] for hit in hits)


def test_scenes_are_folded_unless_it_is_asked_not_to(search):
    scenes = json.loads(search("a low bell", "--format", "json"))
    plain = json.loads(search("a low bell", "--format", "json", "--no-fold", "--k", "50"))
    assert len(plain) == sum(1 + len(hit["more"]) for hit in scenes) > len(scenes)
    assert f"(+{len(scenes[0]['more'])} more" in search("a low bell") or not scenes[0]["more"]
    least = plain[2]["score"]
    some = json.loads(search("a low bell", "--json", "--no-fold", "--at-least", str(least)))
    assert some == plain[:3]


def test_hits_are_printed_for_other_programs(search):
    hits = json.loads(search("a low bell", "--json"))
    rows = list(csv.DictReader(io.StringIO(search("a low bell", "--format", "csv"))))
    assert [(row["file"], float(row["start"]), float(row["score"])) for row in rows] == [
        (hit["moment"]["file"], hit["moment"]["start"], hit["score"]) for hit in hits
    ]
    edl = search("a low bell", "--format", "edl", "--fps", "30")
    assert edl.count("* FROM CLIP NAME: ") == len(hits)
    timeline = json.loads(search("a low bell", "--format", "otio"))
    tracks = timeline["tracks"]["children"]
    assert {len(track["children"]) for track in tracks} == {len(hits)}


def test_a_named_device_loads_the_model_and_finds_the_same(search, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        "trichord.cli.threads.load_embedder", lambda name: loaded.append(name) or embedder_of(name)
    )
    by_graph = json.loads(search("a low bell", "--json"))
    assert loaded == []
    by_model = json.loads(search("a low bell", "--json", "--device", "cpu"))
    assert len(loaded) == 1
    assert [hit["moment"] for hit in by_model] == [hit["moment"] for hit in by_graph]
    assert [hit["score"] for hit in by_model] == pytest.approx(
        [hit["score"] for hit in by_graph], abs=1e-3
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("command", ["search {} bell", "serve {} --port 0"])
def test_a_device_that_is_not_there_is_refused(collection, capsys, command):
    assert main([*command.format(collection).split(), "--device", "cuda"]) == 2
    assert "--device cuda: there is no GPU" in capsys.readouterr().err


def test_several_queries_find_what_each_finds(search, tmp_path, monkeypatch):
    words = ["a low bell", "a red ball -green"]
    alone = [json.loads(search(text, "--json")) for text in words]
    path = tmp_path / "queries.txt"
    path.write_text("\n\n".join(words) + "\n")
    lines = search("--queries", str(path), "--format", "json").splitlines()
    assert [json.loads(line)["hits"] for line in lines] == alone
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(words)))
    rows = list(csv.DictReader(io.StringIO(search("--queries", "-", "--format", "csv"))))
    assert [row["query"] for row in rows] == [
        title
        for title, hits in zip(("a low bell", "a red ball −green"), alone, strict=True)
        for _ in hits
    ]
    assert "a red ball −green" in search("--queries", str(path))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("x --queries @queries.txt", "--queries takes the place of TEXT"),
        ("--queries @queries.txt --format edl", "the hits of one query"),
        ("--queries @queries.txt --group", "--group"),
        ("--queries @empty.txt", "no line with words"),
        ("--queries @none.txt", "none.txt"),
        ("--queries @bad.txt", "bad.txt, line '-x': The search only says what to avoid"),
        ("x --fps 30", "--fps goes with"),
        ("x --json --format csv", "two formats"),
        ("x --at-least nan", "--at-least"),
    ],
)
def test_what_cannot_be_printed_is_one_line(collection, tmp_path, capsys, options, said):
    (tmp_path / "queries.txt").write_text("a bell\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "bad.txt").write_text("a bell\n-x\n")
    words = [word.replace("@", f"{tmp_path}/") for word in options.split()]
    assert main(["search", str(collection), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_hits_are_cut_into_files(search, tmp_path, capsys, monkeypatch):
    found = search("a low bell", "--format", "json", "--no-fold", "--k", "50")
    moments = [hit["moment"] for hit in json.loads(found)]
    monkeypatch.setattr("sys.stdin", io.StringIO(found))
    assert main(["cut", "-", str(tmp_path / "out")]) == 0
    made = sorted((tmp_path / "out").iterdir())
    assert len(made) == len(moments)
    for path, moment in zip(made, moments, strict=True):
        source = Path(moment["file"])
        assert source.stem in path.name
        if source.suffix == ".png":
            assert path.read_bytes() == source.read_bytes()
            continue
        with av.open(str(path)) as container:
            length = moment["end"] - moment["start"]
            assert length - 0.1 <= container.duration / 1e6 <= length + 1.3
    assert f"{len(moments)} written, 0 not." in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in made}
    (tmp_path / "hits.json").write_text(found)
    assert main(["cut", str(tmp_path / "hits.json"), str(tmp_path / "out"), "--exact"]) == 2
    assert "exists" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize(("suffix", "codec"), [(".opus", "libopus"), (".aac", "aac")])
def test_a_compressed_sound_is_cut_exactly_into_a_wav(tmp_path, suffix, codec):
    source = tmp_path / f"sound{suffix}"
    make_sound(source, noise(4.0, rate=48_000), rate=48_000, codec=codec)
    moment = {"file": str(source), "start": 1, "end": 3}
    (tmp_path / "hits.json").write_text(json.dumps([{"moment": moment}]))
    assert main(["cut", str(tmp_path / "hits.json"), str(tmp_path / "out"), "--exact"]) == 0
    with av.open(str(tmp_path / "out" / "01 sound 1 s.wav")) as container:
        assert container.streams.audio[0].codec_context.name == "pcm_s16le"
        assert container.duration / 1e6 == pytest.approx(2.0, abs=0.01)


def test_what_cannot_be_cut_is_named_and_stops_nothing(search, media, tmp_path, capsys):
    hits = json.loads(search("a low bell", "--json"))[:1]
    gone = {**hits[0], "moment": {"file": str(media / "gone.mp4"), "start": 0, "end": 2}}
    (tmp_path / "hits.json").write_text(json.dumps([gone, *hits]))
    assert main(["cut", str(tmp_path / "hits.json"), str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert "gone.mp4: corrupt: cannot be opened" in told.err
    assert "1 written, 1 not." in told.out
    assert len(list((tmp_path / "out").iterdir())) == 1
    (tmp_path / "hits.json").write_text(json.dumps([gone]))
    assert main(["cut", str(tmp_path / "hits.json"), str(tmp_path / "other")]) == 2
    assert list((tmp_path / "other").iterdir()) == []


def test_that_nothing_is_found_is_said(collection, capsys):
    assert main(["search", str(collection), "a low bell", "--at-least", "99"]) == 0
    assert "No moment is found: loosen the filters" in capsys.readouterr().err
