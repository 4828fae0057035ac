"""Which values an experiment may hold, and what is said of others."""

import subprocess
import sys
from copy import copy
from dataclasses import fields, replace
from typing import get_args, get_type_hints

import pytest

from trichord.config import (
    CRITERIA,
    Adafactor,
    AdamW,
    BertAdam,
    CaptionGenerator,
    Clap,
    ClapText,
    ClipAudio,
    ClipText,
    ClipVision,
    Cross,
    Draw,
    Experiment,
    GlobalToGlobal,
    InfoNCE,
    LogMel,
    Lora,
    Muon,
    Stage,
    TriModal,
    check,
    read_experiment,
    write_experiment,
)
from trichord.evaluation.retrieval import TASKS
from trichord.experiments import EXPERIMENTS
from trichord.types import CAPTION_KINDS, UserError
from trichord.types.rules import Range, rules_of

EVERY = (
    Adafactor, AdamW, BertAdam, CaptionGenerator, Clap, ClapText, ClipAudio, ClipText, ClipVision, Cross,
    Draw, Experiment, GlobalToGlobal, InfoNCE, LogMel, Lora, Muon, Stage, TriModal,
)  # fmt: skip


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_of_ours_passes(name):
    check(EXPERIMENTS[name][1])


@pytest.mark.parametrize("kind", EVERY)
def test_every_number_has_a_range(kind):
    hints = get_type_hints(kind)
    for one in fields(kind):
        if {int, float} & {hints[one.name], *get_args(hints[one.name])}:
            assert any(isinstance(rule, Range) for rule in rules_of(one.type)), one.name


def test_criteria_are_the_tasks_and_words_of_each_kind():
    tasks = {task.name for task in TASKS}
    assert set(CRITERIA) == tasks | {f"words<-{kind}" for kind in CAPTION_KINDS}


def forced(config, **changes):
    """A configuration with other values, of any type: what a program of somebody's may make."""
    other = copy(config)
    for name, value in changes.items():
        assert hasattr(config, name)
        object.__setattr__(other, name, value)
    return other


SLAVA = EXPERIMENTS["slava-a-and-v"][1]


def staged(**changes):
    """SLAVA with another stage."""
    return replace(SLAVA, stages=(forced(SLAVA.stages[0], **changes),))


def drawing(**changes):
    return staged(draws=(forced(SLAVA.stages[0].draws[0], **changes),))


def adam(**changes):
    return staged(optimizer=forced(AdamW(), **changes))


def bert(**changes):
    return staged(optimizer=forced(BertAdam(), **changes))


def losing(**changes):
    return replace(SLAVA, objective=forced(InfoNCE(), **changes))


def fused(**changes):
    return replace(SLAVA, model=TriModal(fusion=forced(Cross(), **changes)))


def writing(stages=SLAVA.stages, **changes):
    model = TriModal(captioner=forced(CaptionGenerator(), **changes))
    return replace(SLAVA, model=model, stages=stages)


def seeing(**changes):
    return replace(SLAVA, model=TriModal(vision=forced(ClipVision(), **changes)))


def reading(**changes):
    return replace(SLAVA, model=TriModal(text=forced(ClipText(), **changes)))


def hearing(**changes):
    return replace(SLAVA, model=TriModal(audio=forced(ClipAudio(), **changes)))


def spectral(**changes):
    return hearing(log_mel=forced(LogMel(), **changes))


def twice(*loras):
    """SLAVA with two stages that train the trunk of vision."""
    stage = replace(SLAVA.stages[0], towers=("vision",))
    return replace(SLAVA, stages=tuple(replace(stage, lora=lora) for lora in loras))


NAN, INFINITE = float("nan"), float("inf")
WRONG = {
    "--stages.0.optimizer.decay-share 0: give": adam(decay_share=0.0),
    "--stages.0.optimizer.decay-share 0.5: only": adam(decay_share=0.5),
    "--stages.0.negatives-share 0.5: give --stages.N.negatives": staged(negatives_share=0.5),
    "--stages.0.optimizer.momentum 1: give": staged(optimizer=forced(Muon(), momentum=1.0)),
    "--stages.0.lora.rank -1: give at least 0.": staged(lora=forced(Lora(), rank=-1)),
    "--stages.0.lora.rank 0: then there are no adapters": staged(lora=Lora(alpha=4)),
    "--stages.0.lora.alpha 0: give at least 1.": staged(lora=forced(Lora(), alpha=0)),
    "--stages.0.lora.rank 4: name the trunks to adapt by --stages.N.towers.": staged(lora=Lora(rank=4)),
    "--stages.0.lora.rank 0: another stage trains the trunk of vision": twice(Lora(), Lora(rank=4)),
    "--stages.0.lora.rank 2: another stage trains": twice(Lora(rank=2), Lora(rank=4)),
    "--stages.0.optimizer.lr -1: give at least 0.": adam(lr=-1.0),
    "--stages.0.optimizer.lr nan: give at least 0.": adam(lr=NAN),
    "--stages.0.optimizer.lr inf: give at least 0 and finite.": adam(lr=INFINITE),
    "--stages.0.optimizer.weight-decay -0.1: give": adam(weight_decay=-0.1),
    "--stages.0.optimizer.beta1 1: give at least 0 and less than 1.": adam(beta1=1.0),
    "--stages.0.optimizer.beta2 -0.5: give at least 0 and less than 1.": adam(beta2=-0.5),
    "--stages.0.optimizer.warmup-steps -1: give at least 0.": adam(warmup_steps=-1),
    "--stages.0.optimizer.trunk-share -1: give": adam(trunk_share=-1.0),
    "--stages.0.optimizer.schedule 'step': choose one of constant, cosine,": adam(schedule="step"),
    "--stages.0.optimizer.lr -2: give": bert(lr=-2.0),
    "--stages.0.optimizer.slow-share -1: give": bert(slow_share=-1.0),
    "--stages.0.optimizer.epsilon 0: give more than 0.": bert(epsilon=0.0),
    "--stages.0.optimizer.warmup 1.5: give a number from 0 to 1.": bert(warmup=1.5),
    "--stages.0.optimizer.slow ('ear',): choose one of text, audio, vision.": bert(slow=("ear",)),
    "--objective.temperature 0: give more than 0.": losing(temperature=0.0),
    "--objective.temperature 0.005: it is an inverse temperature of 200, above": losing(
        temperature=0.005
    ),
    "--objective.max-scale 0: give": losing(max_scale=0.0),
    "--objective.tile 0: give at least 1.": losing(tile=0),
    "--objective.teacher-temperature 0.1: only av-distil": losing(teacher_temperature=0.1),
    "--stages.0.draws.0.weights 1 2 3: 3 for 2 terms; give one for each.": drawing(
        weights=(1.0, 2.0, 3.0)
    ),
    "--stages.0.draws.0.weights -1: give at least 0.": drawing(weights=(1.0, -1.0)),
    "--stages.0.draws.0.weights 0 0: give finite numbers, not all of them 0.": drawing(weights=(0.0, 0.0)),
    "--stages.0.draws.0.weights nan: give at least 0.": drawing(weights=(1.0, NAN)),
    "--stages.0.draws.0.chance -1: give": drawing(chance=-1.0),
    "--stages.0.draws draw nothing: give at least one of them a chance": drawing(chance=0.0),
    "--stages.0.draws draw nothing: give": staged(draws=()),
    "--stages.0.draws.0.terms is empty: name at least one term.": drawing(terms=()),
    "--stages.0.draws.0.terms names av twice: name it once": drawing(terms=("av", "at", "av")),
    "--stages.0.draws.0.terms bt: choose one of av, at,": drawing(terms=("av", "bt")),
    "--stages.0.draws ask for 'ct', which needs a fusion": drawing(terms=("ct",)),
    "--stages.0.draws ask for 'lm', which needs a captioner": drawing(terms=("lm",)),
    "--stages.0.trains is empty: nothing would train": staged(trains=()),
    "--stages.0.trains ('nose',): choose one of text": staged(trains=("nose",)),
    "--stages.0.towers trains the trunk of vision but not its head": staged(
        trains=("text", "audio"), towers=("vision",)
    ),
    "--stages.0.criterion visual<-nothing: choose one of visual<-audio,": staged(
        criterion=("visual<-nothing",)
    ),
    "--stages.0.criterion is empty: name what chooses the best epoch": staged(criterion=()),
    "--stages.0.criterion searches clips, which needs a fusion": staged(criterion=("clip<-audio",)),
    "--stages.0.criterion is of words, which needs a captioner": staged(criterion=("words<-audio",)),
    "--stages.0.criterion mixes retrieval tasks with words<-KIND": writing(
        staged(criterion=("words<-audio", "audio<-audio")).stages
    ),
    "--stages.0.batch-size 1: the stage contrasts clips with one another": staged(batch_size=1),
    "--stages.0.batch-size 0: give at least 1.": staged(batch_size=0),
    "--stages.0.batch-size True: it is of the wrong type.": staged(batch_size=True),
    "--stages.0.batch-size 2.5: it is of the wrong type.": staged(batch_size=2.5),
    "--stages.0.chunk 0: give at least 1.": staged(chunk=0),
    "--stages.0.chunk 4: the stage writes captions ('lm')": writing(
        (replace(drawing(terms=("lm",)).stages[0], chunk=4),)
    ),
    "--stages.0.epochs 0: give at least 1.": staged(epochs=0),
    "--stages.0.patience 0: give at least 1.": staged(patience=0),
    "--stages.0.clip-norm 0: give more than 0.": staged(clip_norm=0.0),
    "--stages.0.clip-norm inf: give more than 0 and finite.": staged(clip_norm=INFINITE),
    "--stages.0.precision 'fp16': choose one of auto, float32, bfloat16.": staged(precision="fp16"),
    "--stages.0.draw-per 'day': choose one of batch, clip, turn.": staged(draw_per="day"),
    "--stages.0.nonverbal-share 2: give a number from 0 to 1.": staged(nonverbal_share=2.0),
    "--stages.0.nonverbal-share -0.5: give a number from 0 to 1.": staged(nonverbal_share=-0.5),
    "--seed -3: give at least 0.": forced(SLAVA, seed=-3),
    "--hand-over 'first': choose one of best, last.": forced(SLAVA, hand_over="first"),
    "--model.fusion.layers 0: give": fused(layers=0),
    "--model.fusion.heads 0: give": fused(heads=0),
    "--model.fusion.dropout 1: give at least 0 and less than 1.": fused(dropout=1.0),
    "--model.fusion.text-slots 0: give": fused(text_slots=0),
    "--model.fusion.frame-slots -1: give": fused(frame_slots=-1),
    "--model.fusion.segment-slots -1: give": fused(segment_slots=-1),
    "--model.fusion.level 'local': choose one of global_to_local, tight": fused(level="local"),
    "--model.captioner.reads is empty: name vision, audio or both.": writing(reads=()),
    "--model.captioner.dropout -0.1: give": writing(dropout=-0.1),
    "--model.text.longest 2: give at least 3.": reading(longest=2),
    "--model.text.arithmetic 'int8': choose one of float32,": reading(arithmetic="int8"),
    "--model.vision.frames-per-second 0: give more than 0.": seeing(frames_per_second=0.0),
    "--model.vision.max-frames 0: give": seeing(max_frames=0),
    "--model.vision.patch-dropout 1: give": seeing(patch_dropout=1.0),
    "--model.vision.pooling 'max': choose one of mean,": seeing(pooling="max"),
    "--model.audio.min-tail-seconds -1: give": replace(
        SLAVA, model=TriModal(audio=Clap(min_tail_seconds=-1.0))
    ),
    "--model.audio.token 2: give a number from 0 to 1.": hearing(token=2.0),
    "--model.audio.token 'loud': choose one of none, both, clip.": hearing(token="loud"),
    "--model.audio.frames 0: give": hearing(frames=0),
    "--model.audio.longest 0: give": hearing(longest=0),
    "--model.audio.sound-seconds 0: give": hearing(sound_seconds=0.0),
    "--model.audio.log-mel.rate 0: give": spectral(rate=0),
    "--model.audio.log-mel.mels 0: give": spectral(mels=0),
    "--model.audio.log-mel.window 1: give": spectral(window=1),
    "--model.audio.log-mel.hop 0: give": spectral(hop=0),
    "--model.audio.log-mel.highest 0: give": spectral(highest=0.0),
    "--model.audio.log-mel.top-db 0: give": spectral(top_db=0.0),
}  # fmt: skip


@pytest.mark.parametrize("told", WRONG)
def test_an_impossible_value_is_one_line_that_begins_with_its_option(told):
    with pytest.raises(UserError) as error:
        check(WRONG[told])
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


def test_values_at_the_ends_of_their_ranges_pass():
    check(adam(lr=0.0, weight_decay=0.0, beta1=0.0))
    check(losing(temperature=0.01, max_scale=100.0))
    check(drawing(weights=(0.0, 2.0)))
    check(staged(nonverbal_share=0.0))
    check(staged(nonverbal_share=1.0, epochs=1, patience=1, batch_size=2))
    check(replace(staged(criterion=()), hand_over="last"))


def test_a_stage_is_named_by_its_number():
    experiment = EXPERIMENTS["wav2clip-frozen-text"][1]
    second = replace(experiment.stages[1], epochs=0)
    with pytest.raises(UserError, match=r"^--stages\.1\.epochs 0: give at least 1\.$"):
        check(replace(experiment, stages=(experiment.stages[0], second)))


def test_an_experiment_that_is_read_has_a_model_that_can_be_built(tmp_path):
    path = tmp_path / "experiment.json"
    write_experiment(path, seeing(max_frames=0))
    with pytest.raises(UserError, match=rf"^{path}: --model.vision.max-frames 0: give") as told:
        read_experiment(path)
    assert "\n" not in str(told.value)
    idle = staged(epochs=0)  # of a run that an earlier version trained: it can be used
    write_experiment(path, idle)
    assert read_experiment(path) == idle


IMPOSSIBLE = (
    "--stages.0.optimizer.lr -1", "--objective.temperature 0", "--stages.0.draws.0.weights 1 2 3",
    "--stages.0.criterion visual<-nothing", "--stages.0.batch-size 1", "--stages.0.epochs 0",
    "--device gpu", "--seeds -1",
)  # fmt: skip


def test_impossible_options_are_refused_before_torch_is_imported_and_anything_made(tmp_path):
    script = """
import sys
from trichord.cli import main
for options in sys.argv[2:]:
    code = main(["train", "world-slava-a-and-v", "/dev/null", sys.argv[1], *options.split()])
    print(code, "torch" in sys.modules)
"""
    line = [sys.executable, "-c", script, str(tmp_path / "run"), *IMPOSSIBLE]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["2 False"] * len(IMPOSSIBLE)
    complaints = done.stderr.splitlines()
    assert len(complaints) == len(IMPOSSIBLE)
    for options, complaint in zip(IMPOSSIBLE, complaints, strict=True):
        assert complaint.startswith(f"trichord train: {options.split()[0]} ")
    assert not (tmp_path / "run").exists()


def test_an_encoder_of_another_modality_is_refused_where_a_program_puts_it():
    from trichord.config import Clap, TriModal

    with pytest.raises(UserError, match=r"--model\.text is clap, which reads audio"):
        check(TriModal(text=Clap()), "--model")
