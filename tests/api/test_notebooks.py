"""What consoles and notebooks show of models, runs and collections."""

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from trichord.api.collection import Collection
from trichord.api.model import Model
from trichord.api.text_encoders import cache_text_encoders
from trichord.checkpoint import Progress, Run
from trichord.config import Draw, Experiment, Stage
from trichord.search.text_table import FileTexts
from trichord.speech.transcript import SpokenSegment
from trichord.types.notebook import curve, facts


def rows(page):
    """Names and values of a page that is well-formed and runs and fetches nothing."""
    tree = ElementTree.fromstring(f"<div>{page.replace('<br>', '<br/>')}</div>")
    tags = {one.tag.rpartition("}")[2] for one in tree.iter()}
    assert tags <= {"div", "b", "table", "tbody", "tr", "td", "br", "svg", "polyline", "circle"}
    return {row[0].text: " ".join("".join(row[1].itertext()).split()) for row in tree.iter("tr")}


@pytest.fixture
def run(tiny_trimodal, tmp_path):
    """A run of two stages that has trained two epochs of the first one."""
    stages = tuple(
        Stage(
            name=name,
            trains=("audio",),
            draws=(Draw(captions=("audio",), terms=("at",)),),
            criterion=("audio<-audio",),
        )
        for name in ("warm up", "main")
    )
    made = Run(tmp_path / "run")
    made.start(Experiment(system="SLAVA <a>", model=tiny_trimodal, stages=stages), "none")
    return made


def note(run, criteria, **fields):
    lines = [
        {
            "stage": "warm up",
            "epoch": epoch,
            "criterion": value,
            "measure": "MRR",
            "loss": 2.0 - epoch,
        }
        for epoch, value in enumerate(criteria)
    ]
    (run.path / "metrics.jsonl").write_text(
        "".join(json.dumps(one | fields) + "\n" for one in lines)
    )


def test_a_run_shows_how_far_its_stages_came_and_a_curve(run):
    note(run, [0.1, 0.525, 0.3])
    reached = "2 epochs, best validation MRR 0.525 (epoch 1)"
    assert repr(run) == (
        f"Run('{run.path}'; experiment: SLAVA <a>; state: not finished; stage 1 (warm up): {reached}; "
        "stage 2 (main): not begun)"
    )
    page = run._repr_html_()
    assert rows(page) == {
        "experiment": "SLAVA <a>",
        "state": "not finished",
        "stage 1 (warm up)": reached,
        "stage 2 (main)": "not begun",
    }
    points = re.search(r'points="([^"]+)"', page)[1].split()
    heights = [float(point.split(",")[1]) for point in points]
    assert heights[1] < heights[2] < heights[0]  # higher is better, and SVG counts downwards
    assert f'cx="{points[1].split(",")[0]}"' in page


def test_without_validation_clips_the_curve_is_that_of_the_loss(run):
    note(run, [None, None, None])
    page = run._repr_html_()
    assert rows(page)["stage 1 (warm up)"] == "2 epochs, no validation clips"
    points = re.search(r'points="([^"]+)"', page)[1].split()
    assert f'cx="{points[2].split(",")[0]}"' in page


def test_a_choice_on_test_and_a_finished_run_are_named(run, tiny_trimodal, tmp_path):
    chosen = Run(tmp_path / "chosen")
    experiment = replace(run.experiment(), select_on_test=True)
    chosen.start(experiment, "none")
    note(chosen, [0.1, 0.5])
    assert "1 epoch, best SELECTION ON TEST: test MRR 0.500" in repr(chosen)
    chosen.finish(tiny_trimodal.build(), experiment.objective.build(), Progress())
    assert "state: finished" in repr(chosen)
    assert "svg" not in chosen._repr_html_()  # no metrics


def test_the_repr_of_no_run_or_a_damaged_one_says_so(run, tmp_path):
    nowhere = Run(tmp_path / "nowhere")
    assert repr(nowhere).startswith(f"Run('{nowhere.path}'; error: ")
    (run.path / "metrics.jsonl").write_text("{")
    assert "error: " in repr(run)
    assert "is damaged" in rows(run._repr_html_())["error"]
    (run.path / "metrics.jsonl").write_text("{}\n")
    assert "error: " in repr(run)


def test_a_model_shows_its_encoders_pairs_and_device(model, untrained_model):
    shown = rows(model._repr_html_())
    assert [*shown] == ["text", "vision", "audio", "compares", "device"]
    assert shown["vision"] == f"{type(model.embedder.vision).__name__}, {model.dim} dimensions"
    assert shown["compares"] == "audio-vision, text-audio, text-vision"
    assert shown["device"] == "cpu"
    assert repr(model).startswith("Model('tiny'; text: ")
    pair = rows(Model("pair", untrained_model)._repr_html_())
    assert "sound_text" in pair
    assert "audio-vision" not in pair["compares"]


def test_showing_a_model_of_graphs_does_not_load_the_rest(made):
    model, collection = made()
    assert cache_text_encoders(collection, model) is None
    with Collection.open(collection.path) as archive:
        shown = rows(archive.model._repr_html_())
        assert shown["loaded"] == "text encoders alone, without torch"
        assert repr(archive.model).startswith(f"Model('{collection.run}'; loaded: ")
        assert "embedder" not in vars(archive.model.queries)
        assert archive.model.dim == model.dim  # loads it
        assert "device" in rows(archive.model._repr_html_())


def test_a_collection_shows_its_files_moments_model_and_texts(archive, folder):
    version = archive.stored.table.files()[str(folder / "clip.mp4")].version
    line = SpokenSegment(start=0.5, end=0.9, text="a bell", language="en")
    for lines, kind in (((line,), "screen"), ((), "speech")):
        texts = FileTexts(signature=version.signature, kind=kind, lines=lines, status="made")
        archive.stored.texts.put([texts])
    name = archive.stored.name
    assert repr(archive) == (
        f"Collection('{name}'; files: 4; unusable files: 1; moments: {len(archive)}; model: tiny; "
        "files with text on the screen: 1)"
    )
    assert rows(archive._repr_html_())["moments"] == str(len(archive))


def test_an_empty_or_damaged_collection_is_shown_too(model, tmp_path):
    archive = Collection.create(tmp_path / "<empty>", model, seconds=1.0)
    page = archive._repr_html_()
    assert rows(page) == {"files": "0", "moments": "0", "model": "tiny"}
    (archive.stored.path / archive.stored.description.table).write_text("no table")
    assert "error: " in repr(archive)


def test_curves_of_odd_values_are_drawn_or_left_out():
    assert curve([]) == curve([0.5]) == curve([None, 0.5]) == ""
    assert "nan" not in curve([0.5, 0.5, 0.5])
    assert len(re.search(r'points="([^"]+)"', curve([0.1, None, 0.3]))[1].split()) == 2
    assert "<script>" not in facts("<script>", {"<script>": "<script>"})
