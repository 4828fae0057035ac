import json
import signal
from dataclasses import replace

import pytest
import torch
from small_runs import InterruptError, heads

from trichord.checkpoint import Run, fresh_model
from trichord.config import (
    Adafactor,
    AdamW,
    BertAdam,
    Cross,
    Draw,
    Experiment,
    GlobalToGlobal,
    InfoNCE,
    Lora,
    Muon,
    Stage,
    check,
)
from trichord.evaluation.retrieval import recalls_at
from trichord.evaluation.vectors import embed_source
from trichord.features.extraction import extract_media, extract_texts
from trichord.features.source import FeatureSource, MediaSource
from trichord.features.store import FeatureFolder
from trichord.training.fit import fit
from trichord.training.learner import autocast
from trichord.training.loop import choose_what_trains, stage_is_over
from trichord.training.requirements import require_captions
from trichord.types import Caption, Clip, UserError

PAPER = ("wav2clip-frozen-text", "wav2clip-trainable-text", "audioclip", "slava-a-and-v",
         "slava-av-indirect", "slava-av", "audio-visual")  # fmt: skip


@pytest.mark.parametrize("name", PAPER)
def test_every_system_of_the_paper_trains_exactly_its_heads(name, small, carry_out):
    experiment = small(name)
    run, told = carry_out(experiment)
    before = experiment.model.build().state_dict()
    moved = {k.split(".")[0] for k, v in heads(run).items() if not torch.equal(v, before[k])}
    allowed = {m for stage in experiment.stages for m in stage.trains}
    assert moved <= allowed
    assert len(told) >= len(experiment.stages)
    trunks = {k: v for k, v in run.load().state_dict().items() if ".trunk." in k}
    assert all(torch.equal(v, before[k]) for k, v in trunks.items())


def test_training_learns_what_is_there_to_learn(small, carry_out):
    run, told = carry_out(small("slava-a-and-v", epochs=50, patience=50))
    assert run.complete
    learnable = ("visual<-visual", "audio<-audio", "visual<-sound")  # what its terms pull together
    before, after = told[0]["validation"], told[-1]["validation"]
    assert all(before[task] < 0.7 for task in learnable)
    assert all(after[task] > 0.95 for task in learnable)
    losses = [n["loss"] for n in told if n["loss"] is not None]
    assert losses[-1] < losses[0] / 2


def test_the_same_seed_gives_the_same_weights_and_another_one_others(small, carry_out):
    once, _ = carry_out(small("slava-av"), "a")
    again, _ = carry_out(small("slava-av"), "b")
    other, _ = carry_out(replace(small("slava-av"), seed=1), "c")
    assert all(torch.equal(v, heads(again)[k]) for k, v in heads(once).items())
    assert once.metrics() == again.metrics()
    assert once.metrics()[1]["loss"] != other.metrics()[1]["loss"]


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("wav2clip-trainable-text", 11),
        ("slava-a-and-v", 8),
        *(
            pytest.param(name, at, marks=pytest.mark.slow)
            for name, at in (
                ("wav2clip-trainable-text", 1),
                ("wav2clip-trainable-text", 4),
                ("wav2clip-trainable-text", 8),
                ("slava-a-and-v", 1),
                ("slava-a-and-v", 4),
                ("slava-a-and-v", 11),
            )
        ),
    ],
)
def test_an_interrupted_run_ends_bit_for_bit_as_an_uninterrupted_one(
    name, at, small, carry_out, interrupted
):
    experiment = small(name, epochs=4, patience=9)
    whole, _ = carry_out(experiment, "whole")
    interrupted(at)
    with pytest.raises(InterruptError):
        carry_out(experiment, "broken")
    broken, _ = carry_out(experiment, "broken")
    assert all(torch.equal(v, heads(broken)[k]) for k, v in heads(whole).items())
    assert broken.metrics() == whole.metrics()
    assert not (broken.path / "checkpoint.safetensors").exists()


def test_the_best_epoch_is_kept_not_the_last(small, carry_out, learnable):
    experiment = small("slava-av", epochs=6, patience=6)
    wild = (replace(experiment.stages[0], optimizer=AdamW(lr=0.3)),)
    run, told = carry_out(replace(experiment, stages=wild))
    criteria = [n["criterion"] for n in told]
    assert max(criteria) > criteria[-1]  # such a rate destroys what was learnt
    model = run.load()
    clips, folder = learnable(model)
    validation = FeatureSource([c for c in clips if c.split == "val"], model, folder)
    kept = recalls_at(10, embed_source(model, validation), experiment.stages[0].criterion)
    assert sum(kept.values()) / len(kept) == pytest.approx(max(criteria))


def test_patience_ends_a_stage_early(small, carry_out):
    experiment = small("slava-av", epochs=50, patience=2)
    _, told = carry_out(
        replace(experiment, stages=(replace(experiment.stages[0], optimizer=AdamW(lr=0.0)),))
    )
    assert len(told) == 3  # before training, and two epochs without a better criterion


def test_the_second_stage_starts_from_the_first_ones_best_with_fresh_temperatures(small, carry_out):
    _, told = carry_out(small("wav2clip-trainable-text", epochs=2))
    second = [n for n in told if n["stage"] == "audio-text"]
    assert second[0]["scales"]["at"] == pytest.approx(1 / 0.07, rel=1e-4)


def test_whoever_calls_it_finds_random_numbers_threads_and_signals_as_they_were(small, carry_out):
    experiment = small("slava-av", epochs=1)
    fused = Cross(layers=1, heads=2, from_text=False, dropout=0.3)
    draws = tuple(replace(draw, terms=("ct", "av")) for draw in experiment.stages[0].draws)
    model = replace(experiment.model, fusion=fused)
    experiment = replace(with_stage(experiment, draws=draws), model=model)

    def mine():
        handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
        return torch.get_rng_state().tolist(), torch.get_num_threads(), handlers

    torch.manual_seed(11)
    carry_out(experiment, "to draw what building a model draws")
    torch.manual_seed(11)
    experiment.model.build()
    expected = mine()
    torch.manual_seed(11)
    carry_out(experiment, "again")
    assert mine() == expected


@pytest.mark.parametrize("chunk", [None, 3])
def test_a_temperature_that_starts_at_its_bound_learns(chunk, small, carry_out):
    experiment = small("slava-a-and-v", epochs=4, chunk=chunk)
    hot = replace(experiment, objective=InfoNCE(temperature=0.01))
    _, told = carry_out(hot)
    scales = [n["scales"] for n in told]
    assert scales[0] == pytest.approx({"av": 100.0, "at": 100.0, "vt": 100.0}, rel=1e-6)
    assert all(scales[-1][term] < 99.5 for term in scales[0])
    fixed = replace(hot, objective=InfoNCE(temperature=0.01, learned=False))
    _, told = carry_out(fixed, "fixed")
    assert all(n["scales"] == {"av": 100.0, "at": 100.0, "vt": 100.0} for n in told)


def test_silent_clips_train_and_never_become_nan(small, carry_out):
    run, told = carry_out(small("audioclip"), silent={f"c{i}" for i in range(20)})
    assert all(n["loss"] is None or n["loss"] == n["loss"] for n in told)
    assert all(torch.isfinite(v).all() for v in heads(run).values())


def test_an_experiment_without_stages_leaves_the_towers_as_they_came(tiny_trimodal, tmp_path):
    experiment = Experiment(system="untrained", model=tiny_trimodal)
    run = Run(tmp_path / "run")
    model = tiny_trimodal.build()
    fit(experiment, model, [], run, manifest="m", after_epoch=print)
    assert run.complete
    before = model.state_dict()
    assert all(torch.equal(v, before[k]) for k, v in heads(run).items())


def test_captions_of_the_wrong_kind_are_named(tiny_trimodal, learnable):
    stage = Stage(
        name="s",
        trains=("text",),
        draws=(Draw(captions=("composed",), terms=("at",)),),
        criterion=(),
    )

    model = tiny_trimodal.build()
    clips, folder = learnable(model)
    bare = [
        replace(c, captions=tuple(k for k in c.captions if k.kind == "audio")) for c in clips[:3]
    ]
    with pytest.raises(UserError, match=r"needs composed captions.*have 3 audio"):
        require_captions(stage, FeatureSource(bare, model, folder))


def test_validation_without_any_task_of_the_criterion_is_refused(small, carry_out):
    experiment = small("audio-visual")
    with pytest.raises(UserError, match="validation clips allow nothing"):
        carry_out(experiment, silent={f"c{i}" for i in range(24, 80)})


def test_metrics_are_json_lines_with_one_for_each_epoch(small, carry_out):
    run, told = carry_out(small("slava-av"))
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(len(told)))


def test_a_stage_is_finished_by_epochs_or_patience():
    from trichord.checkpoint import Progress

    stage = Stage(name="s", trains=(), draws=(), criterion=(), epochs=5, patience=3)
    assert not stage_is_over(stage, Progress(epoch=5, best_epoch=4))
    assert stage_is_over(stage, Progress(epoch=6, best_epoch=5))
    assert stage_is_over(stage, Progress(epoch=4, best_epoch=0))
    assert not stage_is_over(stage, Progress(epoch=3, best_epoch=0))


# Towers and fusions that train


def filmed(i):
    """A clip whose sound and frames `made_up` draws from its name."""
    said = (f"sound {i}", "a low bell", "someone says good morning")[i % 3]
    return Clip(
        id=f"c{i}",
        path=f"/made/up/c{i}.mp4",
        captions=(Caption(text=said, about="audio"),),
        audio_type="verbal" if i % 2 else "nonverbal",
    )


@pytest.fixture
def listening(tiny_clip4vla):
    """The audio tower trains, with a masked term and a transformer with dropout; six steps."""
    stage = Stage(
        name="listening",
        trains=("text", "vision", "audio"),
        towers=("audio",),
        draws=(Draw(captions=("audio",), terms=("at", "aa", "ct")),),
        criterion=("clip<-audio",),
        batch_size=4,
        epochs=2,
        optimizer=AdamW(lr=3e-3, warmup_steps=2, schedule="cosine", trunk_share=0.3),
    )
    model = replace(
        tiny_clip4vla,
        audio=replace(tiny_clip4vla.audio, token="clip"),
        fusion=Cross(layers=1, heads=2, from_text=False, dropout=0.3),
    )
    return Experiment(system="x", model=model, stages=(stage,), hand_over="last")


@pytest.fixture
def listen(tmp_path, made_up):
    """Train on twelve clips whose sound comes from media and the rest from the cache."""

    def run_it(experiment, name="run"):
        model = fresh_model(experiment)
        folder = FeatureFolder(tmp_path / "cache")
        sources = []
        for clips in ([filmed(i) for i in range(12)], [filmed(i) for i in range(12, 32)]):
            texts = [caption.text for clip in clips for caption in clip.captions]
            list(extract_texts(model, texts, folder))
            list(extract_media(model, clips, folder, made_up, ("vision",)))
            cached = FeatureSource(clips, model, folder, ("text", "vision"))
            sources.append(MediaSource(clips, model, made_up, ("audio",), cached))
        run, told = Run(tmp_path / name), []
        fit(experiment, model, sources, run, manifest="m", after_epoch=told.append)
        return run, told

    return run_it


def changed(run, experiment):
    """Names of the weights that are not as they were before training."""
    before = fresh_model(experiment).state_dict()
    return {k for k, v in run.load().state_dict().items() if not torch.equal(v, before[k])}


BERT = {"optimizer": BertAdam(lr=1e-2, slow=("text", "vision", "audio"), slow_share=0.1)}
MUON = {"optimizer": Muon(lr=3e-3, schedule="wsd", warmup_steps=1)}
ADAFACTOR = {"optimizer": Adafactor(lr=3e-3, schedule="linear")}
LORA = {"lora": Lora(rank=2, dropout=0.3)}


def with_stage(experiment, **changes):
    return replace(experiment, stages=(replace(experiment.stages[0], **changes),))


@pytest.mark.parametrize(
    ("at", "changes"),
    [
        (2, {}),
        (4, BERT),
        (4, LORA),
        (3, MUON),
        (3, ADAFACTOR),
        *(
            pytest.param(at, changes, marks=pytest.mark.slow)
            for at, changes in ((3, {}), (4, {}), (2, BERT), (3, BERT), (2, LORA), (2, MUON))
        ),
    ],
)
def test_towers_masks_and_dropout_survive_an_interruption_bit_for_bit(
    at, changes, listening, listen, interrupted
):
    experiment = with_stage(listening, **changes)
    whole, told = listen(experiment, "whole")
    assert len(told) == 3
    interrupted(at)
    with pytest.raises(InterruptError):
        listen(experiment, "broken")
    broken, _ = listen(experiment, "broken")
    one, other = (run.load().state_dict() for run in (whole, broken))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert broken.metrics() == whole.metrics()
    moved = changed(whole, experiment)
    assert "audio.head.weight" in moved
    trunk = {name.rpartition(".")[0] for name in moved if name.startswith("audio.trunk.")}
    if changes == LORA:
        assert trunk
        assert all(name.endswith(("q_proj", "k_proj", "v_proj", "out_proj")) for name in trunk)
    else:
        assert {"audio.trunk.tokens", "audio.trunk.positions"} <= moved
    assert any(name.startswith("fusion.cross.blocks") for name in moved)
    assert not any(name.startswith(("text.trunk", "vision.trunk")) for name in moved)


def test_masks_and_dropout_have_a_part_in_what_is_learnt(listening, listen):
    whole, _ = listen(listening, "whole")
    audio = replace(listening.model.audio, masking="as_paper")
    fusion = replace(listening.model.fusion, dropout=0.0)
    for number, model in enumerate(
        (replace(listening.model, audio=audio), replace(listening.model, fusion=fusion))
    ):
        other, _ = listen(replace(listening, model=model), f"other-{number}")
        assert whole.metrics()[0]["validation"] == other.metrics()[0]["validation"]
        assert whole.metrics()[1]["loss"] != other.metrics()[1]["loss"]


def test_the_rate_goes_through_the_whole_stage_step_by_step(
    listening, listen, interrupted, monkeypatch
):
    places = []
    monkeypatch.setattr(
        "trichord.training.loop.set_rate",
        lambda optimizer, of, taken, steps: places.append((taken, steps)),
    )
    interrupted(4)
    with pytest.raises(InterruptError):
        listen(listening)
    listen(listening)
    assert places == [(i, 6) for i in range(6)]


def test_only_the_tower_of_sound_trains_in_pretraining(listening, listen):
    draws = (Draw(captions=("audio",), terms=("at", "av", "aa")),)
    experiment = with_stage(
        listening, trains=("audio",), draws=draws, criterion=("audio<-audio",), epochs=1
    )
    run, _ = listen(experiment)
    moved = changed(run, experiment)
    assert moved
    assert all(name.startswith("audio.") for name in moved)


def test_weights_of_terms_multiply_their_losses(listening, listen):
    losses = []
    for number, weights in enumerate([(1.0, 0.0), (0.0, 1.0), (2.5, 0.5)]):
        draws = (Draw(captions=("audio",), terms=("at", "aa"), weights=weights),)
        still = with_stage(
            listening,
            draws=draws,
            optimizer=AdamW(lr=0.0),
            criterion=("audio<-audio",),
            epochs=1,
        )
        _, told = listen(still, f"run-{number}")
        losses.append(told[1]["loss"])
    assert losses[2] == pytest.approx(2.5 * losses[0] + 0.5 * losses[1], rel=1e-5)


@pytest.mark.parametrize(
    "level",
    [
        "global_to_global",
        pytest.param("global_to_local", marks=pytest.mark.slow),
        pytest.param("tight", marks=pytest.mark.slow),
        "local_to_local",
    ],
)
def test_every_fusion_trains_in_half_precision(level, listening, listen):
    crossed = level != "global_to_global"
    fusion = replace(listening.model.fusion, level=level) if crossed else GlobalToGlobal()
    text = replace(listening.model.text, tokens=level == "local_to_local")
    model = replace(listening.model, fusion=fusion, text=text)
    draws = (Draw(captions=("audio",), terms=("ct", "at", "vt", "aa", "mt")),)
    experiment = with_stage(
        replace(listening, model=model), draws=draws, precision="bfloat16", epochs=1
    )
    run, told = listen(experiment)
    assert all(torch.isfinite(value).all() for value in run.load().state_dict().values())
    assert told[1]["loss"] > 0
    moved = changed(run, experiment)
    assert any(name.startswith("fusion.") for name in moved) == crossed


def test_a_fused_clip_is_learnt_to_be_found(small, carry_out):
    experiment = small("clip4vla-retrieval-g2g", towers=(), epochs=40, patience=40)
    experiment = replace(
        experiment,
        model=replace(experiment.model, fusion=GlobalToGlobal()),
        objective=InfoNCE(),
        stages=(
            replace(experiment.stages[0], draws=(Draw(captions=("composed",), terms=("ct",)),)),
        ),
    )
    _, told = carry_out(experiment)
    assert told[0]["validation"]["clip<-composed"] < 0.7
    assert told[-1]["validation"]["clip<-composed"] > 0.95


def test_what_trains_is_what_a_stage_says(listening):
    model = fresh_model(listening)

    def trains():
        return {name for name, value in model.named_parameters() if value.requires_grad}

    def of(prefix):
        return {name for name, _ in model.named_parameters() if name.startswith(prefix)}

    idle = of("fusion.cross.similarity") | of("fusion.cross.pooler")
    stage = listening.stages[0]
    choose_what_trains(model, stage)
    heads = of("text.head") | of("vision.head") | of("audio.head")
    assert trains() == heads | of("audio.trunk") | (of("fusion.") - idle)
    choose_what_trains(model, replace(stage, towers=(), draws=(Draw(terms=("at",)),)))
    assert trains() == heads  # the fusion has no part in these terms
    choose_what_trains(model, replace(stage, trains=("text",), towers=("text",)))
    assert trains() == of("text.") | (of("fusion.") - idle)


def test_a_trunk_without_its_head_is_refused(listening):
    stage = replace(listening.stages[0], trains=("text",), towers=("text", "vision", "audio"))
    with pytest.raises(UserError, match=r"--stages.0.towers trains the trunk of audio, vision but"):
        check(replace(listening, stages=(stage,)))


def test_the_precision_follows_stage_and_device():
    stage = Stage(name="s", trains=(), draws=(), criterion=())
    cpu, gpu = torch.device("cpu"), torch.device("cuda")

    def half(precision, device):
        with autocast(replace(stage, precision=precision), device):
            return torch.is_autocast_enabled(device.type)

    assert not half("auto", cpu)
    assert half("bfloat16", cpu)
    assert not half("float32", gpu)
    if torch.cuda.is_available():
        assert half("auto", gpu)
