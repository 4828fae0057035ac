from dataclasses import replace

import numpy as np
import pytest
import torch

from trichord.checkpoint import Progress, Run
from trichord.config import (
    CaptionGenerator,
    Clap,
    ClapText,
    ClipAudio,
    ClipText,
    ClipVision,
    Cross,
    Experiment,
    LogMel,
    TriModal,
)
from trichord.exporting.folder import ExportSource, export_run
from trichord.media import Decoded
from trichord_world.small import SmallClap, SmallClip, build_clap, build_clip

RATE = 16_000
TEXTS = ("a red ball bounces on the beach", "a low bell rings slowly", "someone says good morning")


@pytest.fixture(scope="session")
def tiny_towers(tmp_path_factory):
    """As the towers of the same name, of one layer: torch takes seconds to write a few."""
    root = tmp_path_factory.mktemp("towers")
    of_one = {"layers": 1, "text_layers": 1}
    clip = SmallClip(side=32, patch=16, width=32, inner=64, text_inner=64, dim=24, **of_one)
    build_clip(clip, TEXTS, root / "clip", seed=1).save_pretrained(root / "clip")
    sizes = {"width": 16, "text_width": 32, "text_layers": 1, "dim": 24}
    # The second layer of each depth shifts its windows.
    clap = SmallClap(rate=RATE, seconds=2, depths=(2, 1), heads=(1, 2), **sizes)
    build_clap(clap, TEXTS, root / "clap", seed=2).save_pretrained(root / "clap")
    return root


@pytest.fixture(scope="session")
def tiny_trimodal(tiny_towers):
    """The configuration of a model with these towers."""
    clip, clap = str(tiny_towers / "clip"), str(tiny_towers / "clap")
    return TriModal(text=ClipText(name=clip), vision=ClipVision(name=clip), audio=Clap(name=clap))


@pytest.fixture(scope="session")
def tiny_clip4vla(tiny_trimodal):
    """The configuration of a model with CLIP4VLA's audio tower: segments of 0.256 s, four at most."""
    sound = ClipAudio(name=tiny_trimodal.text.name, log_mel=LogMel(mels=32), frames=32, longest=4)
    return replace(tiny_trimodal, audio=sound)


@pytest.fixture(scope="session")
def clip():
    """Draws decoded clips of 32 x 40 pixels and 16 kHz."""

    def drawn(seed=0, frames=3, seconds=2.0, channels=None):
        random = np.random.default_rng(seed)
        seen = random.integers(0, 255, (frames, 32, 40, 3), dtype=np.uint8) if frames else None
        size = (*([channels] if channels else []), round(seconds * RATE))
        sound = {RATE: random.normal(0, 0.1, size).astype(np.float32)} if seconds else {}
        return Decoded(status="ok", frames=seen, audio=sound)

    return drawn


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Makes a run as training would leave it, with heads and audio type tokens that are not the towers'."""

    def run(config):
        run = Run(tmp_path_factory.mktemp("runs") / "run")
        experiment = Experiment(system="made", model=config)
        run.start(experiment, "none")
        model = config.build().eval()
        torch.manual_seed(3)
        for tower in model.encoders().values():
            for value in tower.head.parameters():
                value.data += 0.1 * torch.randn_like(value)
        if config.audio.kind == "clip-audio":
            trunk = model.audio.audio_trunk
            trunk.positions.data[-1] = 0.0
            trunk.tokens.data = torch.randn_like(trunk.tokens)
            model.audio.own_trunk()
        for value in model.fusion.parameters() if model.fusion else ():
            torch.nn.init.normal_(value, std=0.3)
        run.finish(model, experiment.objective.build(), Progress(metrics=({"epoch": 0},)))
        (run.path / "weighting.json").write_text('{"visual": 0.75, "audio": 0.25}')
        return run

    return run


@pytest.fixture(scope="session")
def source_of():
    """A run as it is to be deployed."""

    def source(run):
        return ExportSource(
            name=run.name, folder=run.path, experiment=run.experiment(), model=run.load()
        )

    return source


@pytest.fixture(scope="session")
def deploy(made, source_of, traced_encoders, tmp_path_factory):
    """Exports a run of a model; gives the run and what was exported."""

    def deployed(config, form="graph"):
        run, path = made(config), tmp_path_factory.mktemp("exports") / "export"
        with pytest.MonkeyPatch.context() as patch:  # they have towers in common
            patch.setattr("trichord.exporting.graphs._traced", traced_encoders)
            with export_run(source_of(run), path, form):
                assert not path.exists()
        return run, Run(path)

    return deployed


@pytest.fixture(scope="session")
def pair(deploy, tiny_trimodal, tiny_towers):
    """CLIP and CLAP with a text tower each, as graphs."""
    return deploy(replace(tiny_trimodal, sound_text=ClapText(name=str(tiny_towers / "clap"))))


@pytest.fixture(scope="session")
def steered(deploy, tiny_clip4vla):
    """An audio type token that can be chosen, a fusion that looks at words, and a captioner."""
    text = replace(tiny_clip4vla.text, tokens=True, longest=16)
    sizes = {"from_text": False, "heads": 2, "layers": 1, "text_slots": 16, "frame_slots": 9}
    fusion = Cross(level="local_to_local", **sizes)
    return deploy(
        replace(tiny_clip4vla, text=text, fusion=fusion, captioner=CaptionGenerator(**sizes))
    )


@pytest.fixture(scope="session")
def narrow(deploy, tiny_clip4vla):
    """Eight bits; words as steps, both audio type tokens side by side."""
    text = replace(tiny_clip4vla.text, tokens=True)
    audio = replace(tiny_clip4vla.audio, token="both")
    return deploy(replace(tiny_clip4vla, text=text, audio=audio), "eight_bit")
