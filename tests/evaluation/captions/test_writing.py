"""What captions of a source are worth, and how a report keeps, shows and compares it."""

import io
import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from trichord.config import CaptionGenerator, Provenance
from trichord.evaluation.bootstrap import Estimate
from trichord.evaluation.captions.protocol import CaptionRules, stamp
from trichord.evaluation.captions.report import (
    CAPTION_STYLE,
    CaptionReport,
    ClipCaption,
    ClipScores,
    KindRow,
    caption_table,
)
from trichord.evaluation.captions.writing import (
    kinds_of,
    measure_captions,
    references_of,
    spelt,
    write_captions,
)
from trichord.evaluation.comparison import Cell, compare
from trichord.evaluation.figures import draw_comparison
from trichord.evaluation.protocol import difference
from trichord.evaluation.report import read_report, write_json
from trichord.evaluation.tables import measures_table, published_tables
from trichord.experiments import load_experiment
from trichord.features.source import MediaSource
from trichord.types import Caption, Clip, UserError

PLAIN = CaptionRules(kind=("visual",), beams=2, longest=5, meteor=False, resamples=20)


def rules(**changes):
    return replace(PLAIN, **changes)


def clip(name, *captions):
    told = tuple(Caption(text=text, about=about) for about, text in captions)
    return Clip(id=name, path=f"{name}.mp4", captions=told)


@pytest.fixture(scope="module")
def writer(tiny_trimodal):
    """A model that writes captions, untrained."""
    generator = CaptionGenerator(from_text=False, heads=2, layers=1, text_slots=77, frame_slots=64)
    torch.manual_seed(5)
    text = replace(tiny_trimodal.text, tokens=True)
    model = replace(tiny_trimodal, text=text, captioner=generator).build().train()
    for value in model.captioner.parameters():
        torch.nn.init.normal_(value, std=0.5)
    return model


def test_every_clip_is_written_of_as_it_is_alone_and_the_model_left_as_it_was(writer, made_up):
    clips = [clip(name) for name in ("a", "silent-b", "dark-c", "d", "e")]
    moves = []
    found = write_captions(
        writer, MediaSource(clips, writer, made_up, ("audio", "vision")), rules()
    )
    assert [one.id for one in found] == [one.id for one in clips]
    for i in (0, 2, 4):
        source = MediaSource(clips[i : i + 1], writer, made_up, ("audio", "vision"))
        [alone] = write_captions(writer, source, rules(), moves.append)
        assert alone.text == found[i].text
        assert alone.log_likelihood == pytest.approx(found[i].log_likelihood, abs=1e-4)
    assert (moves, writer.training) == ([1, 1, 1], True)


def test_of_a_clip_without_sound_and_picture_nothing_is_written(writer, made_up, monkeypatch):
    hold = type(made_up).hold
    monkeypatch.setattr(
        type(made_up),
        "hold",
        lambda self, name, plan: (
            replace(hold(self, name, plan), frames=None)
            if name == "silent-x"
            else hold(self, name, plan)
        ),
    )
    source = MediaSource([clip("silent-x"), clip("a")], writer, made_up, ("audio", "vision"))
    nothing, something = write_captions(writer, source, rules())
    assert (nothing.text, nothing.log_likelihood) == (None, None)
    assert something.text


def test_a_run_is_measured_on_the_kinds_that_it_has_learnt_to_write():
    def kinds(*drawn):
        experiment = load_experiment("world-clip4vla-caption")
        draws = tuple(
            replace(experiment.stages[0].draws[0], captions=captions, terms=(term,))
            for captions, term in drawn
        )
        return kinds_of(replace(experiment, stages=(replace(experiment.stages[0], draws=draws),)))

    assert kinds((("composed", "visual"), "lm"), (("audio",), "at")) == ("visual", "composed")
    assert len(kinds((("audio",), "at"))) == 4


def test_references_without_a_word_are_left_out_and_clips_without_any_too(writer):
    clips = [
        clip("a", ("visual", "A dog."), ("visual", " ... "), ("audio", "a bark")),
        clip("b", ("visual", "!")),
        clip("c", ("visual", "un chien à l'école")),
    ]
    found = references_of(writer, clips, rules(kind=("visual", "composed")))
    assert found == {"visual": {"a": ("A dog.",), "c": ("un chien à l'école",)}, "composed": {}}


def test_as_published_references_are_spelt_and_cut_as_the_run_would(writer):
    blanks = rules(tokens="blanks")
    long = " ".join(["a red ball bounces on the beach"] * 2000)
    clips = [clip("a", ("visual", "A red ball bounces"), ("visual", long))]
    short, cut = references_of(writer, clips, blanks)["visual"]["a"]
    assert short == "a red ball bounces"
    assert cut == spelt(writer, [long])[0]
    assert long.startswith(cut)
    assert len(writer.token_ids([long])[0]) == writer.text.max_tokens
    assert references_of(writer, clips, rules())["visual"]["a"] == ("A red ball bounces", long)


def test_captions_are_scored_against_each_kind_apart_and_a_missing_one_is_empty():
    captions = [
        ClipCaption(id="a", text="a red ball bounces on a beach", log_likelihood=-1.0),
        ClipCaption(id="b", text="a low bell rings slowly now", log_likelihood=-1.0),
        ClipCaption(id="c"),
    ]
    references = {
        "visual": {
            "a": ("A red ball bounces on a beach.",),
            "b": ("a man walks",),
            "c": ("a cat sleeps in the sun",),
        },
        "audio": {"b": ("a low bell rings slowly now", "x")},
        "composed": {},
    }
    visual, audio = measure_captions(captions, references, rules(kind=("visual", "audio")))
    assert [(one.name, one.sizes["wordless"]) for one in (visual, audio)] == [
        ("visual", 1),
        ("audio", 0),
    ]
    assert [one.id for one in visual.clips] == ["a", "b", "c"]
    rouge = [one.scores["ROUGE-L"] for one in visual.clips]
    assert (rouge[0], rouge[2]) == (pytest.approx(1.0), 0.0)
    assert visual.estimates["ROUGE-L"].value == pytest.approx(sum(rouge) / 3)
    assert "METEOR" not in visual.estimates
    assert audio.estimates["BLEU-4"].value == pytest.approx(1.0, abs=1e-6)
    assert audio.clips[0].references == references["audio"]["b"]
    assert any("single clip" in note for note in audio.notes)


def test_a_reference_without_words_is_an_error_of_the_user():
    captions = [ClipCaption(id="a", text="a dog"), ClipCaption(id="b", text="rain")]
    references = {"visual": {"a": ("a dog",), "b": ("...",)}}
    with pytest.raises(UserError, match='Clip "b" has a reference without words'):
        measure_captions(captions, references, rules())


def test_how_words_are_split_and_references_kept_reaches_the_scores():
    captions = [ClipCaption(id="a", text="a dog."), ClipCaption(id="b", text="rain falls")]
    references = {"visual": {"a": ("a dog",), "b": ("it rains", "rain falls")}}

    def rouge(**changes):
        (found,) = measure_captions(captions, references, rules(**changes))
        return [one.scores["ROUGE-L"] for one in found.clips]

    assert rouge() == [1.0, 1.0]
    assert rouge(tokens="blanks") == [pytest.approx(0.5), 1.0]
    assert rouge(references="as_published") == [1.0, 0.0]


# Protocols


REFERENCES = {"visual": {"a": ("x y", "z"), "b": ("x",)}, "audio": {}}


def test_a_protocol_counts_and_lists_clips_and_references():
    found = stamp(rules(), REFERENCES, split="test", missing="masked")
    asked = found.references["visual"]
    assert list(found.references) == ["visual"]
    assert (asked.clips, asked.references, asked.per_clip) == (2, 3, "1–2")
    line = found.line()
    for part in (
        "test split",
        "2 clips",
        "CIDEr-D",
        "beams 2",
        "at most 5 tokens",
        "empty caption",
    ):
        assert part in line


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"beams": 1}, "beams: 2 against 1"),
        ({"length_penalty": 1.0}, "length penalty: 0.0 against 1.0"),
        ({"longest": None}, "longest caption: 5 against None"),
        ({"tokens": "blanks"}, "words: ptb against blanks"),
        ({"references": "as_published"}, "references used: all against"),
        ({"resamples": 7}, "number of resamples: 20 against 7"),
    ],
)
def test_protocols_differ_by_what_is_named(changes, told):
    one = stamp(rules(), REFERENCES, split="test", missing="masked")
    other = stamp(rules(**changes), REFERENCES, split="test", missing="masked")
    assert difference(one, one) == []
    [said] = difference(one, other)
    assert said.startswith(told)
    other = replace(one, scoring=replace(one.scoring, cider="CIDEr"))
    assert difference(one, other) == ["CIDEr: CIDEr-D against CIDEr"]


def test_protocols_differ_by_split_kinds_clips_and_references():
    one = stamp(rules(), REFERENCES, split="test", missing="masked")

    def against(references, split="test"):
        return difference(one, stamp(rules(), references, split=split, missing="masked"))

    assert against(REFERENCES, None) == ["split: test against all"]
    assert against({"audio": REFERENCES["visual"]}) == ["kinds of captions: visual against audio"]
    [said] = against({"visual": {"a": ("x y", "z"), "c": ("x",)}})
    assert said.startswith("clips or references of kind visual: 2 clips")
    [said] = against({"visual": {"a": ("x y", "z"), "b": ("y",)}})
    assert "3 references" in said


# Reports and comparisons


def report(seed=0, value=0.25, experiment="writes-av", **changes):
    scores = dict.fromkeys(
        ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr"), Estimate(value, value - 0.1, value + 0.1)
    )
    row = KindRow(
        name="visual",
        sizes={"clips": 2, "wordless": 1, "references": 3},
        estimates=scores,
        clips=(ClipScores(id="a", references=("x y",), scores={"CIDEr": value}),),
    )
    known = {
        "run": f"{experiment}/seed-{seed}",
        "experiment": experiment,
        "seed": seed,
        "provenance": Provenance(settings={"system": experiment}, seeds=(seed,)),
        "protocol": stamp(rules(), REFERENCES, split="test", missing="masked"),
        "rows": (row,),
        "captions": (ClipCaption(id="a", text="é", log_likelihood=-2.0), ClipCaption(id="b")),
    }
    return CaptionReport(**known | changes)


def shown(*tables):
    console = Console(width=150, record=True, file=io.StringIO())
    for one in tables:
        console.print(one)
    return console.export_text()


def test_a_report_is_read_back_as_it_was_written(tmp_path):
    held = report(blank=2, longer=3, silent={"b": None})
    write_json(held, tmp_path / "captions.json")
    assert read_report(tmp_path / "captions.json", CaptionReport) == held
    assert "é" in (tmp_path / "captions.json").read_text()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a report on captions"),
        ('{"kind": "retrieval"}', "is not a report on captions"),
        ('{"kind": "captions", "format": 9}', "is of format 9"),
        ('{"kind": "captions", "format": 3}', "is broken at"),
    ],
)
def test_anything_else_is_refused(tmp_path, content, told):
    (tmp_path / "captions.json").write_text(content)
    with pytest.raises(UserError, match=told):
        read_report(tmp_path / "captions.json", CaptionReport)


def test_a_table_has_the_papers_columns_the_protocol_and_what_was_left_out():
    text = shown(caption_table(report(blank=2, longer=3, silent={"b": None})))
    for part in ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "25.0 (15.0–35.0)", "test split"):
        assert part in text
    flat = " ".join(text.split())
    assert "2 references without a word left out; 3 references longer than" in flat
    assert "1 silent clips" in flat


def test_seeds_make_a_mean_with_its_spread_and_systems_stand_side_by_side(tmp_path):
    found = compare([report(1, 0.3), report(0, 0.1), report(0, 0.5, "writes-v")])
    first, second = found.systems
    assert (first.name, first.seeds) == ("writes-av", (0, 1))
    cell = first.cell("visual", "CIDEr")
    assert (cell.mean, cell.sd) == (pytest.approx(0.2), pytest.approx(0.02**0.5))
    assert cell.percent() == "20.0 ± 14.1"
    assert second.cell("visual", "CIDEr").percent() == "50.0 (40.0–60.0)"
    text = shown(measures_table(found, CAPTION_STYLE))
    assert "20.0 ± 14.1" in text
    assert "writes-v" in text
    write_json(found, tmp_path / "c.json")
    assert json.loads((tmp_path / "c.json").read_text())["systems"][1]["seeds"] == [0]
    draw_comparison(found, tmp_path / "c.png", CAPTION_STYLE)
    assert (tmp_path / "c.png").stat().st_size > 10_000


def test_unlike_protocols_and_the_same_seed_twice_are_refused():
    other = stamp(rules(beams=4), REFERENCES, split="test", missing="masked")
    with pytest.raises(UserError, match="beams: 2 against 4"):
        compare([report(), report(1, protocol=other)])
    with pytest.raises(UserError, match=r"same experiment \(writes-av\) .* same seed 0: leave one"):
        compare([report(), report()])
    with pytest.raises(UserError, match="Nothing to compare"):
        compare([])


def test_runs_that_learnt_otherwise_are_systems_of_their_own_with_the_clips_counted(tmp_path):
    fast = Provenance(settings={"system": "writes-av", "stages.0.optimizer.lr": "0.1"}, seeds=(1,))
    found = compare([report(), report(1, provenance=fast)])
    assert [one.heading for one in found.systems] == ["writes-av", "writes-av (lr 0.1)"]
    text = shown(measures_table(found, CAPTION_STYLE))
    assert "writes-av (lr 0.1)" in text
    (first, second) = [line.split() for line in text.splitlines() if "writes-av" in line]
    assert first[:3] == second[:3] == ["visual", "2", "3"]  # clips, references
    write_json(found, tmp_path / "c.json")
    held = json.loads((tmp_path / "c.json").read_text())
    assert held["systems"][1]["differs"] == {"lr": "0.1"}


def test_a_selection_on_test_is_stamped_on_captions_and_refused_beside_others():
    selected = stamp(rules(), REFERENCES, split="test", missing="masked", selected_on_test=True)
    assert selected.line().startswith(
        "SELECTION ON TEST: the run's epoch was chosen on the test split; "
    )
    with pytest.raises(UserError, match=r"no against yes\): train both with or both without"):
        compare([report(), report(1, protocol=selected)])


def test_a_metric_that_one_seed_lacks_is_averaged_over_the_others():
    lacking = report(1)
    [row] = lacking.rows
    scores = {name: one for name, one in row.estimates.items() if name != "METEOR"}
    lacking = replace(lacking, rows=(replace(row, estimates=scores),))
    [system] = compare([report(), lacking]).systems
    assert system.cell("visual", "METEOR") == Cell(values=(0.25,), mean=0.25, low=0.15, high=0.35)


def test_the_papers_tables_are_as_printed():
    text = shown(*published_tables("captions"))
    assert "CLIP4VLA       46.7    31.1   64.4   58.0" in text
    assert "CLIP4VLA     36.4    25.0   54.7   59.7" in text
    assert "2,617" in text
    assert "values are of other clips" in " ".join(text.split())
