import pytest

from trichord.evaluation.retrieval import TASKS
from trichord.experiments import known_names, load_experiment
from trichord.experiments.slava import ALL_TASKS, SYSTEMS

TABLE_I = {
    "wav2clip-frozen-text": [
        ({"vision", "text"}, {("visual", "vt")}),
        ({"audio"}, {("audio", "at")}),
    ],
    "wav2clip-trainable-text": [
        ({"vision", "text"}, {("visual", "vt")}),
        ({"audio", "text"}, {("audio", "at")}),
    ],
    "audioclip": [({"text", "vision", "audio"}, {("audio", "av", "at", "vt")})],
    "slava-a-and-v": [
        ({"text", "vision", "audio"}, {("audio", "av", "at"), ("visual", "av", "vt")})
    ],
    "slava-av-indirect": [({"text", "vision", "audio"}, {("composed", "at", "vt")})],
    "slava-av": [({"text", "vision", "audio"}, {("composed", "av", "at", "vt")})],
    "audio-visual": [({"vision", "audio"}, {("av",)})],
    "clip-clap": [],
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_stages_captions_and_terms_are_those_of_the_papers_table(name):
    stages = SYSTEMS[name][1].stages
    told = [
        (set(stage.trains), {(*draw.captions, *draw.terms) for draw in stage.draws})
        for stage in stages
    ]
    assert told == TABLE_I[name]


@pytest.mark.parametrize("name", [*SYSTEMS, *(f"world-{name}" for name in SYSTEMS)])
def test_every_criterion_is_a_task_and_no_towers_train_by_default(name):
    experiment = load_experiment(name)
    known = {task.name for task in TASKS}
    for stage in experiment.stages:
        assert set(stage.criterion) <= known
        assert not stage.towers
    assert experiment.system == (
        "zero-shot" if name.endswith("clip-clap") else name.removeprefix("world-")
    )


def test_the_one_stage_systems_are_chosen_by_the_seven_tasks_of_table_ii():
    assert tuple(task.name for task in TASKS if task.number is not None) == ALL_TASKS


def test_only_the_untrained_pair_has_two_text_towers():
    every = {name: load_experiment(name) for name in known_names()}
    apart = {name for name, it in every.items() if it.model.sound_text is not None}
    assert apart == {"clip-clap", "siglip2-clap", "pe-av", "world-clip-clap"}
