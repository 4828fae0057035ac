"""What a run was made of: the same for repetitions wherever they lie, another for anything else."""

import json
import shutil
from dataclasses import replace

import pytest

from trichord.checkpoint import Origin, Progress, Run
from trichord.config import Draw, Experiment, InfoNCE, Stage
from trichord.config.experiment import settings_of
from trichord.exporting.folder import ExportSource, export_run

STAGE = Stage(
    name="all",
    trains=("audio", "text"),
    draws=(Draw(captions=("audio",), terms=("at",)),),
    criterion=("audio<-audio",),
)


@pytest.fixture
def trained(experiment):
    """An experiment with something to train."""
    return replace(experiment, stages=(STAGE,))


@pytest.fixture
def begun(tmp_path):
    """Begins a run on a manifest of some content."""

    def begin(experiment, name="run", content="clips", manifest="clips.jsonl"):
        path = tmp_path / name / manifest
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        run = Run(tmp_path / name / "run")
        run.start(experiment, Origin(path=path))
        return run

    return begin


def test_every_setting_has_the_name_of_its_option(trained):
    settings = settings_of(trained)
    assert settings["system"] == "x"
    assert settings["stages.0.optimizer.weight-decay"] == "0.01"
    assert settings["stages.0.draws.0.terms"] == "at"
    assert settings["stages.0.trains"] == "audio text"
    assert settings["stages.0.towers"] == "none"
    assert settings["model.fusion"] == settings["stages.0.chunk"] == settings["start"] == "None"
    changed = settings_of(replace(trained, select_on_test=True, seed=4))
    assert {name for name in settings if settings[name] != changed[name]} == {
        "select-on-test",
        "seed",
    }


def test_runs_that_differ_in_their_seeds_alone_are_made_of_the_same(trained, begun):
    first, second = begun(trained, "one"), begun(replace(trained, seed=3), "two")
    one, other = first.provenance(), second.provenance()
    assert one.settings == other.settings
    assert (one.seeds, other.seeds) == ((0,), (3,))
    assert "seed" not in one.settings
    assert not one.selected_on_test


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"objective": InfoNCE(temperature=1.0)}, "objective.temperature"),
        ({"hand_over": "last"}, "hand-over"),
        ({"system": "y"}, "system"),
    ],
)
def test_another_setting_makes_another_run(changes, where, trained, begun):
    one, other = begun(trained, "one"), begun(replace(trained, **changes), "two")
    mine, theirs = one.provenance().settings, other.provenance().settings
    assert [name for name in mine if mine[name] != theirs[name]] == [where]


def test_other_clips_make_another_run_and_the_same_ones_under_another_name_do_not(trained, begun):
    one = begun(trained, "one").provenance()
    renamed = begun(trained, "two", manifest="copy.jsonl").provenance()
    fewer = begun(trained, "three", content="fewer", manifest="half.jsonl").provenance()
    assert one.settings == renamed.settings != fewer.settings
    assert [held.names["clips"] for held in (one, renamed, fewer)] == [
        "clips.jsonl", "copy.jsonl", "half.jsonl",
    ]  # fmt: skip


def test_what_learns_from_no_clips_is_the_same_on_any(experiment, begun):
    one, other = begun(experiment, "one"), begun(experiment, "two", content="others")
    assert one.provenance() == other.provenance()


def test_towers_are_told_by_their_weights_not_by_their_place(
    trained, begun, tiny_towers, tmp_path_factory
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    moved = shutil.copytree(tiny_towers / "clip", elsewhere / "my-clip")
    changed = shutil.copytree(tiny_towers / "clip", elsewhere / "clip")
    (changed / "model.safetensors").write_bytes((moved / "model.safetensors").read_bytes() + b" ")
    own = trained.model.text.name

    def of(place, name):
        model = trained.model.renamed({own: str(place)})
        return begun(replace(trained, model=model), name).provenance()

    here, there, other = (
        begun(trained, "here").provenance(),
        of(moved, "there"),
        of(changed, "other"),
    )
    assert here.settings == there.settings
    assert there.names["model.text.name"] == "my-clip"
    unlike = [name for name in here.settings if here.settings[name] != other.settings[name]]
    assert unlike == ["model.text.name", "model.vision.name"]
    assert str(tiny_towers) not in json.dumps(here.settings)


def test_a_start_counts_by_what_it_was_made_of_and_outlives_its_folder(trained, begun):
    starts = [
        begun(replace(trained, seed=seed, system="pretraining"), f"start-{seed}") for seed in (4, 5)
    ]
    longer = replace(STAGE, epochs=7)
    another = begun(replace(trained, system="pretraining", stages=(longer,)), "start-longer")
    runs = [
        begun(replace(trained, start=start.path, seed=seed), f"from-{seed}")
        for seed, start in enumerate([*starts, another])
    ]
    for start in (*starts, another):
        shutil.rmtree(start.path)
    one, other, third = (run.provenance() for run in runs)
    assert one.settings == other.settings
    assert (one.seeds, other.seeds) == ((0, 4), (1, 5))
    unlike = [name for name in one.settings if one.settings[name] != third.settings[name]]
    assert unlike == ["start.stages.0.epochs"]
    assert one.settings["start.system"] == "pretraining"
    assert one.settings != begun(trained, "from-none").provenance().settings


def test_an_older_run_whose_start_is_gone_is_told_by_the_starts_name(trained, begun, tmp_path):
    runs = [begun(replace(trained, start=tmp_path / "gone" / name), name) for name in ("a", "b")]
    assert [run.provenance().settings["start"] for run in runs] == ["a", "b"]


def test_a_selection_on_test_is_handed_on_to_what_starts_from_it(trained, begun):
    start = begun(replace(trained, select_on_test=True), "start")
    run = begun(replace(trained, start=start.path), "run")
    assert start.provenance().selected_on_test
    assert run.provenance().selected_on_test
    assert not begun(trained, "honest").provenance().selected_on_test


def test_nothing_is_selected_where_nothing_trains(experiment, begun):
    assert not begun(replace(experiment, select_on_test=True)).provenance().selected_on_test


def test_a_run_without_notes_is_of_unknown_clips(trained, begun):
    run = begun(trained)
    (run.path / "environment.json").unlink()
    assert run.provenance().settings["clips"] == "unknown"


@pytest.mark.parametrize("form", [pytest.param("graph", marks=pytest.mark.slow), "bfloat16"])
def test_exported_seeds_stay_repetitions_but_not_of_the_run_they_came_from(
    form, experiment, begun, tmp_path
):
    exports, origins = [], []
    for seed in (0, 1):
        run = begun(replace(experiment, stages=(STAGE,), seed=seed), f"run-{seed}")
        run.finish(experiment.model.build(), InfoNCE().build(), Progress())
        origins.append(run.provenance())
        source = ExportSource(
            name=run.name, folder=run.path, experiment=run.experiment(), model=run.load()
        )
        with export_run(source, tmp_path / f"export-{seed}", form):
            pass
        exports.append(Run(tmp_path / f"export-{seed}").provenance())
    assert exports[0].settings == exports[1].settings == origins[0].settings | {"exported": form}
    assert [one.seeds for one in exports] == [(0,), (1,)]


def test_imported_runs_are_told_by_what_they_were_imported_from(experiment, tmp_path):
    provenances = []
    for name, source in (("one", "mark-a"), ("two", "mark-b"), ("three", "mark-a")):
        run = Run(tmp_path / name)
        run.start(Experiment(system="clip", model=experiment.model), source)
        provenances.append(run.provenance())
    one, two, three = provenances
    assert one == three != two
