from dataclasses import replace

import pytest

from trichord.checkpoint import fresh_model
from trichord.config import AdamW, ClipAudio, check, read_experiment, write_experiment
from trichord.evaluation.retrieval import TASKS
from trichord.experiments import OTHERS, description, load_experiment, load_study
from trichord.experiments.clip4vla import SYSTEMS
from trichord.types import CAPTION_KINDS
from trichord_world.experiments import CLIP4VLA, EXPERIMENTS, clip4vla_on_world

FUSIONS = ("g2g", "g2l", "tight", "l2l")
CAPTIONING = ("clip4vla-caption", "clip4vla-caption-vision", "clip4vla-caption-audio")


def only_stage(experiment):
    (stage,) = experiment.stages
    return stage


def only_draw(experiment):
    (draw,) = only_stage(experiment).draws
    return draw


def test_the_package_names_each_of_its_experiments_as_an_entry_point():
    assert {name for name in OTHERS.kinds() if name.startswith("world-")} == set(EXPERIMENTS)


def test_each_is_listed_with_what_it_is_and_whose():
    assert description("world-slava-av") == (
        "On the generated world: SLAVA_AV (eq. 3): composed captions, av + at + vt. (trichord-world 0.1.0)"
    )
    assert all(len(description(name)) > 60 for name in EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_found_legal_and_read_back_equal(name, tmp_path):
    experiment = load_experiment(name)
    assert experiment is EXPERIMENTS[name]
    assert experiment.system == load_experiment(name.removeprefix("world-")).system
    check(experiment)
    write_experiment(tmp_path / "experiment.json", experiment)
    assert read_experiment(tmp_path / "experiment.json") == experiment
    known = {task.name for task in TASKS} | {f"words<-{kind}" for kind in CAPTION_KINDS}
    for stage in experiment.stages:
        assert stage.criterion
        assert set(stage.criterion) <= known
        assert set(stage.towers) <= set(stage.trains)


def test_the_world_has_pretraining_and_every_kind_of_retrieval():
    assert set(CLIP4VLA) == {
        "clip4vla-pretrain",
        *(f"clip4vla-retrieval-{name}" for name in (*FUSIONS, "audio", "vision")),
        *CAPTIONING,
    }


@pytest.mark.parametrize("name", [name for name in CLIP4VLA if name not in CAPTIONING])
def test_on_the_world_the_stand_ins_stay_frozen_but_for_the_tower_of_sound(name):
    plain, there = SYSTEMS[name][1], clip4vla_on_world(SYSTEMS[name][1])
    stage = only_stage(there)
    assert stage.draws == only_stage(plain).draws
    assert stage.criterion == only_stage(plain).criterion
    assert set(stage.trains) == set(only_stage(plain).trains)
    assert stage.towers == (("audio",) if "audio" in stage.trains else ())
    assert isinstance(stage.optimizer, AdamW)
    model = there.model
    assert {model.text.name, model.vision.name, model.audio.name} == {"stand-in-clip"}
    assert model.audio.token == plain.model.audio.token
    assert type(model.fusion) is type(plain.model.fusion)


@pytest.mark.parametrize("name", CLIP4VLA)
def test_every_experiment_on_the_world_can_be_built(name):
    model = fresh_model(load_experiment(f"world-{name}"))
    assert model.audio.rate == 16_000
    assert (model.fusion is None) == (name.rsplit("-", 1)[1] not in FUSIONS)


@pytest.mark.parametrize("name", CAPTIONING)
def test_on_the_world_a_captioner_learns_alone_from_captions_of_what_it_perceives(name):
    experiment = clip4vla_on_world(SYSTEMS[name][1])
    stage, reads = only_stage(experiment), experiment.model.captioner.reads
    assert (stage.trains, stage.towers) == ((), ())
    perceived = {"vision": "visual", "audio": "audio"}
    if len(reads) == 1:
        assert only_draw(experiment).captions == (perceived[reads[0]],)
    else:
        assert only_draw(experiment).captions == ("audio_visual", "composed")
    assert stage.criterion == tuple(f"words<-{kind}" for kind in only_draw(experiment).captions)
    assert set(experiment.modalities) == {"text", *reads}


@pytest.mark.parametrize("name", ["components", "fusion", "modality"])
def test_a_study_of_the_world_has_the_rows_of_the_paper_there(name):
    study, paper = load_study(f"world-{name}"), load_study(name)
    assert study.name == f"world-{name}"
    assert [row.name for row in study.rows] == [row.name for row in paper.rows]
    for row, there in zip(paper.rows, study.rows, strict=True):
        assert there.experiment == clip4vla_on_world(row.experiment)
        assert there.pretraining == (row.pretraining and clip4vla_on_world(row.pretraining))
        audio = there.experiment.model.audio
        assert (audio.token, audio.scratch) == (
            row.experiment.model.audio.token,
            row.experiment.model.audio.scratch,
        )


def test_what_the_tower_of_sound_starts_from_and_is_told_stays():
    experiment = SYSTEMS["clip4vla-retrieval-audio"][1]
    audio = ClipAudio(scratch=True, token=0.5)
    changed = replace(experiment, model=replace(experiment.model, audio=audio))
    there = clip4vla_on_world(changed).model.audio
    assert (there.scratch, there.token) == (True, 0.5)
