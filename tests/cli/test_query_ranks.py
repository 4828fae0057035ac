"""`trichord evaluate --ranks` and `--worst`: every query with its rank, and a page of the worst."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from trichord.cli.measurement import Measured
from trichord.cli.worst_queries import transcript_of, write_worst
from trichord.config import Provenance
from trichord.corpora.manifest import read_manifest, write_manifest
from trichord.evaluation.gallery import CaptionVectors, ClipVectors
from trichord.evaluation.protocol import stamp
from trichord.evaluation.query_ranks import QueryRanks
from trichord.evaluation.report import RetrievalReport, read_report
from trichord.evaluation.retrieval import answer, tasks_named
from trichord.media import Decoder
from trichord.types import Caption, Clip


def rows_of(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def ranked(small_world, runs, command, tmp_path_factory):
    """The queries of two seeds, in both forms."""
    files = [tmp_path_factory.mktemp("ranks") / f"ranks.{form}" for form in ("jsonl", "parquet")]
    for file in files:
        line = f"evaluate {runs}/slava-av {small_world}/clips.jsonl --ranks {file}"
        assert command(line) == 0
    return [rows_of(file) for file in files]


def test_both_forms_hold_the_same(ranked):
    assert ranked[0] == ranked[1]
    assert {(row["run"], row["seed"]) for row in ranked[0]} == {
        ("slava-av/seed-0", 0),
        ("slava-av/seed-1", 1),
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_the_numbers_of_a_report_follow_from_the_file(seed, ranked, runs):
    report = read_report(runs / f"slava-av/seed-{seed}/evaluation.json", RetrievalReport)
    measured = [row for row in report.rows if row.estimates]
    assert len(measured) > 14
    for row in measured:
        own = [q for q in ranked[0] if (q["seed"], q["task"]) == (seed, row.name)]
        rank = np.array([query["rank"] for query in own])
        assert len(own) == row.sizes["queries"]
        measure = "R" if "<-" in row.name else "hit"
        for k in (1, 5, 10):
            assert np.mean(rank <= k) == pytest.approx(row.estimates[f"{measure}@{k}"].value)
        if "<-" in row.name:
            assert np.median(rank) == row.numbers["median rank"]
            assert np.mean(1 / rank) == pytest.approx(row.numbers["MRR"])
            kept = report.ranks[row.name]
            assert sorted(kept.ranks.rank().tolist()) == sorted(rank.tolist())


def test_hits_stand_as_the_ranks_say(ranked):
    for query in ranked[0]:
        assert query["scores"] == sorted(query["scores"], reverse=True)
        if not query["tied"] and query["rank"] <= len(query["hits"]):
            assert query["hits"][int(query["rank"]) - 1] in query["right"]
        assert (query["better"] >= 10) <= (not set(query["right"]) & set(query["hits"]))


def test_queries_are_named_by_clip_and_caption(ranked, small_world):
    clips = {clip.id: clip for clip in read_manifest(small_world / "clips.jsonl")}
    forward = [query for query in ranked[0] if query["task"] == "audio<-visual"]
    for query in forward:
        captions = [c.text for c in clips[query["clip"]].captions if c.kind == "visual"]
        assert captions[query["caption"]] == query["text"]
        assert query["query"] == f"{query['clip']}#{query['caption']}"
        assert query["right"] == [query["clip"]]
    back = [query for query in ranked[0] if query["task"] == "audio->visual"]
    assert {name for query in back for name in query["right"]} == {q["query"] for q in forward}
    assert all(query["text"] is None for query in back)
    sounds = [query for query in ranked[0] if query["task"] == "visual<-sound"]
    assert sounds
    assert all(query["query"] == query["clip"] for query in sounds)


def test_the_order_of_a_manifest_changes_no_place_of_a_rank(small_world, runs, command, tmp_path):
    clips = read_manifest(small_world / "clips.jsonl")
    turned = [c for c in reversed(clips) if c.split == "test"]
    write_manifest(tmp_path / "turned.jsonl", turned)
    cached = f"--features {small_world}/clips.features --to {tmp_path}/turned.json"
    line = f"evaluate {runs}/slava-av/seed-0 {tmp_path}/turned.jsonl {cached}"
    assert command(line) == 0
    one = read_report(tmp_path / "turned.json", RetrievalReport).ranks
    other = read_report(runs / "slava-av/seed-0/evaluation.json", RetrievalReport).ranks
    assert one == other
    assert isinstance(one["audio<-audio"], QueryRanks)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--ranks ranks.csv", "--ranks ranks.csv: give a name that ends in .parquet or .jsonl"),
        ("--worst worst.pdf", "--worst worst.pdf: give a name that ends in .html"),
        ("--worst-count 3", "--worst-count has no effect with no --worst"),
        ("--worst worst.html", "is a page of one run, and these are 2"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(
    options, told, small_world, runs, command, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert command(f"evaluate {runs}/slava-av {small_world}/clips.jsonl {options}") == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_page_shows_the_worst_queries_with_their_clips(
    small_world, runs, command, tmp_path, ranked
):
    page = tmp_path / "worst.html"
    line = f"evaluate {runs}/slava-av/seed-1 {small_world}/clips.jsonl --worst {page}"
    assert command(f"{line} --worst-count 2") == 0
    html = page.read_text()
    own = [q for q in ranked[0] if q["seed"] == 1 and q["task"] == "visual<-audio"]
    worst = max(own, key=lambda query: query["rank"])
    assert f"rank {worst['rank']:g} of 14" in html
    assert f"<h3>“{worst['text']}”</h3>" in html
    assert "<h2>visual&lt;-audio: 2 of " in html
    tasks = {q["task"] for q in ranked[0] if "<-" in q["task"]}
    assert html.count("<h2>") == len(tasks)
    shown = re.findall(r"\.p(\d+) \{ background-image: url\(data:image/webp", html)
    assert len(shown) == len(set(shown)) > 4
    assert "<script" not in html
    assert "http:" not in html
    assert "https:" not in html


HOSTILE = "<script>alert(1)</script> & 'a bell'"


@pytest.fixture
def misled(small_world, tmp_path):
    """Four clips whose captions all find the first one, and what a run without skill makes of them.

    One has subtitles beside it, one is of another name that is HTML, the files of two are missing.
    """
    media = next((small_world / "world").rglob("test*.mp4"))
    (tmp_path / "said.mp4").symlink_to(media)
    (tmp_path / "said.en.srt").write_text(
        "1\n00:00:00,000 --> 00:00:01,000\nHello & welcome <b>all</b>\n\n"
        "2\n01:00:00,000 --> 01:00:01,000\nMuch later\n"
    )
    names = ("first", "said", "<b>bold</b>", "gone")
    paths = (media, tmp_path / "said.mp4", tmp_path / "no.mp4", tmp_path / "none.mp4")
    clips = [
        Clip(
            id=name,
            path=str(path),
            end=4.0,
            captions=(Caption(text=HOSTILE, about="visual"),),
        )
        for name, path in zip(names, paths, strict=True)
    ]
    every = np.ones(4, np.bool_)
    captions = CaptionVectors(
        (HOSTILE,) * 4, np.arange(4), np.tile(np.eye(4)[0], (4, 1)), np.eye(4)
    )
    vectors = ClipVectors(
        ids=names,
        vision=np.eye(4) + 0.1 * np.eye(4)[[0]],
        has_vision=every,
        audio=np.eye(4),
        has_audio=every,
        captions={"visual": captions},
    )
    report = RetrievalReport(
        run="mine",
        experiment="mine",
        seed=0,
        provenance=Provenance(settings={}, seeds=(0,)),
        protocol=stamp(vectors, split="test"),
        rows=(),
        silent={"said": "a <donor>"},
    )
    answered = list(answer(vectors, tasks_named(["visual<-visual"]), hits=3))
    return Measured(report=report, answered=answered, vectors=vectors), clips


def test_captions_names_and_subtitles_are_text_on_the_page(misled, tmp_path):
    measured, clips = misled
    with Decoder() as decoder:
        write_worst(tmp_path / "worst.html", measured, clips, 9, decoder)
    html = (tmp_path / "worst.html").read_text()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#x27;a bell&#x27;" in html
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
    assert "<b>bold" not in html
    assert "with the sound of a &lt;donor&gt;. Said: Hello &amp; welcome all<" in html
    assert "Much later" not in html
    assert "no picture (corrupt: cannot be opened: No such file or directory)" in html
    assert "<h2>visual&lt;-visual: 3 of 4 queries</h2>" in html  # the first clip finds itself
    assert html.count("<article>") == 3
    assert html.count("rank 4 of 4, 2 tied") == 3


def test_speech_captions_go_before_subtitles(misled):
    _, (_, said, _, gone) = misled
    assert transcript_of(said) == "Hello & welcome all"
    assert transcript_of(replace(said, start=2.0)) == ""
    assert transcript_of(gone) == ""
    spoken = Caption(text="by a person", about="audio", source="speech")
    assert transcript_of(replace(said, captions=(spoken,))) == "by a person"
    long = replace(spoken, text="so " * 300)
    assert len(transcript_of(replace(gone, captions=(long,)))) == 401


def test_a_transcript_beside_a_file_that_cannot_be_read_is_said(misled):
    _, (_, said, _, _) = misled
    Path(said.path).with_name("said.en.srt").write_bytes(b"\x00\x01 no times")
    assert "said.en.srt is not read: " in transcript_of(said)


# Compared in pairs


def test_systems_are_compared_in_pairs(runs, command, tmp_path, capsys):
    line = f"compare {runs}/slava-av {runs}/audio-visual {runs}/clip-clap --paired --resamples 100"
    assert command(f"{line} --json {tmp_path}/pairs.json") == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "audio-visual against slava-av" in words
    assert "bootstrap over clips, 100 resamples, seed 0" in words
    assert "slava-av: 2 seeds; zero-shot: 1 seed." in words
    assert "Left out, not answered by both: visual<-sound." in words
    held = json.loads((tmp_path / "pairs.json").read_text())
    assert [(one["first"], one["other"]) for one in held["paired"]] == [
        ("slava-av", "audio-visual"),
        ("slava-av", "zero-shot"),
    ]
    task = held["paired"][0]["tasks"]["audio<-audio"]
    systems = {one["name"]: one["rows"]["audio<-audio"]["cells"] for one in held["systems"]}
    for measure in ("R@1", "R@5", "R@10", "MRR", "median rank"):
        one = task["differences"][measure]
        assert one["first"] == pytest.approx(systems["slava-av"][measure]["mean"])
        assert one["other"] == pytest.approx(systems["audio-visual"][measure]["mean"])
        assert one["low"] <= one["difference"] <= one["high"]


def test_all_three_recalls_are_shown(runs, command, capsys):
    assert command(f"compare {runs}/slava-av {runs}/clip-clap") == 0
    shown = capsys.readouterr().out
    assert [f"R@{k}, text or sound to media" in shown for k in (1, 5, 10)] == [True] * 3
    assert shown.count("Protocol:") == 1


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{runs}/slava-av --paired", "all that is named are seeds of one (slava-av)"),
        (
            "{runs}/slava-av {runs}/clip-clap --resamples 9",
            "--resamples has no effect with no --pai",
        ),
        ("{runs}/slava-av {old} --paired", "has no ranks of its queries"),
    ],
)
def test_what_cannot_be_paired_is_refused(line, told, runs, command, capsys, tmp_path):
    held = json.loads((runs / "clip-clap/evaluation.json").read_text())
    del held["ranks"]
    (tmp_path / "old.json").write_text(json.dumps(held))
    line = line.format(runs=runs, old=tmp_path / "old.json")
    assert command(f"compare {line} --json {tmp_path}/pairs.json") == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "pairs.json").exists()
