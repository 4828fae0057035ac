import pytest

from trichord.config import Draw, Experiment, Stage
from trichord.features.source import Captions
from trichord.training import requirements
from trichord.training.requirements import require_all
from trichord.types import Caption, Clip, UserError

CLIPS = [Clip(id=f"{i}", path="/", captions=(Caption(text="x", about="audio"),)) for i in range(6)]


class Heard:
    """Six clips with audio captions."""

    clips = CLIPS
    captions = Captions.of(CLIPS)
    read = ()

    def batch(self, clips, captions, masking=None): ...

    def texts(self, captions, toward): ...


@pytest.fixture
def require(tiny_trimodal, monkeypatch):
    """Ask whether a stage may be trained by four processes."""
    monkeypatch.setattr(requirements, "ranks", lambda: 4)

    def ask(*terms, sharded=False, **changes):
        draws = (Draw(captions=("audio",), terms=terms),)
        settings = {"name": "s", "trains": ("text", "audio"), "criterion": (), "draws": draws}
        stage = Stage(**settings | {"batch_size": 4} | changes)
        experiment = Experiment(system="x", model=tiny_trimodal, stages=(stage,))
        require_all(experiment, [Heard()], sharded=sharded)

    return ask


def test_what_can_be_trained_is(require):
    require("at")
    require("at", chunk=1, towers=("audio", "text"), sharded=True)
    require("lm", towers=("text",))
    require("lm", towers=("audio",), sharded=True)


@pytest.mark.parametrize("chunk", [0, -3])
def test_chunks_have_clips(chunk, require):
    with pytest.raises(UserError, match=f"--stages.N.chunk {chunk}: give a number"):
        require("at", chunk=chunk)


def test_words_are_not_learnt_in_chunks(require):
    with pytest.raises(UserError, match=r"Stage 's' writes captions .* contrasts nothing"):
        require("at", "lm", chunk=4)


def test_each_process_has_a_clip_of_every_mini_batch(require):
    with pytest.raises(UserError, match="has 3 clips in a mini-batch for 4 processes"):
        require("at", batch_size=3)


def test_a_table_of_words_that_is_read_elsewhere_is_not_spread(require):
    with pytest.raises(UserError, match="leave out --sharding"):
        require("lm", towers=("text",), sharded=True)


def test_a_trunk_behind_a_head_that_rests_is_refused(require):
    with pytest.raises(UserError, match="trains the trunk of vision but not its head"):
        require("at", towers=("vision",))
