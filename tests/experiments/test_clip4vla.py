from dataclasses import replace

import pytest

from trichord.config import BertAdam, Cross, GlobalToGlobal
from trichord.evaluation.retrieval import TASKS
from trichord.experiments import EXPERIMENTS, STUDIES, studies
from trichord.experiments.clip4vla import SYSTEMS, as_published
from trichord.types import CAPTION_KINDS, UserError

ALL = {"text", "vision", "audio"}
FUSIONS = {
    "g2g": GlobalToGlobal(),
    "g2l": Cross(level="global_to_local"),
    "tight": Cross(level="tight"),
    "l2l": Cross(level="local_to_local"),
}
CAPTIONING = ("clip4vla-caption", "clip4vla-caption-vision", "clip4vla-caption-audio")


def system(name):
    return SYSTEMS[f"clip4vla-{name}"][1]


def only_stage(experiment):
    (stage,) = experiment.stages
    return stage


def only_draw(experiment):
    (draw,) = only_stage(experiment).draws
    return draw


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_experiment_is_a_value_and_chosen_by_tasks_that_there_are(name):
    described, experiment = EXPERIMENTS[name]
    assert described.endswith(".")
    assert experiment.system == name
    assert len({experiment, replace(experiment), replace(experiment, seed=1)}) == 2
    known = {task.name for task in TASKS} | {f"words<-{kind}" for kind in CAPTION_KINDS}
    for stage in experiment.stages:
        assert stage.criterion
        assert set(stage.criterion) <= known
        assert set(stage.towers) <= set(stage.trains)


# Pretraining


def test_pretraining_is_that_of_the_paper():
    experiment = system("pretrain")
    stage = only_stage(experiment)
    assert only_draw(experiment).terms == ("at", "av", "aa")
    assert only_draw(experiment).weights == ()
    assert (set(stage.trains), set(stage.towers)) == ({"audio"}, {"audio"})  # 88M weights: Table 6
    assert (stage.epochs, stage.batch_size, stage.nonverbal_share) == (24, 256, 0.5)
    assert experiment.hand_over == "last"
    model = experiment.model
    assert (model.audio.token, model.audio.longest, model.audio.scratch) == ("clip", 10, False)
    assert (model.text.longest, model.vision.max_frames, model.vision.frames_per_second) == (
        32, 12, 1.0,
    )  # fmt: skip
    assert model.vision.pooling == model.audio.pooling == "mean_of_unit"
    assert model.fusion is None


def test_the_second_stage_adds_what_only_the_code_has():
    first, second = system("pretrain"), system("pretrain-second")
    draw = only_draw(second)
    terms = dict(zip(draw.terms, draw.weights, strict=True))
    assert terms == {"at": 1.0, "av": 2.0, "aa": 1.0, "tt": 1.0, "vv": 1.0}
    assert set(only_stage(second).trains) == set(only_stage(second).towers) == ALL
    assert only_stage(second).epochs == 10
    assert second.model == first.model


@pytest.mark.parametrize("name", [name for name in SYSTEMS if "as-published" not in name])
def test_the_scale_is_a_hundred_and_fixed(name):
    objective = SYSTEMS[name][1].objective
    assert 1 / objective.temperature == pytest.approx(100)
    assert objective.max_scale == 100
    assert not objective.learned
    assert objective.absent == "masked"
    assert objective.directions == "both"


# Retrieval


@pytest.mark.parametrize("name", FUSIONS)
def test_each_fusion_trains_everything_by_texts_that_ask_for_clips(name):
    experiment = system(f"retrieval-{name}")
    stage, draw = only_stage(experiment), only_draw(experiment)
    assert experiment.model.fusion == FUSIONS[name]
    assert set(stage.trains) == set(stage.towers) == ALL
    assert draw.terms == ("ct",)
    assert set(draw.captions) == {"audio", "visual", "audio_visual", "composed"}
    assert all(task.startswith("clip<-") for task in stage.criterion)
    assert set(experiment.modalities) == ALL
    assert experiment.model.text.tokens == (name == "l2l")
    assert (experiment.model.audio.token, experiment.model.audio.longest) == (0.5, 16)


@pytest.mark.parametrize(
    ("name", "term", "media", "gallery"),
    [("audio", "at", "audio", "audio"), ("vision", "vt", "vision", "visual")],
)
def test_one_modality_alone_is_asked_and_read(name, term, media, gallery):
    experiment = system(f"retrieval-{name}")
    stage = only_stage(experiment)
    assert only_draw(experiment).terms == (term,)
    assert set(stage.trains) == set(stage.towers) == {"text", media}
    assert {task.split("<-")[0] for task in stage.criterion} == {gallery}
    assert set(experiment.modalities) == {"text", media}
    assert experiment.model.fusion is None


# As published


PUBLISHED = {name: it for name, (_, it) in SYSTEMS.items() if name.endswith("-as-published")}


def test_everything_has_a_published_variant():
    assert {name.removesuffix("-as-published") for name in PUBLISHED} == {
        name for name in SYSTEMS if not name.endswith("-as-published")
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_published_what_is_missing_is_zero_and_nothing_is_learned_of_the_scale(name):
    experiment = PUBLISHED[name]
    stage = only_stage(experiment)
    assert experiment.objective.absent == "zeros"
    assert experiment.objective.shared
    assert not experiment.objective.learned
    assert isinstance(stage.optimizer, BertAdam)
    assert stage.precision == "float32"
    fusion = experiment.model.fusion
    assert fusion is None or fusion.absent == "zeros"
    settings = stage.optimizer
    assert (settings.beta1, settings.beta2, settings.epsilon) == (0.9, 0.98, 1e-6)
    assert (settings.weight_decay, settings.warmup) == (0.2, 0.1)


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_published_towers_move_at_1e_7_and_a_transformer_at_5e_4(name):
    optimizer = only_stage(PUBLISHED[name]).optimizer
    assert optimizer.lr * optimizer.slow_share == pytest.approx(1e-7)
    if isinstance(PUBLISHED[name].model.fusion, Cross) or PUBLISHED[name].model.captioner:
        assert (optimizer.lr, set(optimizer.slow)) == (5e-4, ALL)
    else:  # sound is among the rest, without weight decay
        assert (optimizer.lr, set(optimizer.slow)) == (1e-7, {"text", "vision"})


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_published_texts_ask_in_retrieval_and_both_sides_in_pretraining(name):
    expected = "both" if "pretrain" in name else "b_to_a"
    assert PUBLISHED[name].objective.directions == expected


def test_the_published_variant_changes_nothing_else():
    plain = system("retrieval-g2l")
    published = as_published(plain)
    stage = replace(
        only_stage(published),
        optimizer=only_stage(plain).optimizer,
        precision=only_stage(plain).precision,
    )
    back = replace(
        published,
        system=plain.system,
        objective=plain.objective,
        model=replace(published.model, fusion=plain.model.fusion),
        stages=(stage,),
    )
    assert back == plain


# Captioning


@pytest.mark.parametrize("name", CAPTIONING)
def test_captioning_is_that_of_the_paper(name):
    experiment = SYSTEMS[name][1]
    stage, writer = only_stage(experiment), experiment.model.captioner
    assert only_draw(experiment).terms == ("lm",)
    assert (writer.layers, writer.text_slots, writer.frame_slots) == (4, 32, 12)
    assert writer.from_text
    assert writer.padding == "ignored"
    assert set(stage.trains) == set(stage.towers) == {"text", *writer.reads}
    published = EXPERIMENTS[f"{name}-as-published"][1]
    assert published.model.captioner == replace(writer, padding="as_published")


# Studies


def told(row):
    """Of a row of Table 5: from scratch, what is pretrained, and with which tokens."""
    first, second = row.pretraining, row.experiment
    terms = only_draw(first).terms if first else ()
    pretrained_with = first.model.audio.token if first else None
    return second.model.audio.scratch, terms, pretrained_with, second.model.audio.token


def test_components_are_the_rows_of_table_5_each_adding_one_thing():
    assert [told(row) for row in studies.COMPONENTS.rows] == [
        (True, (), None, "none"),
        (False, (), None, "none"),
        (False, ("at", "av"), "none", "none"),
        (False, ("at", "av", "aa"), "none", "none"),
        (False, ("at", "av", "aa"), "clip", 0.5),
    ]
    for row in studies.COMPONENTS.rows:
        assert only_draw(row.experiment).terms == ("at",)
        assert all(task.startswith("audio<-") for task in row.tasks)
        assert row.pretraining is None or not row.pretraining.model.audio.scratch


def test_fusions_differ_in_nothing_but_the_fusion():
    assert [row.experiment.model.fusion for row in studies.FUSION.rows] == list(FUSIONS.values())
    for row in studies.FUSION.rows:
        assert row.pretraining is None
        assert row.tasks == studies.CLIP_TASKS
        assert only_draw(row.experiment).terms == ("ct",)


def test_modalities_are_asked_by_the_same_captions():
    rows = studies.MODALITY.rows
    assert [row.name for row in rows] == ["vision", "audio", "both"]
    asked = [{task.split("<-")[1] for task in row.tasks} for row in rows]
    assert asked[0] == asked[1] == asked[2] == set(CAPTION_KINDS)
    assert [{task.split("<-")[0] for task in row.tasks} for row in rows] == [
        {"visual"}, {"audio"}, {"clip"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [row for one in (studies.COMPONENTS, studies.FUSION, studies.MODALITY) for row in one.rows],
    ids=lambda row: row.name,
)
def test_every_row_of_a_study_is_measured_by_tasks_that_choose_its_epoch(row):
    known = {task.name for task in TASKS}
    assert set(row.tasks) == set(only_stage(row.experiment).criterion) <= known
    for experiment in (row.pretraining, row.experiment):
        if experiment is not None:
            assert hash(experiment) == hash(replace(experiment))


def test_rows_of_a_study_train_systems_of_their_own():
    for study in STUDIES.own.values():
        systems = [row.experiment.system for row in study.rows if row.experiment]
        assert len(set(systems)) == len(systems)


def test_audio_types_go_from_verbal_to_nonverbal_in_tenths():
    rows = studies.AUDIO_TYPE.rows
    assert [round(10 * row.audio_type, 9) for row in rows] == list(range(11))
    assert studies.AUDIO_TYPE.is_curve


RUN = studies.Row(name="run")
SLAVA = EXPERIMENTS["slava-a-and-v"][1]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rows": ()}, "The study 'mine' has no rows"),
        ({"name": "a/b"}, "The study 'a/b': its files are called so"),
        ({"rows": (RUN, studies.Row(name="+ run"))}, "two rows would share the folder run"),
        ({"rows": (studies.Row(name="../x"),)}, "row '../x': its name is that of a folder too"),
        ({"rows": (replace(RUN, pretraining=SLAVA),)}, "a pretraining and no experiment"),
        ({"rows": (replace(RUN, tasks=("audio<-words",)),)}, "no task audio<-words: choose from visual<-"),
        ({"rows": (replace(RUN, audio_type=1.5),)}, "audio_type 1.5: give a number from 0"),
        (
            {"rows": (replace(RUN, experiment=EXPERIMENTS["clip4vla-caption"][1]),)},
            "row 'run': it writes captions",
        ),
    ],
)  # fmt: skip
def test_a_study_that_cannot_be_run_is_refused_where_it_is_written(values, said):
    with pytest.raises(UserError) as refused:
        studies.Study(**{"name": "mine", "title": "Mine", "rows": (RUN,)} | values)
    assert said in str(refused.value)


def test_a_study_on_some_kinds_of_captions_keeps_all_stages_and_what_asks_by_no_captions():
    wav2clip = EXPERIMENTS["wav2clip-trainable-text"][1]
    row = studies.Row(name="two stages", experiment=wav2clip)
    (narrow,) = studies.Study(name="mine", title="Mine", rows=(row,)).on(("visual", "audio")).rows
    assert [stage.criterion for stage in narrow.experiment.stages] == [
        tuple(task for task in stage.criterion if task.endswith(("<-visual", "<-audio", "<-sound")))
        for stage in wav2clip.stages
    ]
    kinds = {
        kind for stage in narrow.experiment.stages for draw in stage.draws for kind in draw.captions
    }
    assert kinds == {"visual", "audio"}
    assert {task.split("<-")[1] for task in narrow.tasks} == {"visual", "audio", "sound"}
    alone = studies.Study(name="mine", title="Mine", rows=(replace(row, tasks=("audio<-audio",)),))
    with pytest.raises(UserError, match="--captions visual: the row 'two stages' has nothing"):
        alone.on(("visual",))
