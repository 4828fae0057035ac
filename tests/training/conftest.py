from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import InterruptError

from trichord.checkpoint import Run
from trichord.config import AdamW
from trichord.experiments import EXPERIMENTS
from trichord.features.source import FeatureSource
from trichord.features.store import FeatureFolder, FeatureRow
from trichord.training.fit import fit
from trichord.training.session import Session
from trichord.types import Caption, Clip

COLOURS = ("red", "green", "blue", "white", "black", "pink", "grey", "gold", "teal", "plum")
PITCHES = ("low", "high", "soft", "loud", "shrill", "deep", "hoarse", "clear", "dull", "sharp")


def describe(i):
    """Sight and sound of clip i agree: its number decides both."""
    seen, heard = f"a {COLOURS[i % 10]} thing", f"a {PITCHES[i % 10]} sound"
    kinds = (
        ("audio", "crowd", heard),
        ("visual", "crowd", seen),
        ("audio_visual", "crowd", f"{seen} with {heard}"),
        ("audio_visual", "llm", f"{seen}, {heard}"),
    )
    return tuple(Caption(text=text, about=about, source=source) for about, source, text in kinds)


@pytest.fixture(scope="session")
def learnable_in():
    """Write features in which sight, sound and captions agree into a folder; gives clips and folder.

    24 to learn from and 56 to validate on: among fewer than 50, epochs are not chosen by R@10.
    """

    def write(model, path, silent=()):
        clips = [
            Clip(
                id=f"c{i}",
                path=f"/nowhere/{'silent-' if f'c{i}' in silent else ''}c{i}.mp4",
                captions=describe(i),
                split="train" if i < 24 else "val",
            )
            for i in range(80)
        ]
        random, more = np.random.default_rng(0), np.random.default_rng(1)
        folder = FeatureFolder(path)
        for name in ("vision", "audio"):
            tower = model.encoders()[name]
            prototypes = random.normal(size=(10, tower.width))
            rows = []
            for i, clip in enumerate(clips):
                gone = name == "audio" and clip.id in silent
                drawn = random if i < 64 else more  # the first ones stay what they were
                noise = drawn.normal(size=(0 if gone else 2, tower.width))
                noisy = prototypes[i % 10] + 0.2 * noise
                rows.append(FeatureRow(clip.id, "test", "ok", noisy.astype(np.float32)))
            folder.table(name, tower).put(rows)
        texts = list(dict.fromkeys(c.text for clip in clips for c in clip.captions))
        vectors = random.normal(size=(len(texts), 1, model.text.width)).astype(np.float32)
        folder.table("text", model.text).put(
            [FeatureRow(t, "text", "ok", v) for t, v in zip(texts, vectors, strict=True)]
        )
        return clips, folder

    return write


@pytest.fixture
def learnable(tmp_path, learnable_in):
    """The same, in a folder of the test's own."""

    def write(model, *, silent=()):
        return learnable_in(model, tmp_path / "cache", silent)

    return write


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Checkpoints of each form as `pytorch_model.bin`, and a byte-pair file for their vocabulary."""
    from published_model import MERGES, checkpoint

    root = tmp_path_factory.mktemp("published")
    (root / "merges.txt").write_text("\n".join(["title", *MERGES, ""]))
    for name in ("clip", "bert", "pretrained"):
        torch.save(checkpoint(None if name == "pretrained" else name), root / f"{name}.bin")
    return root


@pytest.fixture
def take(published, tmp_path):
    """Import a checkpoint, by name or as a state_dict; gives the run."""
    from trichord.training.clip4vla_checkpoint import CheckpointOptions
    from trichord.training.importing import import_clip4vla

    def imported(state, name="run", **recipe):
        file = published / f"{state}.bin" if isinstance(state, str) else tmp_path / "model.bin"
        if not isinstance(state, str):
            torch.save(state, file)
        words = str(published / "merges.txt")
        return import_clip4vla(
            file, tmp_path / name, tokenizer=words, options=CheckpointOptions(**recipe)
        )

    return imported


@pytest.fixture
def small(tiny_trimodal):
    """An experiment of the paper cut down to the tiny towers and a few epochs."""

    def shrink(name, **changes):
        experiment = EXPERIMENTS[name][1]
        stages = tuple(
            replace(s, batch_size=8, optimizer=AdamW(lr=3e-3), **{"epochs": 3} | changes)
            for s in experiment.stages
        )
        return replace(experiment, model=tiny_trimodal, stages=stages)

    return shrink


@pytest.fixture
def by(small):
    """The experiment SLAVA_AV with other terms and another objective."""

    def made(terms, objective, **changes):
        experiment = small("slava-av", **changes)
        (stage,) = experiment.stages
        draws = tuple(replace(draw, terms=terms, weights=()) for draw in stage.draws)
        stages = (replace(stage, draws=draws),)
        return replace(experiment, stages=stages, objective=objective)

    return made


@pytest.fixture
def carry_out(tmp_path, learnable):
    """Train an experiment on learnable features; gives the run and what each epoch reported."""

    def run_it(experiment, name="run", after_epoch=None, **features):
        model = experiment.model.build()
        clips, folder = learnable(model, **features)
        splits = ([c for c in clips if c.split == split] for split in ("train", "val"))
        sources = [FeatureSource(held, model, folder) for held in splits]
        run = Run(tmp_path / name)
        told = []
        note = after_epoch or told.append
        fit(experiment, model, sources, run, manifest="m", after_epoch=note)
        return run, told

    return run_it


@pytest.fixture
def interrupted(monkeypatch):
    """Save after every step, and break training off after so many."""

    def at(step):
        monkeypatch.setattr("trichord.training.session.SECONDS_BETWEEN_SAVES", -1.0)
        steps = 0
        after_step = Session.after_step

        def counted(self, optimizer, loss):
            nonlocal steps
            after_step(self, optimizer, loss)
            steps += 1
            if steps == step:
                raise InterruptError

        monkeypatch.setattr(Session, "after_step", counted)

    return at
